"""How far a TCP connection has got, as the kernel knows it: what counts as progress on a slow link."""

from __future__ import annotations

import socket
import struct

_COUNTERS = struct.Struct("=QQ")
_COUNTERS_OFFSET = 120  # struct tcp_info of linux/tcp.h: tcpi_bytes_acked, tcpi_bytes_received (Linux >= 4.1)
_INFO_BYTES = _COUNTERS_OFFSET + _COUNTERS.size


def moved_bytes(sock: socket.socket | None) -> int:
    """Bytes the far end has acknowledged and bytes it has sent, in all; 0 for a socket that is gone.

    Unlike the length of the send queue this grows whatever is put into the queue meanwhile.
    """
    if sock is None or sock.fileno() < 0:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return 0
    return sum(_COUNTERS.unpack_from(info, _COUNTERS_OFFSET)) if len(info) >= _INFO_BYTES else 0

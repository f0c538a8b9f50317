"""Birth and last will: a gateway's retained word on whether it is there and what it holds.

JSON, for people with a command-line client read it too. Never an input to what is credited.
"""

from __future__ import annotations

import msgspec

from protocol.cbor import Count, Int31
from protocol.errors import ProtocolError
from protocol.topics import TopicError, check_gateway_id

STATUS_BYTES_MAX = 4096


class StatusError(ProtocolError):
    """A status message cannot be read."""

    code = "status.malformed"


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seqs are of `epoch`; `documents` maps a document's name to its digest in hex.

    The last will carries only `online` false, the gateway, epoch and boot of the birth it ends, so
    that a late will of an earlier connection can be told from the present one.
    """

    online: bool
    gateway: str
    epoch: Count
    boot: Int31
    head: Count = 0
    acked: Count = 0
    first_kept: Count = 1
    software: str = ""
    documents: dict[str, str] = {}


def write_status(status: Status) -> bytes:
    """JSON bytes of a status. Raises StatusError above STATUS_BYTES_MAX."""
    data = msgspec.json.encode(status)
    if len(data) > STATUS_BYTES_MAX:
        raise StatusError(f"a status of {len(data)} bytes is over its limit")
    return data


def read_status(data: bytes) -> Status:
    """Read a status. Raises StatusError."""
    if len(data) > STATUS_BYTES_MAX:
        raise StatusError(f"a status of {len(data)} bytes is over its limit")
    try:
        status = msgspec.json.decode(data, type=Status)
        check_gateway_id(status.gateway)
    except (msgspec.DecodeError, TopicError, UnicodeError, RecursionError) as error:
        raise StatusError(f"a status cannot be read: {error}") from error
    if b"\\u0000" in data:
        raise StatusError("a status holds U+0000 in a text")
    return status

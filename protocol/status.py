"""Birth and last will: a gateway's retained word on whether it is there and what it holds.

JSON, for people with a command-line client read it too. Never an input to what is credited.
"""

from __future__ import annotations

import msgspec

from protocol.errors import ProtocolError

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
    epoch: int
    boot: int
    head: int = 0
    acked: int = 0
    first_kept: int = 1
    software: str = ""
    documents: dict[str, str] = {}


def write_status(status: Status) -> bytes:
    """JSON bytes of a status."""
    return msgspec.json.encode(status)


def read_status(data: bytes) -> Status:
    """Read a status. Raises StatusError."""
    if len(data) > STATUS_BYTES_MAX:
        raise StatusError("a status is over its limit")
    try:
        return msgspec.json.decode(data, type=Status)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StatusError(f"a status cannot be read: {error}") from error

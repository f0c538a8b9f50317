"""Which frames left by courier: an answer file brings the acks of these, maybe weeks and restarts later.

Owns `courier.json` in the data folder. An ack that asks to rewind or ends the epoch counts only if it
answers a frame of ours, and a process that only reads the answer has sent none itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.files import write_private
from protocol.acks import Echo

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.delivery import Sender

_ECHOES_MAX = 64
"""As many as a sender remembers; the newest are kept."""


class _Kept(msgspec.Struct, frozen=True):
    epoch: int
    echoes: list[Echo]


class Echoes:
    """The echoes of exported frames of one epoch. What cannot be read counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, epoch: int, echoes: list[Echo]) -> None:
        """Remember those of a new file beside those of earlier ones, durably. Raises OSError."""
        kept = [*self.of(epoch), *echoes][-_ECHOES_MAX:]
        write_private(self._path, msgspec.json.encode(_Kept(epoch, kept)))

    def of(self, epoch: int) -> list[Echo]:
        """What was exported of this epoch."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return []
        return kept.echoes if kept.epoch == epoch else []

    def recall(self, sender: Sender) -> Sender:
        """Let a new sender know them as its own."""
        for echo in self.of(sender.epoch):
            sender.dispatched(sender.acked, echo)
        return sender

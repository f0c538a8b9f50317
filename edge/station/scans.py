"""What a scan means to whoever stands at the kiosk now. Owns the debounce of readers that repeat themselves.

Cards are verified here with what the directory knows. Does not own what follows from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.station.events import BinSeen, CardShown, Holder, Person
from edge.station.identify import card_holder, read_card, tag_holder
from edge.station.screen import Message
from protocol.cards import Role
from protocol.codes import check_bin_code
from protocol.documents import KeyUse
from protocol.errors import CodeError

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.devices.events import Scan
    from edge.directory import Directory

SCAN_AGAIN_S = 2.0
"""The same code within this time is the same presentation: readers repeat what they still see."""


class ScanDesk:
    """Verifies and interprets scans. Holds only the last text seen."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._last: tuple[str, float] | None = None

    def is_new(self, scan: Scan) -> bool:
        """Whether this is a new presentation and not the reader seeing the same thing still."""
        now_s = self._clock.monotonic()
        last, self._last = self._last, (scan.text, now_s)
        return last is None or last[0] != scan.text or now_s - last[1] >= SCAN_AGAIN_S

    def visitor(self, scan: Scan) -> Person | Holder | Message:
        """Who begins something: a collector as Person, anybody else as the Holder of a deposit."""
        match scan.kind:
            case "tag":
                return tag_holder(scan.text)
            case "card":
                person = self.person(scan)
                if isinstance(person, Message) or person.role is Role.COLLECTOR:
                    return person
                return card_holder(person)
            case "bin" | "unknown":
                return Message.CARD_UNREADABLE

    def in_deposit(self, scan: Scan) -> CardShown | Message | None:
        """A scan during a visit: only a card says anything there."""
        if scan.kind != "card":
            return None
        person = self.person(scan)
        return person if isinstance(person, Message) else CardShown(person)

    def in_pickup(self, scan: Scan, handing_over: bool) -> CardShown | BinSeen | Message | None:
        """A scan during a pickup: bins while collecting, a card for the hand-over."""
        if not handing_over:
            return None if scan.kind == "card" else _bin(scan)
        match scan.kind:
            case "card":
                person = self.person(scan)
                return person if isinstance(person, Message) else CardShown(person)
            case "tag":
                return Message.CARD_NOT_ALLOWED
            case "bin" | "unknown":
                return Message.CARD_UNREADABLE

    def person(self, scan: Scan) -> Person | Message:
        """The person behind a card, verified offline; a card is over only where that is sure."""
        directory = self._directory
        now_s = directory.surely_ms() // 1000
        return read_card(scan.text, directory.key_for(KeyUse.CARD), directory.revoked, now_s)


def _bin(scan: Scan) -> BinSeen | Message:
    try:
        return BinSeen(check_bin_code(scan.text)) if scan.kind == "bin" else Message.BIN_UNREADABLE
    except CodeError:
        return Message.BIN_UNREADABLE

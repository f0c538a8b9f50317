"""Room on the disk: a ballast file to give back, a mark below which intake stops, a budget for the folder.

On a full disk even a DELETE fails, so room for pruning must be kept in hand. Owns no records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.journal import files

if TYPE_CHECKING:
    from pathlib import Path

    from edge.config import JournalSettings
    from edge.journal.filesystem import FileSystem

_COMFORT = 2
"""Times `free_bytes_min` below which synced records are given up early."""

_EVIDENCE_PART = 8
"""The part of the folder's budget that evidence of damage may take beside it."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Whether weighings may be taken; if not, `reason` is `disk_low` or `journal_failed`."""

    allowed: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.allowed


class Disk:
    """The folder's share of its file system. Nothing here raises: a disk that does not answer has no room."""

    def __init__(self, directory: Path, settings: JournalSettings, files_on: FileSystem) -> None:
        self._directory = directory
        self._files_on = files_on
        self._settings = settings
        self._ballast = directory / "ballast"
        self._owed = True  # until it is seen to be there

    def free_bytes(self) -> int:
        """What this process could still write; 0 if the disk does not say."""
        try:
            return self._files_on.free_bytes(self._directory)
        except OSError:
            return 0

    def spare_bytes(self) -> int:
        """What is free beside the ballast, whether that is set aside now or given back."""
        return self.free_bytes() - max(self._settings.ballast_bytes - self._held_bytes(), 0)

    def low(self) -> bool:
        """Whether intake has to stop."""
        return self.spare_bytes() < self._settings.free_bytes_min

    def over_budget(self) -> bool:
        """Whether the folder takes more than it may."""
        return self._taken_bytes() > self._settings.disk_budget_bytes

    def evidence_bytes_max(self) -> int:
        """What files set aside may take of which nothing is missing; nothing where room is short."""
        return 0 if self.tight() else self._settings.disk_budget_bytes // _EVIDENCE_PART

    def tight(self) -> bool:
        """Whether synced records should go before their time."""
        return self.over_budget() or self.spare_bytes() < _COMFORT * self._settings.free_bytes_min

    def room_bytes(self) -> int:
        """What may still be written before intake stops."""
        budget = self._settings.disk_budget_bytes - self._taken_bytes()
        return max(min(self.spare_bytes() - self._settings.free_bytes_min, budget), 0)

    def release_ballast(self) -> bool:
        """Give the ballast back to the disk; True if there was some and the disk took it."""
        if self._held_bytes() == 0:
            return False
        try:
            self._files_on.remove(self._ballast)
        except OSError:
            return False
        self._owed = True
        return True

    def keep_ballast(self) -> None:
        """Set the ballast aside again, if it is gone and that leaves more room than intake needs.

        Costs nothing while it is there, so it may be asked after every change.
        """
        size = self._settings.ballast_bytes
        if not self._owed or size == 0:
            return
        if self._held_bytes() >= size:
            self._owed = False
        elif not self.low():
            self._reserve(size)

    def _reserve(self, size_bytes: int) -> None:
        try:
            self._files_on.reserve(self._ballast, size_bytes)
            self._owed = False
        except OSError:
            self.release_ballast()  # no room after all: the next change tries again

    def _held_bytes(self) -> int:
        """What the ballast takes: less than it should if setting it aside was broken off."""
        try:
            return self._files_on.size_bytes(self._ballast)
        except OSError:
            return 0

    def _taken_bytes(self) -> int:
        try:
            return files.size_bytes(self._directory, self._files_on)
        except OSError:
            return 0

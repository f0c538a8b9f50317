"""Room on the disk: a ballast file to give back, a mark below which intake stops, a budget for the folder.

On a full disk even a DELETE fails, so room for pruning must be kept in hand. Owns no records.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.journal import files

if TYPE_CHECKING:
    from pathlib import Path

    from edge.config import JournalSettings

_COMFORT = 2
"""Times `free_bytes_min` below which synced records are given up early."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Whether weighings may be taken; if not, `reason` is `disk_low` or `journal_failed`."""

    allowed: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.allowed


class Disk:
    """The folder's share of its file system."""

    def __init__(self, directory: Path, settings: JournalSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._ballast = directory / "ballast"

    def free_bytes(self) -> int:
        """What this process could still write."""
        room = os.statvfs(self._directory)
        return room.f_bavail * room.f_frsize

    def spare_bytes(self) -> int:
        """What is free beside the ballast, whether that is set aside now or given back."""
        return self.free_bytes() - (0 if self._ballast.exists() else self._settings.ballast_bytes)

    def low(self) -> bool:
        """Whether intake has to stop."""
        return self.spare_bytes() < self._settings.free_bytes_min

    def over_budget(self) -> bool:
        """Whether the folder takes more than it may."""
        return files.size_bytes(self._directory) > self._settings.disk_budget_bytes

    def tight(self) -> bool:
        """Whether synced records should go before their time."""
        return self.over_budget() or self.spare_bytes() < _COMFORT * self._settings.free_bytes_min

    def room_bytes(self) -> int:
        """What may still be written before intake stops."""
        budget = self._settings.disk_budget_bytes - files.size_bytes(self._directory)
        return max(min(self.spare_bytes() - self._settings.free_bytes_min, budget), 0)

    def release_ballast(self) -> bool:
        """Give the ballast back to the disk; True if there was some."""
        if not self._ballast.exists():
            return False
        self._ballast.unlink()
        return True

    def keep_ballast(self) -> None:
        """Set the ballast aside again, if that leaves more room than intake needs."""
        size = self._settings.ballast_bytes
        if size == 0 or self._ballast.exists() or self.low():
            return
        descriptor = os.open(self._ballast, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            self._ballast.unlink(missing_ok=True)  # no room after all: the next pruning tries again
        finally:
            os.close(descriptor)

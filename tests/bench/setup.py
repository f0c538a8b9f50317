"""What every bench is handed: a folder of its own, how many rounds, and who watches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(slots=True)
class Setup:
    """`say(text)` shows what goes on; `facts` are reported beside the figures."""

    folder: Path
    rounds_count: int
    say: Callable[[str], None]
    facts: dict[str, object] = field(default_factory=dict)
    _folders: int = 0

    def fresh_folder(self, name: str) -> Path:
        """A new empty folder."""
        self._folders += 1
        folder = self.folder / f"{name}-{self._folders}"
        folder.mkdir()
        return folder

    def rounds(self, name: str) -> Iterator[int]:
        """Numbers from 1, each announced."""
        for number in range(1, self.rounds_count + 1):
            self.say(f"{name}: round {number} of {self.rounds_count}")
            yield number

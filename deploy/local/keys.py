"""Single key presses from a terminal, without waiting for Enter."""

from __future__ import annotations

import select
import sys
import termios
import tty
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from deploy.local.drop_points import DropPoints

_LOOK_S = 0.5
HELP = "1-8 choose a drop point   c cut or restore its link   u unplug its scale   k kill its agent   q quit"


class Keys:
    """Reads keys while used as a context manager; leaving it gives the terminal back as it was."""

    def __init__(self) -> None:
        self.selected = 0
        self._before: list[object] = []

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def obey(self, points: DropPoints) -> bool:
        """Wait a moment for a key and do what it says; True to quit."""
        if not select.select([sys.stdin], [], [], _LOOK_S)[0]:
            return False
        key = sys.stdin.read(1)
        point = points.points[self.selected]
        if key.isdigit() and 1 <= int(key) <= len(points.points):
            self.selected = int(key) - 1
        elif key == "c":
            points.toggle_link(point)
        elif key == "u":
            points.toggle_scale(point)
        elif key == "k":
            points.kill_agent(point)
        return key == "q"

"""The safeguards that are taken away: each a patch against the product, and who must notice that it is gone.

The first line of a patch says what it removes and which promise that guarded; the second which row catches
it, within how many of its cases, and what that row says then (a regular expression, so that a patch which
only makes the program fall over counts for nothing).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("patches")
_CAUGHT: Final = re.compile(r"Caught by (?P<row>\w+) within (?P<cases>\d+) as: (?P<says>.+)")
_PATH: Final = re.compile(r"^\+\+\+ b/(.+)$", re.MULTILINE)


class PatchError(Exception):
    """A patch that is not written, or does not apply, as it should: the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard less. `row` has to break within `cases` of its cases, with a violation like `says`."""

    name: str
    removes: str
    row: str
    cases: int
    says: str
    file: Path
    paths: tuple[str, ...]


def parse(file: Path) -> Ablation:
    """Read a patch's own account of itself. Raises PatchError."""
    text = file.read_text()
    removes, caught, *_ = [*text.splitlines(), "", ""]
    match = _CAUGHT.fullmatch(caught)
    paths = tuple(_PATH.findall(text))
    if match is None or not paths or " Guards " not in removes:
        raise PatchError(
            f"{file.name} must begin with `<what is removed>. Guards <promise>` and "
            "`Caught by <row> within <cases> as: <regular expression>`, and change at least one file"
        )
    return Ablation(
        file.stem, removes, match["row"], int(match["cases"]), match["says"], file, paths
    )  # fmt: skip


def ablations(folder: Path = FOLDER) -> list[Ablation]:
    """All of them, in the order of their numbers. Raises PatchError."""
    return [parse(file) for file in sorted(folder.glob("*.patch"))]


def named(name: str) -> Ablation:
    """The one of this name. Raises PatchError."""
    file = FOLDER / f"{name}.patch"
    if not file.is_file():
        raise PatchError(f"there is no patch {name!r} in {FOLDER}")
    return parse(file)

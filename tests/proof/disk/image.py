"""What a disk holds for certain, what it may hold, and every state that a power cut may leave of it.

POSIX promises no more than this: a file's content is certain up to its last fsync, a folder's names up to
the folder's last fsync. Any part of the rest may be there: each write whole, torn at sectors of 512 bytes, or
not at all, whatever was written before or after it; each truncation, creation, renaming and removal or not.
Owns the model alone; what is done to a real disk comes in as events (`disk`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import random

SECTOR: Final = 512
WHOLE_MAX: Final = 12
"""So many unsynced changes are tried in every combination; of more, a choice."""


class Write(NamedTuple):
    """Bytes into a file, named by its number; `data` None cuts the file at `offset`."""

    inode: int
    offset: int
    data: bytes | None


class Naming(NamedTuple):
    """One change of the folder: `old` is no name any more, `new` is the name of file `inode`."""

    old: str | None
    new: str | None
    inode: int


Change = Write | Naming


class Sync(NamedTuple):
    """A file's content is certain now."""

    inode: int


class FolderSync(NamedTuple):
    """The folder's names are certain now."""


class Forgotten(NamedTuple):
    """A sync failed: what was pending of this file never reaches the disk, unless it is written anew."""

    inode: int


Event = Change | Sync | FolderSync | Forgotten

State = Mapping[str, bytes]
"""A folder after a power cut: content by name."""


class Kept(NamedTuple):
    """Which pending changes reached the disk, by bit; of the one that was `torn`, these `sectors`, by bit."""

    changes: int
    torn: int = -1
    sectors: int = 0


@dataclass(slots=True)
class Image:
    """The certain state of a folder, and the changes pending since."""

    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    @classmethod
    def of(cls, state: State) -> Image:
        """A disk on which all of `state` is certain."""
        names = {name: number for number, name in enumerate(sorted(state))}
        return cls(names, {number: state[name] for name, number in names.items()})

    def copy(self) -> Image:
        """Another one that goes its own way."""
        return Image(dict(self.names), dict(self.contents), list(self.pending))

    def take(self, event: Event) -> None:
        """Something happened."""
        match event:
            case Write() | Naming():
                self.pending.append(event)
            case Sync(inode):
                self._settle([one for one in self.pending if isinstance(one, Write) and one.inode == inode])
            case Forgotten(inode):
                self.pending = [
                    one for one in self.pending if not (isinstance(one, Write) and one.inode == inode)
                ]
            case FolderSync():
                self._settle([one for one in self.pending if isinstance(one, Naming)])

    def _settle(self, certain: list[Change]) -> None:
        settled = set(map(id, certain))
        self.pending = [one for one in self.pending if id(one) not in settled]
        for one in certain:
            if isinstance(one, Naming):
                rename(self.names, one)
        self._write([one for one in certain if isinstance(one, Write)])

    def _write(self, writes: Iterable[Write]) -> None:
        changed: dict[int, bytearray] = {}
        for one in writes:
            if one.inode not in changed:
                changed[one.inode] = bytearray(self.contents.get(one.inode, b""))
            write(changed[one.inode], one)
        for inode, content in changed.items():
            self.contents[inode] = bytes(content)

    def state(self, kept: Kept) -> dict[str, bytes]:
        """The folder if these changes reached the disk."""
        names, changed = dict(self.names), dict[int, bytearray]()
        for index, one in enumerate(self.pending):
            if not kept.changes >> index & 1:
                continue
            if isinstance(one, Naming):
                rename(names, one)
                continue
            if one.inode not in changed:
                changed[one.inode] = bytearray(self.contents.get(one.inode, b""))
            for part in torn(one, kept.sectors) if index == kept.torn else (one,):
                write(changed[one.inode], part)
        settled = self.contents
        return {
            name: bytes(changed[inode]) if inode in changed else settled.get(inode, b"")
            for name, inode in names.items()
        }

    def names_seen(self) -> dict[str, int]:
        """The names as the machine sees them while it has power."""
        names = dict(self.names)
        for one in self.pending:
            if isinstance(one, Naming):
                rename(names, one)
        return names

    def everything(self) -> Kept:
        """As a killed process leaves it: the kernel still writes all of it."""
        return Kept((1 << len(self.pending)) - 1)

    def choices(self, chance: random.Random, *, newest: bool) -> Iterator[Kept]:
        """What may have reached the disk; with `newest` only what needs the newest change, else all of it."""
        count = len(self.pending)
        if count == 0:
            if not newest:
                yield Kept(0)
            return
        last = 1 << (count - 1)
        for changes in _combinations(count, chance):
            if not newest or changes & last:
                yield Kept(changes)
        yield from self._torn(count - 1, (1 << count) - 1, chance)
        if count > 1:
            yield from self._torn(count - 1, last | chance.getrandbits(count), chance)

    def _torn(self, index: int, changes: int, chance: random.Random) -> Iterator[Kept]:
        one = self.pending[index]
        if not isinstance(one, Write) or one.data is None:
            return
        count = len(sectors(one))
        if count < 2:
            return
        whole = (1 << count) - 1
        for cut in range(1, count):
            yield Kept(changes, index, (1 << cut) - 1)
            yield Kept(changes, index, whole ^ ((1 << cut) - 1))
        for _ in range(4):
            yield Kept(changes, index, chance.randrange(1, whole))


def _combinations(count: int, chance: random.Random) -> Iterator[int]:
    """Subsets of `count` changes as bits: all if they are few, else those most likely to hurt."""
    if count <= WHOLE_MAX:
        yield from range(1 << count)
        return
    whole = (1 << count) - 1
    yield from (0, whole)
    for index in range(count):
        yield whole ^ (1 << index)
        yield 1 << index
        yield (1 << index) - 1
    for first, second in itertools.combinations(range(count), 2):
        yield whole ^ (1 << first) ^ (1 << second)
    for _ in range(2 * count):
        yield chance.getrandbits(count)


def rename(names: dict[str, int], one: Naming) -> None:
    """Change the names as `one` says."""
    if one.old is not None:
        names.pop(one.old, None)
    if one.new is not None:
        names[one.new] = one.inode


def write(content: bytearray, one: Write) -> None:
    """Change a file's content as `one` says."""
    if one.data is None:
        del content[one.offset :]
        return
    if len(content) < one.offset:
        content.extend(bytes(one.offset - len(content)))
    content[one.offset : one.offset + len(one.data)] = one.data


def sectors(one: Write) -> list[tuple[int, int]]:
    """Begin and end, within the data, of each piece that lies in one sector of the file."""
    length = len(one.data or b"")
    ends = range(SECTOR - one.offset % SECTOR, length, SECTOR)
    edges = [0, *ends, length]
    return list(itertools.pairwise(edges))


def torn(one: Write, kept: int) -> Iterator[Write]:
    """The parts of a write whose sectors are `kept`, by bit."""
    for index, (begin, end) in enumerate(sectors(one)):
        if kept >> index & 1:
            yield Write(one.inode, one.offset + begin, (one.data or b"")[begin:end])

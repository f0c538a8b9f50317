"""A drop point on a small file system, and somebody who fills it and empties it again.

Owns the cycles and what must be true in each. Does not own the person at the kiosk.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from deploy.local.processes import StartError
from deploy.local.stack import CommandError
from tests.proof.processes.people import Person
from tests.system.exports import assert_sound, credited_by, weighings_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.stack import Site, Stack

_LOOK_S = 0.05
_PATIENCE_S = 60.0
_SOON_S = 15.0
"""Less than the agent's housekeeping takes to come round."""
_STEP_BYTES = 64 * 1024
_PAGE_BYTES = 4096
_HOW = ("to the mark", "to the brim", "in steps", "and started")


class Crowded:
    """The drop point while its disk is filled and emptied. `seen` is what the kiosk showed as saved."""

    def __init__(
        self, site: Site, disk: Path, cards: list[str], chance: random.Random, done: Callable[[], None]
    ) -> None:
        self.figures: Counter[str] = Counter()
        self._site = site
        self._hog = disk / "hog"
        self._disk = disk
        self._ballast = disk / "journal" / "ballast"
        self._chance = chance
        self._done = done
        self._person = Person(site, cards, chance.randrange(1 << 30))

    @property
    def seen(self) -> set[tuple[int, int]]:
        """(seq, net) of each line that was shown as saved."""
        return self._person.seen

    def cycles(self, count: int, free_bytes_min: int) -> list[str]:
        """So many; returns what was broken, and stops at the first that is."""
        self._site.start()
        self._person.start()
        findings: list[str] = []
        try:
            self._await_weighing("somebody weighs before the disk is full")
            for _ in range(count):
                self.figures["cycles"] += 1
                self._cycle(self._chance.choice(_HOW), free_bytes_min)
                self._look_after_person()
                self._done()
        except (TimeoutError, StartError) as error:
            cycle = f"cycle {self.figures['cycles']} of {count}"
            findings.append(f"{cycle}: {error}; {self._plain_status()}")
        self._hog.unlink(missing_ok=True)
        self._person.ended.set()
        self._person.join(_PATIENCE_S)
        return findings

    def _cycle(self, how: str, free_bytes_min: int) -> None:
        """Fill the disk at some moment of a visit, empty it again, and wait until somebody weighs."""
        self.figures[how] += 1
        time.sleep(self._chance.uniform(0, 0.8))
        self._fill(how, free_bytes_min)
        if how == "and started":
            self._site.agent.kill()
            self._site.start()  # the kiosk is not dark until somebody makes room
        self._until(self._stopped, "the kiosk says that the disk is full")
        self.figures["refused"] += 1
        time.sleep(self._chance.uniform(0, 0.3))
        self._hog.unlink()
        self._until(lambda: not self._stopped(), "the kiosk opens again once there is room")
        self._await_weighing("somebody weighs once there is room")
        self._until(self._ballast.exists, "what is saved sets the ballast aside again", _SOON_S)

    def _fill(self, how: str, free_bytes_min: int) -> None:
        leave = {
            "to the mark": self._chance.randrange(free_bytes_min // 2, free_bytes_min),
            "in steps": self._chance.randrange(free_bytes_min // 2),
            "and started": self._chance.choice((0, free_bytes_min // 2)),
        }.get(how, 0)
        step = _STEP_BYTES if how == "in steps" else self._free_bytes()
        with self._hog.open("wb", buffering=0) as hog:
            while (room := self._free_bytes() - leave) > 0 and step >= _PAGE_BYTES:
                size = max(min(step, room), _PAGE_BYTES)
                try:
                    os.posix_fallocate(hog.fileno(), os.fstat(hog.fileno()).st_size, size)
                except OSError:  # somebody else took of it meanwhile
                    step //= 2
                if how == "in steps":
                    time.sleep(0.005)

    def _free_bytes(self) -> int:
        room = os.statvfs(self._disk)
        return room.f_bavail * room.f_frsize

    def _stopped(self) -> bool:
        """Whether the kiosk's own interface says that nothing is taken for want of room."""
        with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            screen = self._screen()
            return screen["name"] == "suspended" or "disk_low" in screen["notices"]
        return False

    def _screen(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._site.kiosk_port, timeout=10)
        try:
            connection.request("GET", "/api/screen")
            screen: dict[str, Any] = json.loads(connection.getresponse().read())
            return screen
        finally:
            connection.close()

    def _await_weighing(self, what: str) -> None:
        before = len(self.seen)
        self._until(lambda: len(self.seen) > before, what)

    def _until(self, true: Callable[[], bool], what: str, patience_s: float = _PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not true():
            self._look_after_person()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {patience_s:.0f} s: {what}")
            time.sleep(_LOOK_S)

    def _look_after_person(self) -> None:
        if isinstance(self._person.failure, TimeoutError):
            raise self._person.failure
        if self._person.failure is not None:
            raise RuntimeError("the person at the kiosk cannot go on") from self._person.failure
        self.figures["weighings"] = len(self.seen)

    def _plain_status(self) -> str:
        try:
            status = self._site.status()
        except OSError as error:
            return f"the agent does not answer ({error}): {self._site.agent.tail()}"
        names = ("head", "acked", "screen", "intake", "disk_free_bytes", "alarms")
        return ", ".join(f"{name} {status[name]!r}" for name in names)


class Promise:
    """What must be true when the cycles are over."""

    def __init__(self, site: Site, stack: Stack) -> None:
        self._site = site
        self._stack = stack

    def judge(self, seen: set[tuple[int, int]]) -> list[str]:
        """Everything that was shown is in the journal, and credited once; findings in words."""
        findings: list[str] = []
        deadline = time.monotonic() + _PATIENCE_S
        while self._backlog() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        if self._backlog():
            findings.append("the outbox did not empty once there was room")
        self._site.agent.stop()
        findings += self._compare(seen)
        try:
            assert_sound([self._site], self._stack.cloud)
        except (AssertionError, CommandError) as error:
            findings.append(str(error) or "a chain or the ledger does not add up")
        return findings

    def _compare(self, seen: set[tuple[int, int]]) -> list[str]:
        """What was acknowledged may have made room in the journal, so the cloud's book is the one to read."""
        credited = credited_by(self._stack.cloud)
        book = {(line["seq"], line["net_g"]) for line in credited}
        held = set(weighings_of([self._site]))
        found = [
            f"{net_g} g were shown as saved (seq {seq}) and are lost" for seq, net_g in sorted(seen - book)
        ]
        lost = held - {line["id"] for line in credited}
        found += [f"the weighing {each} is in the journal and not credited" for each in sorted(lost)]
        if len({line["id"] for line in credited}) != len(credited):
            found.append("a weighing is credited twice")
        if not seen:
            found.append("nobody got to weigh anything, so nothing was shown")
        return found

    def _backlog(self) -> int:
        try:
            return int(self._site.status()["backlog"])
        except OSError:
            return 1

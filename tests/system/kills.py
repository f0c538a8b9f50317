"""Kills real processes at random moments while weighings are taken, then holds both sides to the promise.

`python -m tests.system.kills --weighings 2000 --seed 1` is the long proof; the test runs it shallow.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import pty
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import tty
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.people import make_people
from deploy.local.processes import wait_until
from deploy.local.stack import Devices, Site, Stack
from tests.system.exports import assert_agree, assert_sound, weighings_of

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_S = 0.02
PATIENCE_S = 90.0
SITES = 4
TARGETS = ("agent", "broker", "cloud", "postgres")


class Wire:
    """A pseudo-terminal that stays open over the agent's deaths, reached through a stable path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.ttyname(self._slave))

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads now; a real line would lose it too
            os.write(self._master, data)

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class Scale(threading.Thread):
    """A&D continuous output of a load that is always at rest."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(daemon=True)
        self.mass_g = 0
        self._wire = wire
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(FRAME_S):
            self._wire.write(b"ST,+%08.3f kg\r\n" % (self.mass_g / 1000))

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._wire.close()


@dataclass
class Person(threading.Thread):
    """Takes weighings at one kiosk, again and again, whatever dies around them."""

    site: Site
    cards: list[str]
    seed: int
    seen: dict[tuple[int, int], int] = field(default_factory=dict)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name=f"person at {self.site.name}")
        devices = self.site.folder / "devices"
        self._scale = Scale(Wire(devices / "scale"))
        self._scanner = Wire(devices / "scanner")
        self._random = random.Random(self.seed)
        self.ended = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        self._scale.start()
        try:
            while not self.ended.is_set():
                self._visit()
        except BaseException as error:  # noqa: BLE001 - reported by the one who waits for us
            self.failure = error
        finally:
            self._scale.close()
            self._scanner.close()

    def _visit(self) -> None:
        screen = self._idle()
        if self._random.random() < 0.3:
            screen = self._press("guest")
        else:
            self._scanner.write(self._random.choice(self.cards).encode() + b"\r")
            screen = self._look(
                lambda now: now["name"] in ("choose", "idle") and now["version"] > screen["version"]
            )
        for _ in range(self._random.choice((1, 1, 2, 3))):
            self._weigh()
        self._press("finish")
        self._press("done")

    def _weigh(self) -> None:
        screen = self._screen()
        if screen["name"] not in ("choose", "saved"):
            return
        self._press("material", self._random.choice(screen["tiles"])["code"])
        self._scale.mass_g = 0
        self._settled(lambda now: now["weight"] is not None and now["weight"]["armed"])
        self._scale.mass_g = self._random.randrange(100, 20_000)
        self._settled(
            lambda now: "confirm" in now["buttons"] and now["weight"]["gross_g"] == self._scale.mass_g
        )
        self._note(self._press("confirm"))

    def _settled(self, ready: Callable[[dict[str, Any]], bool]) -> None:
        self._look(lambda now: now["name"] not in ("weigh",) or ready(now))

    def _note(self, screen: dict[str, Any]) -> None:
        """Remember what the kiosk shows as saved; the journal's epoch does not change in this proof."""
        for line in screen["lines"]:
            self.seen[line["seq"], line["net_g"]] = line["seq"]

    def _idle(self) -> dict[str, Any]:
        self._scale.mass_g = 0
        return self._look(self._is_free)

    def _is_free(self, screen: dict[str, Any]) -> bool:
        if screen["name"] == "idle":
            return True
        if screen["name"] != "suspended":
            self._note(screen)
            self._press("cancel")
            self._press("done")
        return False

    def _look(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            screen = self._screen()
            if ready(screen):
                return screen
            time.sleep(0.03)
        raise TimeoutError(f"the kiosk of {self.site.name} stays at {screen}")

    def _screen(self) -> dict[str, Any]:
        return self._ask("GET", "/api/screen", None)

    def _press(self, button: str, value: str | None = None) -> dict[str, Any]:
        return self._ask("POST", "/api/press", {"button": button, "value": value})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """One request; a kiosk that is dead just now is asked for the screen until it is back."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.site.kiosk_port, timeout=10)
            try:
                data = None if body is None else json.dumps(body)
                connection.request(method, path, data, {"content-type": "application/json"})
                answer = connection.getresponse()
                content: dict[str, Any] = json.loads(answer.read())
                if answer.status == 200:
                    return content
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.1)
            finally:
                connection.close()
            method, path, body = "GET", "/api/screen", None
        raise TimeoutError(f"the kiosk of {self.site.name} does not answer")


class Killer:
    """Kills one process at a time by its id and starts again what nobody else would start."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def kill_one(self) -> None:
        target = min(TARGETS, key=lambda name: (self.kills[name], self._random.random()))
        self.kills[target] += 1
        match target:
            case "agent":
                site = self._random.choice(self._stack.sites)
                site.agent.kill()
                site.start()
            case "broker":
                self._stack.cloud.broker.process.kill()
                time.sleep(self._random.uniform(0, 0.5))
                self._stack.cloud.broker.start()
            case "cloud":
                self._stack.cloud.process.kill()
                time.sleep(self._random.uniform(0, 0.5))
                self._stack.cloud.start_cloud()
            case _:
                self._kill_postgres()

    def pause(self) -> None:
        time.sleep(self._random.uniform(0.2, 2.0))

    def _kill_postgres(self) -> None:
        (pid_file,) = (self._stack.folder / "cloud").rglob("postmaster.pid")
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGKILL)


def prove(folder: Path, weighings: int, seed: int) -> dict[str, Any]:
    """Run the proof; raises AssertionError when the promise is broken."""
    begun = time.monotonic()
    with Stack(folder) as stack:
        with stack.cloud.api() as api:
            cards = make_people(api, folder / "people", 20).cards.read_text().splitlines()
        people = [_open(stack, f"kill-site-{number}", cards, seed * 100 + number) for number in range(SITES)]
        killer = Killer(stack, seed)
        while sum(len(person.seen) for person in people) < weighings:
            killer.pause()
            killer.kill_one()
            for person in people:
                if person.failure is not None:
                    raise person.failure
        for person in people:
            person.ended.set()
        for person in people:
            person.join(PATIENCE_S)
        drained = time.monotonic()
        for site in stack.sites:
            wait_until(lambda site=site: site.status()["backlog"] == 0, 120, f"{site.name} did not drain")  # type: ignore[misc]
        drain_s = time.monotonic() - drained
        for site in stack.sites:
            site.agent.stop()
        credited = _check(stack, people)
    seconds = round(time.monotonic() - begun, 1)
    return {
        "seed": seed,
        "seen_saved": sum(len(person.seen) for person in people),
        "credited": credited,
        "lost": 0,
        "duplicated": 0,
        "kills": dict(killer.kills),
        "drain_s": round(drain_s, 2),
        "seconds": seconds,
    }


def _open(stack: Stack, name: str, cards: list[str], seed: int) -> Person:
    devices = stack.folder / name / "devices"
    site = stack.add_site(name, Devices("and", devices / "scale", devices / "scanner"), spread_s=1.0)
    stack.claim(site)
    person = Person(site, cards, seed)
    site.start()
    person.start()
    return person


def _check(stack: Stack, people: list[Person]) -> int:
    for person in people:
        journal = {(line["seq"], line["net_g"]) for line in weighings_of([person.site]).values()}
        assert set(person.seen) <= journal, (
            f"{person.site.name} showed as saved what its journal does not hold"
        )
    assert_sound(stack.sites, stack.cloud)
    return assert_agree(stack.sites, stack.cloud)


def main() -> None:
    """The long proof from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weighings", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rl-"))
    try:
        print(json.dumps(prove(folder, options.weighings, options.seed)), flush=True)
    except BaseException:
        print(f"the logs and journals of this run are kept in {folder}", file=sys.stderr, flush=True)
        raise
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

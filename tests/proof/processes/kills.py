"""Kills real processes, and pairs of them, at random moments while people weigh, and holds both sides to
the promise.

Owns when and whom. What can be killed is in `victims`, what people saw in `people`, the verdict in `town`.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from deploy.local.processes import wait_until
from tests.proof.processes.recovery import Watch, gathered, spelled
from tests.proof.processes.town import DRAIN_S, FAILURES, Kept, Shape, Town, open_town
from tests.proof.processes.victims import Victim, victims_of
from tests.proof.row import PROGRAMS, Figures, Keyed, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick

KILLS = 40
"""Of one town: opening and judging it takes as long as some twenty kills."""
KILLS_CALM = 10
"""Of a town where one recovery is awaited before the next kill, so that each is timed alone."""
CALM_FROM = 200
KILLS_LONG = 100
"""Of a long town, where people weigh LONG_WEIGHINGS times while everything dies about as often each."""
LONG_WEIGHINGS = 2_000
LONG_TOWNS = 5
LONG_FROM = 2 * LONG_TOWNS * KILLS_LONG
SITES = 2
PAIRS = 0.3
"""Share of moments at which two processes die at once."""
STARTING = 0.1
"""Share of moments at which what is only starting may die, too."""
AHEAD = 4
PAUSE_S = (0.1, 1.0)
PAUSE_LONG_S = (1.0, 7.0)
DOWN_S = (0.0, 0.5)
RESTART_S = 1.0
BACK_S = 90.0
"""Whatever was killed serves again this long after the last kill at the latest."""
_HOW = {"calm": "alone", "storm": "in a storm", "long": "now and then"}
SHAPES: tuple[Shape, ...] = ("apart", "all")


class Killer:
    """Kills at random moments and starts again what nobody else would start."""

    def __init__(self, victims: Sequence[Victim], watch: Watch, seed: str) -> None:
        self._victims = victims
        self._watch = watch
        self._random = random.Random(seed)
        self._due: list[tuple[float, Victim]] = []
        self.processes: Counter[str] = Counter()
        self.moments = self.pairs = self.while_starting = self.by_themselves = 0

    def pause(self, between_s: tuple[float, float] = PAUSE_S) -> None:
        """Let them work for a moment; what is due to start again does."""
        until_s = time.monotonic() + self._random.uniform(*between_s)
        while (left_s := until_s - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.02, left_s))

    def tend(self) -> None:
        """Start what is due. What ended by itself is started again, too, as a supervisor would."""
        now_s = time.monotonic()
        for due in [each for each in self._due if each[0] <= now_s]:
            self._due.remove(due)
            due[1].start()
        down = [victim for _, victim in self._due]
        for victim in self._victims:
            if victim.supervised and victim not in down and victim.pid() is None:
                self.by_themselves += 1
                victim.reap()
                self._due.append((now_s + RESTART_S, victim))

    def all_back(self) -> bool:
        """Start what is still to be started; whether everything serves again."""
        self.tend()
        return all(victim.pid() is not None and victim.ready() for victim in self._victims)

    def strike(self) -> bool:
        """Kill one process or two; False if none of those chosen was there."""
        wanted = 2 if self._random.random() < PAIRS else 1
        chosen = self._choose(wanted)
        starting = [each for each in chosen if not each.ready()]
        died = [each for each in chosen if each.strike()]
        if not died:
            return False
        self.moments += 1
        self.pairs += len(died) - 1
        self.while_starting += len(set(starting) & set(died))
        for each in died:
            each.reap()
            self.processes[each.kind] += 1
            self._due.append((time.monotonic() + self._random.uniform(*DOWN_S), each))
        kind = "pair" if len(died) > 1 else died[0].kind
        self._watch.struck(kind, died[0].site if len(died) == 1 else None)
        return True

    def settled(self) -> bool:
        """Whether nothing is left of the faults so far."""
        return self.all_back() and not self._watch.waits()

    def _choose(self, count: int) -> list[Victim]:
        """Of the kinds that died least; nobody far ahead of them, so that all kinds get their share."""
        anyone = self._random.random() < STARTING
        most = min(self.processes[each.kind] for each in self._victims) + AHEAD
        there = [
            each
            for each in self._victims
            if self.processes[each.kind] < most and each.pid() is not None and (anyone or each.ready())
        ]
        ordered = sorted(there, key=lambda each: (self.processes[each.kind], self._random.random()))
        return ordered[:count]


def _split(count: int, seed: int) -> Sequence[Task]:
    """Towns of both shapes in turn, never fewer than one of each.

    Of many kills a tenth is for calm towns, of very many up to half for long ones, which come first.
    """
    long = LONG_TOWNS * KILLS_LONG if count >= LONG_FROM else 0
    calm = count // 10 if count >= CALM_FROM else 0
    storm = count - long - calm
    towns = [("long", share) for share in _shares(long, LONG_TOWNS)]
    towns += [("storm", share) for share in _shares(storm, max(len(SHAPES), -(-storm // KILLS)))]
    towns += [("calm", share) for share in _shares(calm, -(-calm // KILLS_CALM))]
    return [
        Task(share, {"key": f"{seed}.{number}.{SHAPES[number % len(SHAPES)]}.{pace}.{share}"})
        for number, (pace, share) in enumerate(towns)
    ]


def _shares(count: int, towns: int) -> list[int]:
    shares = [count // towns + (number < count % towns) for number in range(towns)]
    return [share for share in shares if share]


def _kill(key: str, tick: Tick) -> Part:
    """One town. The schedule repeats with the key; what the processes do meanwhile does not."""
    _, _, shape, pace, kills = key.split(".")
    begun_s = time.monotonic()
    with Kept() as kept:
        found: list[str] = []
        figures: dict[str, int | float | str] = {}
        killed = 0
        try:
            with open_town(
                kept.path, "apart" if shape == "apart" else "all", sites=SITES, seed=hash_of(key)
            ) as town:
                watch = Watch(town.stack.sites)
                killer = Killer(victims_of(town), watch, key)
                watch.start()
                try:
                    killed = _storm(town, killer, int(kills), tick, pace)
                    figures["drain_s_max"] = round(_calm(town, killer, watch), 1)
                finally:
                    watch.close()
                figures |= _figures(town, killer, watch, _HOW[pace])
                found = town.judge()
        except FAILURES as error:
            found.append(f"{type(error).__name__}: {error}")
        kept.broken = bool(found)
        figures["seconds"] = round(time.monotonic() - begun_s, 1)
        where = f" (logs and journals are kept in {kept.path})"
        return Part(killed, [Violation(key, each + where) for each in found], figures)


def _storm(town: Town, killer: Killer, kills: int, tick: Tick, pace: str) -> int:
    while killer.moments < kills or (pace == "long" and town.saved < LONG_WEIGHINGS):
        if pace == "calm":
            wait_until(killer.settled, DRAIN_S, "nothing recorded after a kill was acknowledged")
        killer.pause(PAUSE_LONG_S if pace == "long" else PAUSE_S)
        if killer.strike():
            tick(1)
        town.look_after_people()
    return killer.moments


def _calm(town: Town, killer: Killer, watch: Watch) -> float:
    """Everything runs again, people finish, outboxes drain; seconds from the last start to the last ack."""
    wait_until(killer.all_back, BACK_S, "not everything that was killed serves again")
    begun_s = time.monotonic()
    town.send_people_home()
    watch.nothing_more()
    town.drain()
    return time.monotonic() - begun_s


def _figures(town: Town, killer: Killer, watch: Watch, how: str) -> dict[str, int | float | str]:
    return {
        "weighings": town.saved,
        **{f"killed {kind}": count for kind, count in sorted(killer.processes.items())},
        "pairs": killer.pairs,
        "while starting": killer.while_starting,
        "ended by themselves": killer.by_themselves,
        **spelled(watch.seconds, how),
    }


def hash_of(key: str) -> int:
    """A number of a key, the same in every process."""
    return random.Random(key).randrange(2**31)


def merge(parts: Sequence[Figures]) -> Figures:
    """Counts add up, the longest drain stays, times become percentiles."""
    total: dict[str, int | float | str] = {}
    texts: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for name, value in part.items():
            if isinstance(value, str):
                texts[name].append(value)
            elif name.endswith("_max"):
                total[name] = max(float(total.get(name, 0.0)), value)
            else:
                total[name] = total.get(name, 0) + value  # type: ignore[operator]
    return total | {name: gathered(values) for name, values in sorted(texts.items())}


KILLED = Row(
    id="R9",
    name="real processes killed, alone and in pairs, while people weigh",
    unit="kills",
    covers=(
        *PROGRAMS, "tests/proof/processes/kills.py", "tests/proof/processes/people.py",
        "tests/proof/processes/recovery.py", "tests/proof/processes/town.py",
        "tests/proof/processes/victims.py", "tests/system/exports.py",
    ),
    shallow=30,
    deep=1_000,
    split=_split,
    run=Keyed(_kill).run,
    replay=Keyed(_kill).replay,
    merge=merge,
    at_once=2,
)  # fmt: skip

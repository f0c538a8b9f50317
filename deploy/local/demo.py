"""`reloop-demo`: drop points with simulated people against a real cloud, watched, cut off and verified."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.local.keys import Keys
from deploy.local.people import PeopleFiles, make_people
from deploy.local.processes import Process, StartError, program, wait_until
from deploy.local.sockets import ask
from deploy.local.stack import CommandError, Devices, Site, Stack
from deploy.local.table import live_table
from deploy.local.verify import Comparison, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIALECTS = ("mt-sics", "cas22", "a9", "toledo", "and", "a12e", "kern", "cas18")
_CITIZENS = 24
_DRAIN_S = 90.0
_LOOK_S = 0.5
_SCENARIO = Path(__file__).parent / "demo.yaml"

console = Console(stderr=True)


@dataclass(slots=True)
class DropPoint:
    """A site and the simulated people and devices at it."""

    site: Site
    people: Process
    dialect: str
    cut: bool = False
    unplugged: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The last line a headless run prints."""

    recorded: int
    acked: int
    credited: int
    quarantined: int
    lost: int
    duplicated: int
    chain_ok: bool
    ledger_ok: bool
    drain_seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that was saved is credited exactly once and provably so."""
        credited = self.recorded == self.credited + self.quarantined
        return credited and not (self.lost or self.duplicated) and self.chain_ok and self.ledger_ok


class Demo:
    """A running demo. `seed` repeats the people and their accidents."""

    def __init__(self, stack: Stack, drop_points: int, seed: int) -> None:
        self.stack = stack
        self._files = make_people_of(stack)
        self.points = [self._open(number, seed) for number in range(1, drop_points + 1)]

    def _open(self, number: int, seed: int) -> DropPoint:
        name = f"drop-point-{number:02}"
        dialect = _DIALECTS[(number - 1) % len(_DIALECTS)]
        folder = self.stack.folder / name / "devices"
        site = self.stack.add_site(name, Devices(dialect, folder / "scale", folder / "scanner"))
        people = Process(f"people {name}", self._people(site, folder, dialect, seed + number), folder / "log")
        self.stack.claim(site)
        people.start()
        people.await_ready(lambda: (folder / "scale").exists() and (folder / "scanner").exists())
        site.start()
        return DropPoint(site, people, dialect)

    def _people(self, site: Site, folder: Path, dialect: str, seed: int) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        scenario = folder / "scenario.yaml"
        scenario.write_text(_SCENARIO.read_text().replace("DIALECT", dialect))
        return [
            program("reloop-sim"),
            "site",
            *("--scenario", str(scenario)),
            *("--kiosk", site.kiosk_url),
            *("--data", str(folder)),
            *("--seed", str(seed)),
            *("--seconds", "86400"),
            *self._files.arguments(),
        ]

    def toggle_link(self, point: DropPoint) -> None:
        """Cut the drop point's link, or restore it."""
        point.cut = not point.cut
        (self.stack.cut if point.cut else self.stack.restore)(point.site)

    def toggle_scale(self, point: DropPoint) -> None:
        """Unplug the drop point's scale, or plug it in again."""
        point.unplugged = not point.unplugged
        ask(
            point.site.folder / "devices" / "scale.sock",
            {"cmd": "fault", "name": "unplug", "on": point.unplugged},
        )

    def kill_agent(self, point: DropPoint) -> None:
        """Kill the agent as a power cut would, and start it again as systemd would."""
        point.site.agent.kill()
        point.site.start()

    def stop_intake(self) -> None:
        """Let the people go home; whoever is weighing finishes first."""
        for point in self.points:
            point.people.stop()

    def drain(self) -> float:
        """Wait until every outbox is empty; seconds it took. Raises TimeoutError."""
        begun = time.monotonic()
        for point in self.points:
            if point.cut:
                self.toggle_link(point)
            wait_until(partial(_drained, point.site), _DRAIN_S, f"{point.site.name} did not drain")
        return time.monotonic() - begun

    def verify(self, drain_s: float) -> Result:
        """Stop the agents, export both sides, compare, walk every chain."""
        acked = sum(point.site.status()["acked"] for point in self.points)
        for point in self.points:
            point.site.agent.stop()
        comparison = self._compare()
        return Result(
            acked=acked,
            recorded=comparison.recorded,
            credited=comparison.credited,
            quarantined=comparison.quarantined,
            lost=comparison.lost,
            duplicated=comparison.duplicated + comparison.differing,
            chain_ok=all(_succeeds(point.site.edge, "journal", "verify") for point in self.points),
            ledger_ok=_succeeds(self.stack.cloud.run, "ledger", "verify"),
            drain_seconds=round(drain_s, 2),
        )

    def _compare(self) -> Comparison:
        journals = [line for point in self.points for line in point.site.records()]
        exported = _lines(self.stack.cloud.run("export", "weighings", "--jsonl"))
        held = _lines(self.stack.cloud.run("quarantine", "list", "--json"))
        return compare(journals, exported, [line["id"] for line in held])


def _drained(site: Site) -> bool:
    return bool(site.status()["backlog"] == 0)


def make_people_of(stack: Stack) -> PeopleFiles:
    """Register the demo's people in the stack's cloud."""
    with stack.cloud.api() as api:
        return make_people(api, stack.folder / "people", _CITIZENS)


def run_for(demo: Demo, seconds: float, *, outage: bool) -> None:
    """Let people come for so long; with `outage` the first link is down for the middle third."""
    begun, first = time.monotonic(), demo.points[0]
    while (passed := time.monotonic() - begun) < seconds:
        if outage and (seconds / 3 <= passed < 2 * seconds / 3) != first.cut:
            demo.toggle_link(first)
            console.log(f"link of {first.site.name} {'cut' if first.cut else 'restored'}")
        time.sleep(_LOOK_S)


def watch(demo: Demo, seconds: float | None, *, outage: bool) -> None:
    """Show the live table and take keys until `q` or the time is over."""
    begun = time.monotonic()
    with Keys() as keys, live_table(demo, console) as refresh:
        while seconds is None or time.monotonic() - begun < seconds:
            if keys.obey(demo):
                return
            if (
                outage
                and seconds
                and (seconds / 3 <= time.monotonic() - begun < 2 * seconds / 3) != demo.points[0].cut
            ):
                demo.toggle_link(demo.points[0])
            refresh(keys.selected)


def demo(  # noqa: PLR0917 - options, given by name
    drop_points: Annotated[int, typer.Option(min=1, max=8, help="How many drop points.")] = 3,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="How long people come. Default: until `q`; 60 headless.")
    ] = None,
    headless: Annotated[bool, typer.Option(help="No table, no keys; one line of JSON at the end.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Keep everything in this folder. Default: a temporary one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same people and same accidents.")] = 1,
    outage: Annotated[bool, typer.Option(help="Cut the first link for a third of the time.")] = False,
) -> None:
    """Run drop points with simulated scales, scanners and people against a real cloud.

    Exit code 0 only if everything that a kiosk showed as saved is credited exactly once.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        _folder(data) as folder,
        console.status("starting Postgres, broker and cloud ..."),
        Stack(folder) as stack,
    ):
        console.log(f"cloud ready at {stack.cloud.url}/docs; data in {folder}")
        running = Demo(stack, drop_points, seed)
        for point in running.points:
            console.log(f"{point.site.name}: kiosk at {point.site.kiosk_url} ({point.dialect})")
        try:
            result = _play(running, seconds, headless=headless, outage=outage)
        finally:
            for point in running.points:
                point.people.stop()
    typer.echo(json.dumps({**asdict(result)}))
    raise typer.Exit(0 if result.ok else 1)


def _play(running: Demo, seconds: float | None, *, headless: bool, outage: bool) -> Result:
    if headless or not sys.stdin.isatty():
        run_for(running, seconds or 60.0, outage=outage)
    else:
        watch(running, seconds, outage=outage)
    console.log("people go home; waiting for the outboxes")
    running.stop_intake()
    return running.verify(running.drain())


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        yield data.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="reloop-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _succeeds(run: Callable[..., str], *arguments: str) -> bool:
    try:
        run(*arguments)
    except CommandError as error:
        console.log(str(error))
        return False
    return True


def main() -> None:
    """Entry point of `reloop-demo`."""
    try:
        typer.run(demo)
    except (StartError, CommandError, TimeoutError) as error:
        console.print(f"[bold red]demo failed:[/] {error}", highlight=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()

"""The command line `reloop-sim`: one device by itself, or a whole drop point.

Owns options, the line of JSON that says where to connect, and exit codes. 0 ended as asked,
1 a run went wrong, 2 bad input; every error is one line on stderr with its code.
"""

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from firmware_sim.dialects import DIALECTS
from firmware_sim.errors import KioskError, ProfileError, ScenarioError, SimulatorError
from firmware_sim.faults import Fault
from firmware_sim.kiosk import HttpKiosk
from firmware_sim.physics import ScaleProfile
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from firmware_sim.scanner_frames import Terminator
from firmware_sim.scenario import MAX_DURATION_S, load_scenario, shipped_scenarios
from firmware_sim.site import SimulatedSite
from firmware_sim.wire import temporary_folder

MAX_LIST_BYTES = 1_048_576

app = typer.Typer(
    help="""Simulated devices for ReLoop drop points.

Each device makes a serial port (a pseudo-terminal behind a stable symlink), prints one line of
JSON saying where it is, and runs until interrupted.

Examples:

\b
  reloop-sim scale --dialect mt-sics --link /tmp/scale

\b
  reloop-sim scanner --terminator crlf --aim

\b
  reloop-sim site --scenario quiet_day --kiosk http://127.0.0.1:8080 --data /tmp/site
""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SeedOption = Annotated[int, typer.Option(help="Same seed, same noise and same accidents.")]
BaudOption = Annotated[int, typer.Option(help="Line speed; a client that sets another one gets garbage.")]
LinkOption = Annotated[Path | None, typer.Option(help="Symlink to the port. Default: in a temporary folder.")]
ControlOption = Annotated[Path | None, typer.Option(help="Control socket. Default: the link plus .sock")]


@app.command(
    help=f"""Run one simulated scale.

Dialects: {", ".join(DIALECTS)}.

Examples:

\b
  reloop-sim scale --dialect mt-sics

\b
  reloop-sim scale --dialect a9 --baud 1200 --max-g 150000 --division-g 50 --link /tmp/scale

Then put something on it through the control socket, one line of JSON each:

\b
  echo '{{"cmd":"place","mass_g":1230}}' | nc -U /tmp/scale.sock

\b
  echo '{{"cmd":"fault","name":"unplug","on":true}}' | nc -U /tmp/scale.sock

Commands: place, add, clear, press (key zero, tare, clear_tare), fault, state.

Faults: {", ".join(Fault)}.
"""
)
def scale(
    *,
    dialect: Annotated[str, typer.Option(help="The wire format, see above.")] = "mt-sics",
    seed: SeedOption = 1,
    baud: BaudOption = 9600,
    link: LinkOption = None,
    control: ControlOption = None,
    max_g: Annotated[int, typer.Option(help="Capacity in grams.")] = 60_000,
    division_g: Annotated[int, typer.Option(help="Division in grams: 1, 2 or 5 times a power of ten.")] = 10,
    noise_g: Annotated[float, typer.Option(help="Noise of one sample, rms grams.")] = 0.6,
    drift_g_per_h: Annotated[float, typer.Option(help="Zero drift, grams per hour.")] = 0.0,
    checksum: Annotated[bool, typer.Option(help="Toledo only: the 18th byte.")] = True,
) -> None:
    """Run one simulated scale."""
    profile = ScaleProfile(max_g=max_g, division_g=division_g, noise_g=noise_g, drift_g_per_h=drift_g_per_h)
    places = _places(link, control, "scale")
    device = SimulatedScale(
        dialect,
        link=places.link,
        control=places.control,
        seed=seed,
        baud=baud,
        profile=profile,
        checksum=checksum,
    )
    asyncio.run(_run(device, places, {"dialect": dialect}))


@app.command(
    help="""Run one simulated scanner and tag reader.

Terminators: cr, lf, crlf, tab, gap (none, only a pause).

Examples:

\b
  reloop-sim scanner --terminator crlf --aim --link /tmp/scanner

\b
  echo '{"cmd":"scan","text":"RLB1:ABC123"}' | nc -U /tmp/scanner.sock

\b
  echo '{"cmd":"tag","id":"010063E9AE"}' | nc -U /tmp/scanner.sock
"""
)
def scanner(
    *,
    terminator: Annotated[str, typer.Option(help="How a code ends, see above.")] = Terminator.CR.value,
    aim: Annotated[bool, typer.Option("--aim", help="Put an AIM identifier before every code.")] = False,
    seed: SeedOption = 1,
    baud: BaudOption = 9600,
    link: LinkOption = None,
    control: ControlOption = None,
) -> None:
    """Run one simulated scanner and tag reader."""
    places = _places(link, control, "scanner")
    device = SimulatedScanner(
        terminator=terminator, aim=aim, link=places.link, control=places.control, seed=seed, baud=baud
    )
    asyncio.run(_run(device, places, {"terminator": terminator}))


async def _run(
    device: SimulatedScale | SimulatedScanner, places: "_Places", facts: dict[str, object]
) -> None:
    with places:
        async with device:
            announce({"port": device.port, **facts, "control": str(places.control)})
            await until_interrupted()


class _Places:
    """Where link and control socket go; makes and removes the temporary folder if there is one."""

    def __init__(self, link: Path, control: Path, folder: Path | None) -> None:
        self.link = link
        self.control = control
        self._folder = folder

    def __enter__(self) -> None:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700)

    def __exit__(self, *_exc: object) -> None:
        if self._folder is not None:
            self._folder.rmdir()


def _places(link: Path | None, control: Path | None, name: str) -> _Places:
    folder = temporary_folder() if link is None else None
    place = link or (folder or Path()) / name
    return _Places(place.absolute(), (control or place.with_name(place.name + ".sock")).absolute(), folder)


@app.command(
    help=f"""Run a whole drop point: a scale, a scanner, a tag reader, and people who press a kiosk's buttons.

Scenarios: {", ".join(shipped_scenarios())}, or a YAML file of your own.

The ports are DIR/scale, DIR/scanner and DIR/tags (an RDM6300 reader): point the agent's settings
there. The same names with .sock take commands. What people saw as saved goes to DIR/visits.jsonl.
At the end one line of JSON sums up. People with cards, tags and bins come only if you give some.

Examples:

\b
  reloop-sim site --scenario quiet_day --kiosk http://127.0.0.1:8080 --data /tmp/site

\b
  reloop-sim site --scenario rush_hour --seed 3 --seconds 120 --cards cards.txt \\
    --kiosk http://127.0.0.1:8080 --data /tmp/site
"""
)
def site(
    *,
    scenario: Annotated[str, typer.Option(help="A scenario's name, or a YAML file.")],
    kiosk: Annotated[str, typer.Option(help="The kiosk's address, such as http://127.0.0.1:8080.")],
    data: Annotated[Path, typer.Option(help="Folder for ports, sockets and the diary.")],
    seed: Annotated[int | None, typer.Option(help="Instead of the scenario's seed.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Instead of the scenario's duration.")] = None,
    cards: Annotated[Path | None, typer.Option(help="Members' card texts, one per line.")] = None,
    collectors: Annotated[Path | None, typer.Option(help="Collectors' card texts, one per line.")] = None,
    tags: Annotated[Path | None, typer.Option(help="Tags, ten hex digits each, one per line.")] = None,
    bins: Annotated[Path | None, typer.Option(help="Bin code texts, one per line.")] = None,
) -> None:
    """Run a whole drop point."""
    plan = load_scenario(scenario)
    people = replace(
        plan.people,
        cards=plan.people.cards if cards is None else read_lines(cards),
        collectors=plan.people.collectors if collectors is None else read_lines(collectors),
        tags=plan.people.tags if tags is None else read_lines(tags),
        bins=plan.people.bins if bins is None else read_lines(bins),
    )
    if seconds is not None and not 1 <= seconds <= MAX_DURATION_S:
        raise ProfileError(f"--seconds must be 1 to {MAX_DURATION_S:.0f}, not {seconds}")
    plan = replace(
        plan,
        seed=plan.seed if seed is None else seed,
        duration_s=plan.duration_s if seconds is None else seconds,
        people=people,
    )
    asyncio.run(_site(SimulatedSite(plan, HttpKiosk(kiosk), data.absolute())))


async def _site(drop_point: SimulatedSite) -> None:
    async with drop_point:
        announce(
            {
                "scale": drop_point.scale.port,
                "scanner": drop_point.scanner.port,
                "tags": drop_point.tag_reader.port,
                "control": [str(drop_point.data / f"{name}.sock") for name in ("scale", "scanner", "tags")],
            }
        )
        stop = asyncio.Event()
        stop_on_signals(stop)
        announce(await drop_point.run(stop))


def read_lines(path: Path) -> tuple[str, ...]:
    """The lines of a text file that are not empty; at most a mebibyte."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ScenarioError("scenario.too_large", f"{path}: more than {MAX_LIST_BYTES} bytes")
        lines = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError("scenario.unreadable", f"{path}: cannot read it: {reason}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError("scenario.unreadable", f"{path}: no UTF-8 text: {error.reason}") from error
    if not lines:
        raise ScenarioError("scenario.empty", f"{path}: holds no line")
    return lines


def announce(facts: dict[str, object]) -> None:
    """Print one line of JSON, flushed, so that a parent process can read it at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def until_interrupted() -> None:
    """Wait for SIGINT or SIGTERM."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    await stop.wait()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set the event on SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are one line on stderr."""
    try:
        app(args=arguments, standalone_mode=True)
    except SimulatorError as error:
        sys.stderr.write(f"reloop-sim: error [{error.code}]: {error}\n")
        return 1 if error.code == KioskError.code else 2
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0

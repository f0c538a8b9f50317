"""The command line `reloop-sim`: one device by itself, or a whole drop point.

Owns options, the line of JSON that says where to connect, and exit codes. 0 ended as asked,
1 a run went wrong, 2 bad input; every error is one line on stderr with its code.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from firmware_sim.dialects import DIALECTS
from firmware_sim.errors import SimulatorError
from firmware_sim.faults import Fault
from firmware_sim.physics import ScaleProfile
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from firmware_sim.scanner_frames import Terminator
from firmware_sim.wire import temporary_folder

app = typer.Typer(
    help="""Simulated devices for ReLoop drop points.

Each device makes a serial port (a pseudo-terminal behind a stable symlink), prints one line of
JSON saying where it is, and runs until interrupted.

Examples:

  reloop-sim scale --dialect mt-sics --link /tmp/scale

  reloop-sim scanner --terminator crlf --aim

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

  reloop-sim scale --dialect mt-sics

  reloop-sim scale --dialect a9 --baud 1200 --max-g 150000 --division-g 50 --link /tmp/scale

Then put something on it through the control socket, one line of JSON each:

  echo '{{"cmd":"place","mass_g":1230}}' | nc -U /tmp/scale.sock

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

  reloop-sim scanner --terminator crlf --aim --link /tmp/scanner

  echo '{"cmd":"scan","text":"RLB1:ABC123"}' | nc -U /tmp/scanner.sock

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


def announce(facts: dict[str, object]) -> None:
    """Print one line of JSON, flushed, so that a parent process can read it at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def until_interrupted() -> None:
    """Wait for SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are one line on stderr."""
    try:
        app(args=arguments, standalone_mode=True)
    except SimulatorError as error:
        sys.stderr.write(f"reloop-sim: error [{error.code}]: {error}\n")
        return 2
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0

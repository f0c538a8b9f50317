"""`reloop-demo`: drop points with simulated people against a real cloud, watched, cut off and verified."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from deploy.local.drop_points import DropPoints, Result
from deploy.local.keys import Keys
from deploy.local.processes import StartError
from deploy.local.stack import CommandError, Stack
from deploy.local.table import live_table

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_S = 0.5

console = Console(stderr=True, log_path=False)


def run_for(points: DropPoints, seconds: float, *, outage: bool) -> None:
    """Let people come for so long; with `outage` the first link is down for the middle third."""
    begun = time.monotonic()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("people come and go", total=seconds)
        while (passed := time.monotonic() - begun) < seconds:
            if outage:
                _keep_outage(points, passed / seconds)
            bar.update(task, completed=passed)
            time.sleep(_LOOK_S)


def _keep_outage(points: DropPoints, share: float) -> None:
    """The first link is down while `share` of the time is in its middle third."""
    first = points.points[0]
    if (1 / 3 <= share < 2 / 3) != first.cut:
        points.toggle_link(first)
        console.log(f"link of {first.site.name} {'cut' if first.cut else 'restored'}")


def watch(points: DropPoints, seconds: float | None, *, outage: bool) -> None:
    """Show the live table and take keys until `q` or the time is over."""
    begun = time.monotonic()
    with Keys() as keys, live_table(points, console) as refresh:
        while seconds is None or time.monotonic() - begun < seconds:
            if keys.obey(points):
                return
            if outage and seconds:
                _keep_outage(points, (time.monotonic() - begun) / seconds)
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
    with _folder(data) as folder, contextlib.ExitStack() as closing:
        with console.status("starting Postgres, broker, cloud and drop points"):
            stack = closing.enter_context(Stack(folder))
            running = DropPoints(stack, drop_points, seed)
            closing.callback(running.stop_intake)
        _introduce(running)
        result = _play(running, seconds, headless=headless, outage=outage)
    typer.echo(json.dumps(asdict(result)))
    raise typer.Exit(0 if result.ok else 1)


def _introduce(running: DropPoints) -> None:
    cloud = running.stack.cloud
    console.print(f"API      {cloud.url}/docs   (operator's token in {cloud.folder}/cloud/operator-token)")
    for point in running.points:
        console.print(f"kiosk    {point.site.kiosk_url}   {point.site.name}, scale speaks {point.dialect}")


def _play(running: DropPoints, seconds: float | None, *, headless: bool, outage: bool) -> Result:
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


def main() -> None:
    """Entry point of `reloop-demo`."""
    try:
        typer.run(demo)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (StartError, CommandError, TimeoutError) as error:
        console.print(f"[bold red]demo failed:[/] {error}", highlight=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()

"""`python -m tests.bench [NAMES]`: figures as ratios against limits measured in the same run."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.local.processes import StartError
from deploy.local.stack import CommandError
from tests.bench import agent, append, drain, ingest, latency
from tests.bench.report import line_of, table_of
from tests.bench.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.figures import Figure

BENCHES: dict[str, Callable[[Setup], list[Figure]]] = {
    "append": append.measure,
    "ingest": ingest.measure,
    "drain": drain.measure,
    "latency": latency.measure,
    "agent": agent.measure,
}
_HELP = f"""Which: {", ".join(BENCHES)}. Default: all."""
console = Console(stderr=True)


def bench(
    names: Annotated[list[str] | None, typer.Argument(help=_HELP)] = None,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="How often each is measured.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write: this disk is measured. Default: a temporary folder.")
    ] = None,
) -> None:
    """Measure ReLoop, each figure beside a limit or peer measured in the same run.

    append: durable appends against bare SQLite commits. ingest: weighings credited against bare SQL.
    drain: 20,000 weighings from one outbox to the last ack, and their bytes on the wire.
    latency: from confirm to saved while a backlog drains. agent: memory and idle CPU.

    Prints a table, then one line of JSON. Close other programs first: ratios bear noise, the rest does not.
    """
    chosen = list(dict.fromkeys(names or BENCHES))
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        raise typer.BadParameter(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    with tempfile.TemporaryDirectory(prefix="reloop-bench-", dir=folder) as where, _progress() as say:
        setup = Setup(Path(where), rounds, say, {"load_before": round(os.getloadavg()[0], 2)})
        figures = [figure for name in chosen for figure in BENCHES[name](setup)]
    Console(width=None if sys.stdout.isatty() else 170).print(table_of(figures))
    typer.echo(line_of(figures, setup.facts))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda text: progress.update(task, description=text)


def main() -> None:
    """Entry point; ended by SIGTERM it still stops what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        typer.run(bench)
    except (StartError, CommandError, TimeoutError) as error:
        console.print(f"[bold red]bench failed:[/] {error}", highlight=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()

"""`python -m tests.proof`: puts the promise to the test at the depth asked for, and keeps the scorecard."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tests.proof import scorecard
from tests.proof.row import Row
from tests.proof.rows import ROWS, row_of
from tests.proof.runner import Result, run_row

console = Console(stderr=True)
_NAMES = ", ".join(row.id for row in ROWS)


def prove(
    rows: Annotated[list[str] | None, typer.Argument(help=f"Which: {_NAMES}. Default: all.")] = None,
    depth: Annotated[
        str, typer.Option(help="How deep: `shallow`, `deep`, or a number of cases for every row named.")
    ] = "shallow",
    seed: Annotated[int, typer.Option(help="Where the random choices begin.")] = 1,
    replay: Annotated[
        str, typer.Option(help="Run one case again, as a violation names it: ROW:KEY.", metavar="ROW:KEY")
    ] = "",
    *,
    at_once: Annotated[
        int, typer.Option(help="How many tasks run side by side; 0: as many as the row bears.", min=0)
    ] = 0,
    again: Annotated[bool, typer.Option(help="Run rows that stand, too.")] = False,
    keep: Annotated[bool, typer.Option(help="Write what was found into the scorecard.")] = True,
    show: Annotated[bool, typer.Option(help="Only show the scorecard, and which rows stand.")] = False,
) -> None:
    """Try to make the gateway or the cloud lose, double or forge a weighing.

    A row that stood at this depth or deeper, and whose files have not changed since, is not run again. Exits
    with 1 if any promise was broken, and prints the command that runs each such case again.
    """
    if replay:
        raise typer.Exit(_replay(replay))
    chosen = [_row(name) for name in rows or [row.id for row in ROWS]]
    entries = scorecard.load()
    if not show:
        for row in chosen:
            count = _count(row, depth)
            if again or not _stands(row, count, entries.get(row.id)):
                entries[row.id] = _prove(row, count, seed, at_once)
                if keep:
                    scorecard.keep(entries[row.id], [each.id for each in ROWS])
    Console().print(_table(entries, chosen))
    if any(entries[row.id].violations for row in chosen if row.id in entries):
        raise typer.Exit(1)


def _row(name: str) -> Row:
    try:
        return row_of(name)
    except KeyError as error:
        raise typer.BadParameter(f"no row {name!r}; there are {_NAMES}") from error


def _count(row: Row, depth: str) -> int:
    match depth:
        case "shallow":
            return row.shallow
        case "deep":
            return row.deep
        case _ if depth.isdigit() and int(depth) > 0:
            return int(depth)
        case _:
            raise typer.BadParameter("the depth is `shallow`, `deep`, or a number of cases from 1")


def _stands(row: Row, count: int, entry: scorecard.Entry | None) -> bool:
    if entry is None or not entry.stands(row, count):
        return False
    console.print(f"{row.id} stands: {entry.count:,} {row.unit} at {entry.commit}")
    return True


def _prove(row: Row, count: int, seed: int, at_once: int) -> scorecard.Entry:
    begun_with = scorecard.fingerprint(row)
    with _progress() as progress:
        bar = progress.add_task(f"{row.id} {row.name}", total=count)
        result = run_row(row, count, seed, lambda more: progress.advance(bar, more), at_once)
    _say(row, result)
    return scorecard.entry_of(row, seed, result, begun_with)


def _say(row: Row, result: Result) -> None:
    if result.figures:
        console.print(f"{row.id}: {scorecard.spelled(result.figures)}", highlight=False, markup=False)
    for violation in result.kept[:10]:
        console.print(f"[bold red]{row.id} is broken:[/] {escape(violation.what)}", highlight=False)
        console.print(
            f"  run it again: make prove ARGS=\"--replay '{row.id}:{violation.key}'\"", markup=False
        )


def _replay(which: str) -> int:
    name, _, key = which.partition(":")
    part = _row(name).replay(key)
    if part.figures:
        console.print(f"{name}: {scorecard.spelled(part.figures)}", highlight=False, markup=False)
    for violation in part.violations:
        console.print(f"[bold red]broken:[/] {escape(violation.what)}", highlight=False)
    if not part.violations:
        console.print(f"{which}: nothing is broken")
    return 1 if part.violations else 0


def _table(entries: dict[str, scorecard.Entry], rows: list[Row]) -> Table:
    table = Table("row", "what ran", "count", "violations", "seconds", "commit", "stands", title="Scorecard")
    for row in rows:
        entry = entries.get(row.id)
        if entry is None:
            table.add_row(row.id, row.name, "-", "-", "-", "-", "never run")
        else:
            stands = "yes" if entry.stands(row, 1) else "no"
            count = f"{entry.count:,} {row.unit}"
            seconds = f"{entry.seconds:,.0f}"
            table.add_row(row.id, row.name, count, str(entry.violations), seconds, entry.commit, stands)
    return table


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=not sys.stderr.isatty())


if __name__ == "__main__":
    typer.run(prove)

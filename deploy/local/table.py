"""The demo's live table: one row a drop point, read from the agents' own status."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from deploy.local.keys import HELP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from deploy.local.drop_points import DropPoint, DropPoints

_COLUMNS = ("", "drop point", "scale", "screen", "saved", "backlog", "acked", "road", "breakers", "kiosk")


@contextlib.contextmanager
def live_table(points: DropPoints, console: Console) -> Iterator[Callable[[int], None]]:
    """Show the table; the function it gives draws it anew with a drop point selected."""
    with Live(console=console, auto_refresh=False) as live:
        yield lambda selected: live.update(_table(points, selected), refresh=True)


def _table(points: DropPoints, selected: int) -> Table:
    table = Table(*_COLUMNS, title="ReLoop", caption=HELP)
    for number, point in enumerate(points.points):
        table.add_row("▶" if number == selected else str(number + 1), *_row(point))
    return table


def _row(point: DropPoint) -> list[str]:
    try:
        status = point.site.status()
    except OSError:
        return [point.site.name, point.dialect, "[red]agent is down[/]"]
    breakers = " ".join(f"{road} {state}" for road, state in status["breakers"].items())
    return [
        point.site.name,
        f"{point.dialect} [{'green' if status['scale'] == 'ok' else 'red'}]{status['scale']}[/]",
        *_figures(status),
        "[red]cut[/]" if point.cut else str(status["road"] or "[yellow]offline[/]"),
        breakers,
        point.site.kiosk_url,
    ]


def _figures(status: dict[str, Any]) -> list[str]:
    return [str(status[name]) for name in ("screen", "head", "backlog", "acked")]

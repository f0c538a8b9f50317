"""How figures are shown: a table for people, one line of JSON for programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.figures import Figure, Spread

_COLUMNS = ("", "measured", "", "against", "peer or limit", "ratio", "aim", "")


def table_of(figures: Sequence[Figure]) -> Table:
    """One row a figure: median, and lowest to highest of its rounds."""
    table = Table(*_COLUMNS, title="ReLoop bench: median (lowest-highest)", title_justify="left")
    for figure in figures:
        table.add_row(
            figure.name,
            _shown(figure.measured),
            figure.unit,
            figure.against,
            _shown(figure.peer),
            _shown(figure.ratio),
            ", ".join(map(str, figure.aims)) or "-",
            _verdict(figure),
        )
    return table


def line_of(figures: Sequence[Figure], facts: dict[str, object]) -> str:
    """Everything as one line; `facts` are told beside the figures."""
    return json.dumps(
        {
            "cores": os.cpu_count(),
            **facts,
            "met": all(figure.met for figure in figures),
            "figures": [_plain(figure) for figure in figures],
        },
        ensure_ascii=False,
    )


def _plain(figure: Figure) -> dict[str, object]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        **_rounded(figure.measured),
        "against": figure.against,
        "peer": _rounded(figure.peer),
        "ratio": _rounded(figure.ratio),
        "aims": [str(aim) for aim in figure.aims],
        "met": figure.met,
    }


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in asdict(spread).items()}


def _shown(spread: Spread) -> str:
    median, low, high = (_number(value) for value in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low}-{high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _verdict(figure: Figure) -> str:
    if not figure.aims:
        return ""
    return "[green]met[/]" if figure.met else "[red]missed[/]"

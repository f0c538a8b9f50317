"""Every row covers what it depends on: all that its module imports and starts, and what that does in turn.

Read from the sources, so that what a function imports late and what runs in other processes counts as well.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from tests.proof.row import Row
from tests.proof.rows import ROWS
from tests.proof.scorecard import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = {f"tests/proof/{name}.py" for name in ("row", "rows", "runner", "ending", "scorecard", "__main__")}
"""Carries cases to processes and counts what they find; see `Row`."""
_OURS = ("edge", "cloud", "protocol", "deploy", "firmware_sim", "tests")
_PROGRAMS: dict[str, str] = {
    name: target.partition(":")[0]
    for name, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
}


@cache
def needs(file: str) -> frozenset[str]:
    """The files of ours that this one imports, or starts as a program or by `-m`."""
    found: set[str] = set()
    for name in _named(ast.parse((ROOT / file).read_text())):
        if name.partition(".")[0] in _OURS:
            found |= _files(name)
    return frozenset(found - {file})


def _files(module: str) -> set[str]:
    """What runs when a module is imported: itself and the packages it is in; nothing if there is no such."""
    stem = module.replace(".", "/")
    itself = {file for file in (f"{stem}.py", f"{stem}/__main__.py", f"{stem}/__init__.py") if _says(file)}
    above = [f"{package}/__init__.py" for package in accumulate(module.split(".")[:-1], "{}/{}".format)]
    return itself | {file for file in above if itself and _says(file)}


@cache
def _says(file: str) -> bool:
    """Whether there is such a file, with more in it than its docstring."""
    path = ROOT / file
    return path.is_file() and len(ast.parse(path.read_text()).body) > 1


def _named(node: ast.AST) -> Iterator[str]:
    """Whatever may be the name of a module; what is only there for the type checker is not."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.Import(names=names):
            yield from (each.name for each in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield module
            yield from (f"{module}.{each.name}" for each in names)
        case ast.Constant(value=str(text)):
            yield _PROGRAMS.get(text, text if "." in text else "")
    for child in ast.iter_child_nodes(node):
        yield from _named(child)


def closure(file: str) -> set[str]:
    """All files of ours that this one depends on, itself among them; the frame is not followed."""
    known: set[str] = set()
    waiting = [file]
    while waiting:
        this = waiting.pop()
        if this not in known and this not in FRAME:
            known.add(this)
            waiting += needs(this)
    return known


def uncovered(row: Row) -> list[str]:
    """The files on which the row depends though it would stand if they changed."""
    places = [each.rstrip("/") for each in row.covers]
    return sorted(
        file
        for file in closure(f"{row.split.__module__.replace('.', '/')}.py")
        if not any(file == place or file.startswith(f"{place}/") for place in places)
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_does_not_stand_though_something_it_depends_on_has_changed(row: Row) -> None:
    assert uncovered(row) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_row_uses_a_test_as_the_fingerprint_leaves_tests_out(row: Row) -> None:
    used = closure(f"{row.split.__module__.replace('.', '/')}.py")
    assert [file for file in used if file.rpartition("/")[2].startswith("test_")] == []


def test_a_file_left_out_is_noticed_whether_imported_or_started_as_a_program() -> None:
    killed = next(row for row in ROWS if row.id == "R9")
    assert "protocol/cose.py" in uncovered(replace(killed, covers=("edge", "cloud", "deploy/local", "tests")))
    assert "cloud/__main__.py" in uncovered(replace(killed, covers=("edge", "protocol", "deploy", "tests")))


def test_every_place_a_row_covers_exists() -> None:
    assert [place for row in ROWS for place in row.covers if not (ROOT / place).exists()] == []

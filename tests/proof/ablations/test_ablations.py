"""The row of ablations itself: what it calls caught was caught, and what nobody misses is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.proof.ablations.ablations import ABLATIONS, Caught, hold, try_one
from tests.proof.ablations.catching import ROWS
from tests.proof.ablations.patches import FOLDER, Ablation, PatchError, ablations, parse
from tests.proof.ablations.trees import apply, copy_tree
from tests.proof.disk.crashes import scratch
from tests.proof.scorecard import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = "Something. Guards everything.\nCaught by R17 within 1000 as: step\n\n"
_BREAKER = "--- a/protocol/breaker.py\n+++ b/protocol/breaker.py\n@@ -1,1 +1,1 @@\n"


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    with scratch() as folder:
        yield copy_tree(folder / "whole")


def planted(folder: Path, line: str) -> Ablation:
    """A patch that puts this line before the breaker's first."""
    first = (ROOT / "protocol/breaker.py").read_text().splitlines()[0]
    file = folder / "planted.patch"
    file.write_text(f"{_HEAD}{_BREAKER.replace('+1,1', '+1,2')}+{line}\n {first}\n")
    return parse(file)


def test_every_patch_applies_to_the_product_as_it_is_now(whole: Path) -> None:
    for ablation in ablations():
        apply(ablation, whole, only_look=True)


def test_every_patch_is_caught_by_a_row_that_there_is() -> None:
    assert {ablation.row for ablation in ablations()} <= ROWS.keys()


def test_every_patch_changes_the_product_and_not_its_proof() -> None:
    paths = {path for ablation in ablations() for path in ablation.paths}
    assert {path.partition("/")[0] for path in paths} <= {"edge", "cloud", "protocol"}


def test_no_two_patches_have_one_number() -> None:
    numbers = [file.name.partition("-")[0] for file in FOLDER.glob("*.patch")]
    assert len(numbers) == len(set(numbers)) >= ABLATIONS.shallow


def test_a_patch_that_does_not_apply_any_more_is_told_by_its_name(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "planted.patch").write_text(f"{_HEAD}{_BREAKER}-no such line\n+pass\n")
    told = try_one(parse(tmp_path / "planted.patch"), whole, tmp_path)
    assert isinstance(told, str)
    assert "planted does not apply any more" in told


def test_a_patch_that_does_not_say_who_catches_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "planted.patch").write_text(f"Something.\n{_BREAKER}-a\n+b\n")
    with pytest.raises(PatchError, match="must begin with"):
        parse(tmp_path / "planted.patch")


def test_what_nobody_misses_is_not_caught(whole: Path, tmp_path: Path) -> None:
    told = try_one(planted(tmp_path, "# A remark."), whole, tmp_path)
    assert isinstance(told, str)
    assert "found nothing like" in told


def test_a_program_that_falls_over_has_not_caught_anything(whole: Path, tmp_path: Path) -> None:
    told = try_one(planted(tmp_path, "raise RuntimeError"), whole, tmp_path)
    assert isinstance(told, str)
    assert "came to no verdict" in told


def test_a_case_that_is_broken_with_every_safeguard_in_place_catches_nothing(
    whole: Path, tmp_path: Path
) -> None:
    ablation = next(one for one in ablations() if one.row == "R17")
    caught = try_one(ablation, whole, tmp_path)
    assert isinstance(caught, Caught)
    assert list(hold([caught], whole)) == []
    (broken,) = hold([replace(caught, cases=1)], tmp_path / ablation.name)
    assert "is broken with every safeguard in place" in broken


def test_a_row_is_not_run_on_the_code_of_another_folder(tmp_path: Path) -> None:
    program = ROOT / "tests/proof/ablations/catching.py"
    done = subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')"],
        cwd=tmp_path, input="{}", capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "not of the copy" in done.stderr

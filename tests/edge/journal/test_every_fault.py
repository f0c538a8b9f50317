"""Each operation of a deed fails once: an error is told as such, and what was told as saved is there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from edge.errors import JournalError
from tests.proof.disk.crashes import scratch
from tests.proof.disk.disk import Fault
from tests.proof.disk.faults import Failure, Plan, operations
from tests.proof.disk.promise import examine
from tests.proof.disk.states import BEGINNING
from tests.proof.disk.workload import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("deeds", [BEGINNING, "xpa", "fa", "na", "rva", "da", "kqa", "nKpa"])
def test_no_weighing_is_lost_or_invented_when_one_operation_fails(deeds: str) -> None:
    with scratch() as folder:
        for number in range(len(operations(folder / "count", "1", deeds))):
            broken = with_one_failure(folder / str(number), deeds, number)
            assert not broken, f"operation {number} of {deeds!r}"


def with_one_failure(folder: Path, deeds: str, number: int) -> list[str]:
    machine = Machine(folder, f"1.{deeds}")
    try:
        if deeds != BEGINNING:
            machine.begin()
        machine.disk.fault = Plan([Failure(number, Fault.EIO)])
        for deed in deeds:
            with contextlib.suppress(JournalError):
                _do(machine, deed)
        machine.disk.fault = lambda _operation, _name: None
        if not machine.is_open:
            machine.start()
        machine.append(1)
        return list(machine.promise.broken_by(examine(machine.journal, machine.disk)))
    finally:
        machine.close()


def _do(machine: Machine, deed: str) -> None:
    if not machine.is_open:
        machine.start()
    if deed != BEGINNING:
        machine.do(deed)

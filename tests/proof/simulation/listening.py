"""What the product's supervisors caught and logged: unexpected, it is a finding; expected, it is silence."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

import structlog

from cloud.errors import UnavailableError
from edge.errors import EdgeError
from tests.proof.simulation.loop import MachineDied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from tests.proof.simulation.reference import Reference


class _Listener(logging.Handler):
    """Hears of exceptions that a supervisor of the product caught and logged."""

    def __init__(self, reference: Reference) -> None:
        super().__init__(logging.WARNING)
        self._reference = reference

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and not _expected(record.exc_info[1]):
            where = traceback.format_exception(record.exc_info[1])[-2:]
            self._reference.fault(f"{record.name}: {record.getMessage()}: {record.exc_info[1]!r} {where}")


def _expected(error: BaseException) -> bool:
    return isinstance(error, UnavailableError | EdgeError | MachineDied)


@contextlib.contextmanager
def listening(reference: Reference) -> Iterator[None]:
    """Nothing is printed; what the product's supervisors caught unexpectedly is a finding."""

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        error = sys.exc_info()[1]
        if event.get("exc_info") and error is not None and not _expected(error):
            where = traceback.format_exception(error)[-2:]
            reference.fault(f"cloud: {event.get('event')}: {error!r} {where}")
        raise structlog.DropEvent

    listener, logger = _Listener(reference), logging.getLogger("reloop")
    propagate, logger.propagate = logger.propagate, False
    kept = structlog.get_config()
    structlog.configure(processors=[hear])
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate
        structlog.configure(**kept)

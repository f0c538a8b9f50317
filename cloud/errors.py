"""The one error root of the cloud. A code is stable for ever; a message says what was wrong and what to do.

Does not know HTTP: the API maps these to problems, the command line to exit codes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class CloudError(Exception):
    """Something the cloud was asked to do could not be done.

    `code` is a stable dotted name such as `ledger.insufficient`; `str(error)` is for people. `retry` tells
    whether the same call may succeed later with nobody's help.
    """

    code: str = "cloud"
    retry: ClassVar[bool] = False
    headers: Mapping[str, str] = MappingProxyType({})
    """What an HTTP answer should carry, e.g. `Retry-After`."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(CloudError):
    """A setting cannot be used; the message names it and the remedy."""

    code = "config.invalid"


class InvalidError(CloudError):
    """What was sent cannot be used as it is; sending it again will not help."""

    code = "invalid"


class NotFoundError(CloudError):
    """What was named does not exist."""

    code = "not_found"


class ConflictError(CloudError):
    """The request contradicts what is already so."""

    code = "conflict"


class UnauthorizedError(CloudError):
    """Nobody we know is asking."""

    code = "unauthorized"


class ForbiddenError(CloudError):
    """The one who asks may not."""

    code = "forbidden"


class RateLimitedError(CloudError):
    """Too many tries."""

    code = "rate.limited"
    retry = True


class UnavailableError(CloudError):
    """Something this needs does not answer; try again later."""

    code = "unavailable"
    retry = True


class DatabaseError(UnavailableError):
    """Postgres cannot be started, reached or migrated."""

    code = "database"


class LedgerError(ConflictError):
    """A transfer cannot be made as asked."""

    code = "ledger"


class IngestError(InvalidError):
    """Something delivered cannot be taken in."""

    code = "ingest"

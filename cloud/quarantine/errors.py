"""What can be wrong with a decision on a record in quarantine."""

from cloud.errors import ConflictError, NotFoundError


class HeldRecordNotFoundError(NotFoundError):
    """There is no such record in quarantine."""

    code = "quarantine.not_found"


class AlreadyDecidedError(ConflictError):
    """The record was retried or rejected before."""

    code = "quarantine.decided"

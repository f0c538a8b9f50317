"""What can be wrong with a drop point."""

from cloud.errors import ConflictError, NotFoundError


class DropPointNotFoundError(NotFoundError):
    """There is no drop point of this code."""

    code = "drop_point.not_found"


class DropPointExistsError(ConflictError):
    """Another drop point has this code."""

    code = "drop_point.exists"

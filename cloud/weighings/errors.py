"""What can be wrong with asking for a weighing."""

from cloud.errors import NotFoundError


class WeighingNotFoundError(NotFoundError):
    """There is no weighing of this id."""

    code = "weighing.not_found"

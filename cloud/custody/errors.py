"""What can be wrong with a bin or a pickup."""

from cloud.errors import ConflictError, InvalidError, NotFoundError


class BinNotFoundError(NotFoundError):
    """There is no bin of this code."""

    code = "bin.not_found"


class BinExistsError(ConflictError):
    """Another bin has this code."""

    code = "bin.exists"


class BinInvalidError(InvalidError):
    """The bin names a drop point or material that does not exist."""

    code = "bin.invalid"


class PickupNotFoundError(NotFoundError):
    """There is no pickup of this id."""

    code = "pickup.not_found"

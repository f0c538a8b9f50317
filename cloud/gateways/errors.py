"""What can be wrong with a gateway or a claim."""

from cloud.errors import ConflictError, ForbiddenError, NotFoundError


class GatewayNotFoundError(NotFoundError):
    """There is no gateway of this id."""

    code = "gateway.not_found"


class GatewayExistsError(ConflictError):
    """Another gateway has this id."""

    code = "gateway.exists"


class GatewayStateError(ConflictError):
    """The gateway is not in the state that this needs."""

    code = "gateway.state"


class ClaimRefusedError(ForbiddenError):
    """The one-time code is unknown, used or expired; which of these is not said."""

    code = "claim.refused"

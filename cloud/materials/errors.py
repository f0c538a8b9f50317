"""What can be wrong with a material."""

from cloud.errors import ConflictError, NotFoundError


class MaterialNotFoundError(NotFoundError):
    """There is no material of this code."""

    code = "material.not_found"


class MaterialExistsError(ConflictError):
    """Another material has this code."""

    code = "material.exists"

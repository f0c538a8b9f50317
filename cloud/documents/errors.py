"""What can be wrong with a document."""

from cloud.errors import NotFoundError


class DocumentNotFoundError(NotFoundError):
    """There is no document of this name for this gateway."""

    code = "document.not_found"

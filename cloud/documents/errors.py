"""What can be wrong with a document."""

from cloud.errors import NotFoundError, UnavailableError


class DocumentNotFoundError(NotFoundError):
    """There is no document of this name for this gateway."""

    code = "document.not_found"


class DocumentsAlikeError(UnavailableError):
    """Too many documents with the same content were issued at once; they are told apart by their time."""

    code = "document.alike"

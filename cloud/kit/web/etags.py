"""Entity tags of what is shown, so that two operators do not overwrite each other unseen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

from fastapi import Header

from cloud.errors import ConflictError

if TYPE_CHECKING:
    from pydantic import BaseModel

IfMatch = Annotated[
    str | None,
    Header(max_length=256, description="`ETag` of what you saw; the change is refused if it is another now"),
]


class PreconditionError(ConflictError):
    """What is to be changed is not what the client saw."""

    code = "precondition.failed"


def etag_of(shown: BaseModel) -> str:
    """The tag of a representation."""
    return f'"{hashlib.sha256(shown.model_dump_json().encode()).hexdigest()[:32]}"'


def check_match(if_match: str | None, shown: BaseModel) -> None:
    """Raises PreconditionError if the client saw something else."""
    if if_match is not None and if_match not in {"*", etag_of(shown)}:
        raise PreconditionError("somebody changed this since you looked; read it again, then decide")

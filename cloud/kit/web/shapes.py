"""Bases of the shapes that cross the HTTP boundary."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict


class Given(BaseModel):
    """What a client sends. Unknown fields are refused: a misspelt one must not pass silently."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Shown(BaseModel):
    """What a client gets; reads the attributes of the module's own frozen models."""

    model_config = ConfigDict(from_attributes=True)


def _hex(value: object) -> object:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


Hex = Annotated[str, BeforeValidator(_hex)]
"""Bytes shown as lower-case hex digits."""

Time = AwareDatetime

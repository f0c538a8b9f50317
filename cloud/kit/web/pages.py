"""Keyset pages: opaque cursors over (sort keys), no offsets and no totals."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from cloud.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT_MAX = 100
_CURSOR_LENGTH_MAX = 512
ItemT = TypeVar("ItemT")

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="items on a page")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=_CURSOR_LENGTH_MAX, description="`next_cursor` of the page before; absent for the first"
    ),
]


class Page(BaseModel, Generic[ItemT]):
    """A page of items, newest or first first; `next_cursor` is null on the last."""

    items: list[ItemT]
    next_cursor: str | None = Field(description="give it as `cursor` to read on")


def encode_cursor(*keys: str | int) -> str:
    """An opaque cursor that stands after the row with these sort keys."""
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).decode().rstrip("=")


def decode_cursor(cursor: str | None, shape: type[ItemT]) -> ItemT | None:
    """The sort keys of a cursor as `shape`, a tuple type. Raises InvalidError `cursor.invalid`."""
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=shape)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidError(
            "this cursor was not given out by this route; leave it out to begin at the first page",
            code="cursor.invalid",
        ) from error


def page_of(rows: Sequence[ItemT], limit: int, key: Callable[[ItemT], tuple[str | int, ...]]) -> Page[ItemT]:
    """A page of at most `limit` of `rows`, which were fetched with `limit + 1`."""
    shown = list(rows[:limit])
    return Page(items=shown, next_cursor=encode_cursor(*key(shown[-1])) if len(rows) > limit else None)

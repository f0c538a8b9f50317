"""Documents in the database; the column `name` holds the shelf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.documents.models import StoredDocument
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "name as shelf, generation, version, digest, data, issued_at"
_INSERT = (
    "insert into documents (name, generation, version, digest, data, issued_at)"
    " values (:shelf, :generation, :version, :digest, :data, :issued_at)"
)


async def newest(connection: AsyncConnection, shelf: str) -> StoredDocument | None:
    """The document offered under a shelf now."""
    return await fetch_one(
        connection,
        StoredDocument,
        f"select {_COLUMNS} from documents where name = :shelf"  # noqa: S608 - constant columns
        " order by generation desc, version desc limit 1",
        {"shelf": shelf},
    )


async def newest_of(connection: AsyncConnection, shelves: list[str]) -> list[StoredDocument]:
    """The documents offered under several shelves now, in no order."""
    return await fetch(
        connection,
        StoredDocument,
        f"select distinct on (name) {_COLUMNS} from documents where name = any(:shelves)"  # noqa: S608
        " order by name, generation desc, version desc",
        {"shelves": shelves},
    )


async def highest_generation(connection: AsyncConnection) -> int:
    """The generation in use; 1 in an empty database."""
    row = await fetch_one(
        connection, _Generation, "select coalesce(max(generation), 1)::bigint as value from documents"
    )
    return 1 if row is None else row.value


async def known_digests(connection: AsyncConnection, digests: list[bytes]) -> set[bytes]:
    """Those of these documents that are here."""
    rows = await fetch(
        connection,
        _Digest,
        "select digest as value from documents where digest = any(:digests)",
        {"digests": digests},
    )
    return {row.value for row in rows}


async def put_back(connection: AsyncConnection, document: StoredDocument) -> None:
    """As `insert`, unless another stands in its place."""
    await execute(connection, f"{_INSERT} on conflict do nothing", _values(document))


async def insert(connection: AsyncConnection, document: StoredDocument) -> bool:
    """Put a document on its shelf; False if exactly these bytes stand on some shelf already."""
    inserted = await execute(
        connection,
        f"{_INSERT} on conflict (digest) do nothing",
        _values(document),
    )
    return inserted == 1


def _values(document: StoredDocument) -> dict[str, object]:
    return {
        "shelf": document.shelf,
        "generation": document.generation,
        "version": document.version,
        "digest": document.digest,
        "data": document.data,
        "issued_at": document.issued_at,
    }


async def lock(connection: AsyncConnection, shelf: str) -> None:
    """Let nobody else publish on this shelf until the transaction ends."""
    await execute(
        connection,
        "select pg_advisory_xact_lock(hashtextextended('document/' || :shelf, 0))",
        {"shelf": shelf},
    )


async def live_gateways(connection: AsyncConnection) -> list[str]:
    """Ids of gateways that are to have documents: created or claimed."""
    rows = await fetch(
        connection, _Gateway, "select id as value from gateways where state <> 'revoked' order by id"
    )
    return [row.value for row in rows]


class _Generation:
    def __init__(self, value: int) -> None:
        self.value = value


class _Digest:
    def __init__(self, value: bytes) -> None:
        self.value = value


class _Gateway:
    def __init__(self, value: str) -> None:
        self.value = value

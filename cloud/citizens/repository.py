"""Citizens, cards and tags in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.citizens.models import Citizen, StoredCard, Tag, TokenHolder
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_CITIZEN = "select id, pseudonym, alias, created_at from citizens"
_CARD = "select serial, citizen_id, role, issued_at, expires_at, revoked_at, text from cards"


async def insert(connection: AsyncConnection, citizen: Citizen) -> bool:
    """Insert; False if the pseudonym is taken."""
    return (
        await execute(
            connection,
            "insert into citizens (id, pseudonym, alias, created_at)"
            " values (:id, :pseudonym, :alias, :created_at) on conflict (pseudonym) do nothing",
            {
                "id": citizen.id,
                "pseudonym": citizen.pseudonym,
                "alias": citizen.alias,
                "created_at": citizen.created_at,
            },
        )
        == 1
    )


async def find(connection: AsyncConnection, citizen_id: UUID, *, lock: bool = False) -> Citizen | None:
    """One citizen, locked if asked."""
    suffix = " for update" if lock else ""
    return await fetch_one(connection, Citizen, f"{_CITIZEN} where id = :id{suffix}", {"id": citizen_id})


async def has_pseudonym(connection: AsyncConnection, pseudonym: bytes) -> bool:
    """Whether a citizen has this pseudonym."""
    return await execute(connection, "select 1 from citizens where pseudonym = :it", {"it": pseudonym}) == 1


async def page(connection: AsyncConnection, after: UUID | None, limit: int) -> list[Citizen]:
    """Citizens in the order of their ids, which is that of their creation."""
    return await fetch(
        connection,
        Citizen,
        f"{_CITIZEN} where cast(:after as uuid) is null or id > :after order by id limit :limit",
        {"after": after, "limit": limit},
    )


async def highest_issue(connection: AsyncConnection, pseudonym: bytes) -> int:
    """The highest issue number given to cards of this pseudonym; 0 if none.

    A restored database may have lost cards that people hold: those that earned anything count as well.
    """
    row = await fetch_one(
        connection,
        _Issue,
        "select coalesce(max(get_byte(serial, 8)), 0) as value from ("
        " select serial from cards where substring(serial from 1 for 8) = :pseudonym"
        " union all select w.holder from transfers t join weighings w on w.id = t.source"
        " where t.credit = account_id('citizen', :pseudonym) and t.code = 1 and w.holder_kind = 1) known",
        {"pseudonym": pseudonym},
    )
    return 0 if row is None else row.value


async def insert_card(connection: AsyncConnection, card: StoredCard, token_hash: bytes) -> None:
    """Keep an issued card."""
    await execute(
        connection,
        "insert into cards (serial, citizen_id, role, issued_at, expires_at, text, token_hash)"
        " values (:serial, :citizen_id, :role, :issued_at, :expires_at, :text, :token_hash)",
        {
            "serial": card.serial,
            "citizen_id": card.citizen_id,
            "role": card.role,
            "issued_at": card.issued_at,
            "expires_at": card.expires_at,
            "text": card.text,
            "token_hash": token_hash,
        },
    )


async def find_card(connection: AsyncConnection, serial: bytes) -> StoredCard | None:
    """One card."""
    return await fetch_one(connection, StoredCard, f"{_CARD} where serial = :serial", {"serial": serial})


async def cards_of(connection: AsyncConnection, citizen_id: UUID) -> list[StoredCard]:
    """A citizen's cards, newest first."""
    return await fetch(
        connection,
        StoredCard,
        f"{_CARD} where citizen_id = :id order by issued_at desc, serial desc",
        {"id": citizen_id},
    )


async def revoke_card(connection: AsyncConnection, serial: bytes, now: datetime) -> bool:
    """Mark a card revoked; False if it was."""
    return (
        await execute(
            connection,
            "update cards set revoked_at = :now where serial = :serial and revoked_at is null",
            {"serial": serial, "now": now},
        )
        == 1
    )


async def revoke_again(connection: AsyncConnection, serials: list[bytes], now: datetime) -> int:
    """Mark these cards revoked, making those that are missing; how many were not revoked."""
    values = {"serials": serials, "now": now}
    await execute(
        connection,
        "insert into citizens (id, pseudonym) select distinct"
        " derived_id('reloop/citizen/1', substring(serial from 1 for 8)), substring(serial from 1 for 8)"
        " from unnest(cast(:serials as bytea[])) serial on conflict (pseudonym) do nothing",
        {"serials": serials},
    )
    return await execute(
        connection,
        "insert into cards (serial, citizen_id, expires_at, revoked_at, text)"
        " select serial, z.id, cast(:now as timestamptz) + interval '3650 days', :now, ''"
        " from unnest(cast(:serials as bytea[])) serial"
        " join citizens z on z.pseudonym = substring(serial from 1 for 8)"
        " on conflict (serial) do update set revoked_at = excluded.revoked_at where cards.revoked_at is null",
        values,
    )


async def revoked_serials(connection: AsyncConnection, now: datetime) -> list[bytes]:
    """Serials that no kiosk may accept: revoked and not expired for long, in order."""
    rows = await fetch(
        connection,
        _Serial,
        "select serial as value from cards"
        " where revoked_at is not null and expires_at > cast(:now as timestamptz) - interval '400 days'"
        " order by serial",
        {"now": now},
    )
    return [row.value for row in rows]


async def holder_of(connection: AsyncConnection, token_hash: bytes, now: datetime) -> TokenHolder | None:
    """Whose token this is, while its card is neither revoked nor expired."""
    return await fetch_one(
        connection,
        TokenHolder,
        "select citizen_id, role from cards"
        " where token_hash = :hash and revoked_at is null and expires_at > :now",
        {"hash": token_hash, "now": now},
    )


async def insert_tag(connection: AsyncConnection, raw: bytes, citizen_id: UUID) -> Tag:
    """Attach a tag unless it is attached; return whose it is."""
    await execute(
        connection,
        "insert into tags (raw, citizen_id) values (:raw, :id) on conflict (raw) do nothing",
        {"raw": raw, "id": citizen_id},
    )
    rows = await fetch(connection, Tag, "select raw, citizen_id from tags where raw = :raw", {"raw": raw})
    return rows[0]


class _Issue:
    def __init__(self, value: int) -> None:
        self.value = value


class _Serial:
    def __init__(self, value: bytes) -> None:
        self.value = value

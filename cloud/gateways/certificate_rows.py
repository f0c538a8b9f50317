"""Gateways' certificates and requests for them in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.gateways.models import Certificate, Request, Void
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

_GOOD = """
exists (select from gateway_certificates c
         where c.gateway_id = g.id and c.key_digest = g.csr_key and c.revoked_at is null
           and c.not_after > :until)
"""


@dataclass(frozen=True, slots=True)
class _Gateway:
    id: str


async def ask(connection: AsyncConnection, gateway: str, request: Request, now: datetime) -> None:
    """Keep what a gateway asks a certificate for; asking again for the same key changes nothing."""
    await execute(
        connection,
        "update gateways set csr = :csr, csr_key = :csr_key, csr_at = :now"
        " where id = :id and csr_key is distinct from :csr_key",
        {"id": gateway, "csr": request.csr, "csr_key": request.csr_key, "now": now},
    )


async def request_of(connection: AsyncConnection, gateway: str) -> Request | None:
    """What a gateway that is not revoked asked for."""
    return await fetch_one(
        connection,
        Request,
        "select csr, csr_key from gateways where id = :id and csr is not null and state <> 'revoked'",
        {"id": gateway},
    )


async def due(
    connection: AsyncConnection, until: datetime, limit: int, gateway: str | None = None
) -> list[str]:
    """Gateways that asked and have no certificate that is good beyond `until`; or whether this one is one."""
    rows = await fetch(
        connection,
        _Gateway,
        "select g.id from gateways g where g.csr is not null and g.state <> 'revoked'"  # noqa: S608 - constant
        f" and (cast(:id as text) is null or g.id = :id) and not {_GOOD} order by g.csr_at limit :limit",
        {"id": gateway, "until": until, "limit": limit},
    )
    return [row.id for row in rows]


async def newest(
    connection: AsyncConnection, gateway: str, key_digest: bytes, until: datetime
) -> Certificate | None:
    """The certificate for this key that is good for longest, if it is beyond `until`."""
    return await fetch_one(
        connection,
        Certificate,
        "select serial, gateway_id as gateway, key_digest, certificate, issued_at, not_after"
        "  from gateway_certificates where gateway_id = :id and key_digest = :key and revoked_at is null"
        "   and not_after > :until order by not_after desc, serial limit 1",
        {"id": gateway, "key": key_digest, "until": until},
    )


async def keep(connection: AsyncConnection, certificate: Certificate) -> None:
    """Remember a certificate that is given out, once; of a gateway that is not known there is none."""
    await execute(
        connection,
        "insert into gateway_certificates (serial, gateway_id, key_digest, certificate, issued_at, not_after)"
        " select :serial, id, :key_digest, :certificate, :issued_at, :not_after from gateways"
        "  where id = :gateway on conflict do nothing",
        {name: getattr(certificate, name) for name in certificate.__slots__},
    )


async def void_others(connection: AsyncConnection, gateway: str, key_digest: bytes, now: datetime) -> None:
    """From now on the gateway's certificates for any other key are void."""
    await execute(
        connection,
        "update gateway_certificates set revoked_at = :now"
        " where gateway_id = :id and key_digest <> :key and revoked_at is null",
        {"id": gateway, "key": key_digest, "now": now},
    )


async def void(connection: AsyncConnection, now: datetime) -> list[Void]:
    """Certificates that would still be good, had they not been revoked.

    One that was signed while its gateway was being revoked counts as well.
    """
    return await fetch(
        connection,
        Void,
        "select c.serial, c.gateway_id as gateway, coalesce(c.revoked_at, g.revoked_at, :now) as revoked_at,"
        "       c.evicted_at is not null as evicted"
        "  from gateway_certificates c join gateways g on g.id = c.gateway_id"
        " where (c.revoked_at is not null or g.state = 'revoked') and c.not_after > :now"
        " order by c.serial",
        {"now": now},
    )


async def evicted(connection: AsyncConnection, serials: list[bytes], now: datetime) -> None:
    """The broker has no session of these any more, and lets none in."""
    await execute(
        connection,
        "update gateway_certificates set evicted_at = :now, revoked_at = coalesce(revoked_at, :now)"
        " where serial = any(:serials)",
        {"serials": serials, "now": now},
    )


async def prune(connection: AsyncConnection, now: datetime) -> None:
    """Forget what expired, but the last of each key: by it a request that is sent again is known as old."""
    await execute(
        connection,
        "delete from gateway_certificates c where c.not_after < :now and exists ("
        " select from gateway_certificates d"
        "  where d.gateway_id = c.gateway_id and d.key_digest = c.key_digest"
        "    and (d.not_after, d.serial) > (c.not_after, c.serial))",
        {"now": now},
    )

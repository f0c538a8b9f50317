"""A cloud whose database went back brings back what it had signed, and says so."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from sqlalchemy import text

from cloud.citizens.errors import CardNotFoundError
from cloud.cli.restored import recover
from cloud.composition import Services, compose
from cloud.config import Settings
from cloud.documents.archive import Archive
from cloud.documents.models import StoredDocument
from cloud.kit.authority import Authority
from cloud.kit.clock import SystemClock, utc
from cloud.kit.keyring import Keyring
from protocol.cards import Role
from protocol.documents import Name

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

GATEWAY = "ktm-drop-01"


@pytest.fixture
async def services(engine: AsyncEngine, tmp_path: Path) -> Services:
    """A cloud with a gateway, and folders of its own."""
    keyring = Keyring.load_or_create(tmp_path / "keys")
    settings = Settings(data_dir=tmp_path)
    authority = Authority.load_or_create(settings.authority_dir, utc(SystemClock().wall_ms()))
    made = compose(settings, keyring, authority, SystemClock(), secrets.token_bytes)
    async with engine.begin() as connection:
        await made.materials.seed(connection)
        site = await made.drop_points.ensure(connection, GATEWAY)
        await made.gateways.create(connection, GATEWAY, site.code)
    for _ in range(2):  # what a transaction made is on file once another has seen it
        async with engine.begin() as connection:
            await made.documents.offered(connection, GATEWAY)
    return made


async def newest(connection: AsyncConnection) -> dict[str, tuple[int, int]]:
    rows = await connection.execute(text("select name, generation, version from documents order by 2, 3"))
    return {name: (generation, version) for name, generation, version in rows}


async def forget_since(connection: AsyncConnection, kept: set[bytes]) -> None:
    """What a restored backup does to the documents."""
    await connection.execute(
        text("delete from documents where not digest = any(:kept)"), {"kept": list(kept)}
    )


async def digests(connection: AsyncConnection) -> set[bytes]:
    return {bytes(row[0]) for row in await connection.execute(text("select digest from documents"))}


async def test_a_database_that_forgot_nothing_is_left_alone(services: Services, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        before = await digests(connection)
        assert not await recover(services, connection)
        assert await digests(connection) == before


async def test_a_weighing_is_not_lost_when_its_catalogue_was_issued_after_the_backup(
    services: Services, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        kept = await digests(connection)
    async with engine.begin() as connection:
        await services.materials.set_rate(connection, "pet", 77)
    async with engine.begin() as connection:
        shown = (await services.documents.find(connection, GATEWAY, Name.CATALOG)).digest
        assert shown not in kept
    async with engine.begin() as connection:
        await forget_since(connection, kept)
        assert await recover(services, connection)
        assert shown in await digests(connection)
        found = await newest(connection)
        assert {found[name] for name in (Name.KEYS, Name.CATALOG, Name.REVOCATIONS)} == {(2, 1)}
        assert found[f"{Name.CONFIG}/{GATEWAY}"] == (2, 1)
        (alarm,) = await services.alarms.page(connection, only_open=True, after=None, limit=9)
        assert (alarm.code, alarm.gateway, alarm.detail["generation"]) == ("cloud.restored", None, 2)
    async with engine.begin() as connection:
        assert not await recover(services, connection), "once is enough"


async def test_a_revoked_card_stays_revoked_when_the_database_forgets_it(
    services: Services, engine: AsyncEngine
) -> None:
    serials = []
    async with engine.begin() as connection:
        kept = await digests(connection)
        for alias in ("Asha", "Bikash"):
            citizen = await services.citizens.register(connection, alias)
            issued = await services.citizens.issue_card(connection, citizen.id, Role.CITIZEN, 9)
            serials.append(issued.card.serial)
    async with engine.begin() as connection:
        for serial in serials:
            await services.citizens.revoke_card(connection, serial)
    async with engine.begin() as connection:
        await services.documents.offered(connection, GATEWAY)
    async with engine.begin() as connection:
        await forget_since(connection, kept)
        # One card is older than the backup, the other is not even known.
        await connection.execute(text("update cards set revoked_at = null"))
        await connection.execute(text("delete from cards where serial = :serial"), {"serial": serials[1]})
        assert await recover(services, connection)
        listed = await services.citizens.revocations(connection)
        assert listed.serials == b"".join(sorted(serials))
        again = await services.citizens.card(connection, serials[1])
        assert again.revoked_at is not None


async def test_a_card_that_the_database_forgot_can_be_revoked_and_its_number_is_not_given_again(
    services: Services, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        citizen = await services.citizens.register(connection, "Asha")
        serial = citizen.pseudonym + b"\x03"
        await connection.execute(
            text(_EARNED), {"serial": serial, "id": UUID(int=7), "pseudonym": citizen.pseudonym}
        )
        issued = await services.citizens.issue_card(connection, citizen.id, Role.CITIZEN, 9)
        assert issued.card.serial == citizen.pseudonym + b"\x04"
        revoked = await services.citizens.revoke_card(connection, serial)
        assert revoked.revoked_at is not None
        assert serial in (await services.citizens.revocations(connection)).serials
        with pytest.raises(CardNotFoundError):
            await services.citizens.revoke_card(connection, b"nobody..\x01")


_EARNED = """
with weighed as (
    insert into weighings (id, gateway_id, epoch, seq, deposit_seq, account_id, material, gross_g,
                           tare_g, net_g, points_per_kg, points, recorded_at, received_at, boot, mono_ms,
                           clock, tare_kind, holder_kind, holder, late_catalog, manual)
    values (:id, 'ktm-drop-01', 1, 1, 1, account_id('citizen', :pseudonym), 'pet', 1, 0, 1, 1, 1, now(),
            now(), 1, 1, 3, 0, 1, :serial, false, false)
)
insert into transfers (id, debit, credit, amount, code, state, source, created_at)
values (:id, account_id('issuer', 'points'), account_id('citizen', :pseudonym), 1, 1, 'posted', :id, now())
"""


def document(version: int, name: str = "config/ktm-drop-01") -> StoredDocument:
    data = bytes([version])
    return StoredDocument(name, 1, version, data * 32, data, datetime(2026, 1, 1, tzinfo=UTC))


async def test_many_who_ask_at_once_put_a_document_on_file_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await asyncio.gather(*(asyncio.to_thread(archive.keep, document(1)) for _ in range(20)))
    assert [path.read_bytes() for path in tmp_path.rglob("*.*")] == [b"\x01"]


def test_the_archive_keeps_the_newest_of_a_shelf_and_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for version in (1, 2, 3, 4):
        archive.keep(document(version))
        assert archive.has(document(version))
    assert len(list(tmp_path.rglob("*.cose"))) == 2
    assert list(archive.documents()) == []
    assert Archive(tmp_path).has(document(1, "manifest/ktm-drop-01")), "needs no file"
    assert not Archive(tmp_path).has(document(4))

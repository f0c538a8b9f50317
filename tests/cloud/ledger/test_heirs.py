"""What comes to a holding after it was given away is neither stranded nor taken from another account."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from cloud.ledger import service as ledger
from cloud.ledger.accounts import holding_account
from cloud.ledger.models import Balance
from protocol.bodies import HolderKind, WeighingVoided
from tests.cloud.ingest.gateway import WALL_MS, serial_of
from tests.cloud.ingest.test_exactly_once import REVOKED_CARD
from tests.cloud.ledger.test_interleavings import forked, release, waiting

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

HASH = b"h" * 16
ANNA = UUID(int=0xA << 96)


def add_anna(site: Site) -> None:
    site.write("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", ANNA, serial_of(7)[:8])


async def claim(site: Site) -> int:
    async with site.engine.begin() as connection:
        return (await ledger.claim(connection, HASH, ANNA)).points


async def points(site: Site) -> Balance:
    async with site.engine.begin() as connection:
        return await ledger.balance(connection, ANNA)


async def test_what_a_fork_held_back_is_not_stranded_when_it_is_released_after_the_claim(site: Site) -> None:
    add_anna(site)
    await forked(site, HolderKind.GUEST, HASH, 500)
    assert await claim(site) == 12_000
    assert await release(site, waiting(site)) == 1
    assert await points(site) == Balance(18_000, 0, 0)
    assert site.balance(b"guest:" + HASH, "holding") == 0


async def withdraw(site: Site) -> int:
    async with site.engine.begin() as connection:
        return await ledger.withdraw(connection, waiting(site))


async def test_kilos_that_are_withdrawn_are_not_held_twice(site: Site) -> None:
    await forked(site, HolderKind.CARD, serial_of(1), 500)
    assert site.one("SELECT sum(net_g) FROM custody_balances") == 3_500
    assert await withdraw(site) == 1
    assert await withdraw(site) == 0
    assert site.one("SELECT sum(net_g) FROM custody_balances") == 3_000
    assert site.one("SELECT count(*) FROM events WHERE type = 'weighing.voided'") == 1


async def test_a_void_takes_nothing_from_whoever_was_given_only_what_came_before_it(site: Site) -> None:
    """A revoked card's holding was given to Anna; what the card brought after that nobody gave her."""
    add_anna(site)
    card = serial_of(3)
    site.write("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", UUID(int=3), card[:8])
    site.write(REVOKED_CARD, card, UUID(int=3), WALL_MS / 1000 - 3_600)
    site.gateway.visit(1_000, holder=card)
    await site.send(site.gateway.frame())
    async with site.engine.begin() as connection:
        assert await ledger.release_holding(connection, holding_account(b"card:" + card), ANNA) == 12_000
    late = site.gateway.visit(500, holder=card)
    await site.send(site.gateway.frame())
    site.gateway.append(WeighingVoided(late - 1, late, "person"))
    await site.send(site.gateway.frame())
    assert await points(site) == Balance(12_000, 0, 0)
    assert site.balance(b"card:" + card, "holding") == 0


async def test_points_stranded_before_are_had_by_asking_again(site: Site) -> None:
    add_anna(site)
    await forked(site, HolderKind.GUEST, HASH, 500)
    assert await claim(site) == 12_000
    site.write("UPDATE accounts SET heir = NULL WHERE kind = 'holding'")  # as if nothing were passed on
    assert await release(site, waiting(site)) == 1
    assert await claim(site) == 6_000
    assert await claim(site) == 0
    assert await points(site) == Balance(18_000, 0, 0)

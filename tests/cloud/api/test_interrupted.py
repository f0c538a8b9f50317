"""What the cloud answers when it is not the asker's fault: come again, never "you are nobody here"."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest

from cloud.ingest.batches import IngestReply
from protocol.bodies import HolderKind
from protocol.codes import claim_hash, new_claim_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.api.conftest import Site

WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


async def test_a_claim_that_postgres_makes_give_way_is_answered_with_come_again(
    site: Site, database_url: str
) -> None:
    """It holds the code and wants the account; whoever holds that wants the code."""
    card = await site.cloud.citizen()
    code = new_claim_code(secrets.token_bytes)
    site.visit(HolderKind.GUEST, claim_hash(code), 2_000)
    await site.deliver()
    async with site.cloud.client(card["token"]) as client:
        with psycopg.connect(database_url) as other:
            other.execute("SET deadlock_timeout = '60s'")
            other.execute("SELECT FROM accounts WHERE kind = 'holding' FOR UPDATE")
            claiming = asyncio.create_task(client.post("/v1/claims", json={"code": code}))
            await until(lambda: other.execute(WAITING).fetchone() is not None)
            await asyncio.to_thread(other.execute, "SELECT FROM claims FOR UPDATE")
            broken = await claiming
        assert (broken.status_code, broken.json()["code"]) == (503, "database.unavailable")
        again = await client.post("/v1/claims", json={"code": code})
    assert (again.status_code, again.json()["points"]) == (200, 60)


@pytest.mark.parametrize("code", ["ingest.busy", "ingest.failed"])
async def test_a_gateway_that_was_not_served_is_not_told_that_it_is_unknown(site: Site, code: str) -> None:
    class Busy:
        async def submit(self, _data: bytes, _road: str, _hint: str | None) -> IngestReply:
            return IngestReply(None, code, "send it again")

    site.cloud.app.state.intake = Busy()
    site.visit(HolderKind.GUEST, claim_hash(new_claim_code(secrets.token_bytes)))
    answer = await site.deliver()
    assert (answer.status_code, answer.json()["code"]) == (503, code)

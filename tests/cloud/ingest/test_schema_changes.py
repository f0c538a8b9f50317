"""A schema changed under a running intake holds no weighing back: it waits, and is credited then."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cloud.errors import UnavailableError
from tests.cloud.ingest.test_exactly_once import PSEUDONYM

if TYPE_CHECKING:
    from cloud.ingest.service import IngestReply
    from tests.cloud.ingest.conftest import Site

DEADLINE_S = 30


async def tried_in_vain(site: Site, frame: bytes) -> asyncio.Task[IngestReply]:
    """A frame on its way, tried more than once while nothing can be stored."""
    failures = site.ingest.counters.failures
    offered = asyncio.create_task(site.ingest.submit(frame, "https", None))
    async with asyncio.timeout(DEADLINE_S):
        while site.ingest.counters.failures < failures + 2 and not offered.done():
            await asyncio.sleep(0.01)
    return offered


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("ALTER TABLE weighings RENAME TO older", "ALTER TABLE older RENAME TO weighings"),
        ("ALTER TABLE records RENAME TO older", "ALTER TABLE older RENAME TO records"),
        (
            "ALTER TABLE accounts RENAME COLUMN balance TO b",
            "ALTER TABLE accounts RENAME COLUMN b TO balance",
        ),
        ("ALTER TABLE events RENAME TO older", "ALTER TABLE older RENAME TO events"),
    ],
)
async def test_a_weighing_is_not_held_back_because_a_table_was_missing_for_a_moment(
    site: Site, change: str, back: str
) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame())
    site.gateway.visit()
    site.write(change)
    offered = await tried_in_vain(site, site.gateway.frame())
    site.write(back)
    with suppress(UnavailableError):  # it may have been given up: then the gateway sends it again
        await offered
    assert (await site.send(site.gateway.frame())).through == site.gateway.head
    assert site.held() == []
    assert site.balance(PSEUDONYM) == 24_000


async def test_a_weighing_is_not_held_back_because_a_column_was_widened(site: Site) -> None:
    """What a connection had prepared for the old type is refused once; it is prepared anew."""
    for _ in range(8):  # a statement is prepared after a few times
        site.gateway.visit()
        await site.send(site.gateway.frame())
    site.write("ALTER TABLE cursors ALTER COLUMN gateway_id TYPE varchar(200)")
    site.gateway.visit()
    assert (await site.send(site.gateway.frame())).through == site.gateway.head
    assert site.held() == []
    assert site.balance(PSEUDONYM) == 9 * 12_000

"""Daily figures over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.bodies import HolderKind
from tests.cloud.api.test_delivery import acked_through

if TYPE_CHECKING:
    from tests.cloud.api.conftest import Site


async def test_an_operator_sees_kilos_and_points_of_a_day(site: Site) -> None:
    card = await site.cloud.citizen()
    site.visit(HolderKind.CARD, bytes.fromhex(card["serial"]), 1_500)
    acked_through(site, await site.deliver())
    operator = site.cloud.operator
    (weighing,) = (await operator.get("/v1/weighings")).json()["items"]
    assert (weighing["time_source"], weighing["error_s"]) == ("synced", 16)
    assert weighing["happened_at"] == weighing["recorded_at"]
    answer = await operator.get("/v1/figures/daily", params={"first": "2026-05-01", "last": "2026-06-30"})
    (figure,) = answer.json()
    assert (figure["net_g"], figure["points"], figure["weighings"]) == (1_500, weighing["points"], 1)
    assert figure["drop_point"] == weighing["drop_point"]
    elsewhere = {"first": "2026-05-01", "last": "2026-06-30", "drop_point": "nowhere"}
    assert (await operator.get("/v1/figures/daily", params=elsewhere)).json() == []


async def test_days_that_make_no_sense_are_refused_with_a_word(site: Site) -> None:
    for first, last in (("2026-06-30", "2026-05-01"), ("2020-01-01", "2026-01-01")):
        answer = await site.cloud.operator.get("/v1/figures/daily", params={"first": first, "last": last})
        assert (answer.status_code, answer.json()["code"]) == (422, "figures.days")
    answer = await site.cloud.operator.get(
        "/v1/figures/daily", params={"first": "9999-12-31", "last": "9999-12-31"}
    )
    assert (answer.status_code, answer.json()) == (200, [])

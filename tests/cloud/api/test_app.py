"""What every route shares: health, problems, traces, limits, idempotency, pages."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from cloud.api.app import Parts, create_app
from cloud.api.tokens import TokenResolver
from cloud.errors import ConfigError
from cloud.kit.clock import SystemClock
from cloud.kit.database import create_engine_for
from tests.cloud.api.conftest import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cloud.api.conftest import Cloud


async def test_alive_needs_nothing_ready_needs_the_database(cloud: Cloud) -> None:
    assert (await cloud.anyone.get("/livez")).json() == {"status": "ok"}
    assert (await cloud.anyone.get("/readyz")).status_code == 200


async def test_health_describes_everything(cloud: Cloud) -> None:
    health = (await cloud.anyone.get("/health")).json()
    assert health["status"] == "ok"
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None
    assert health["uptime_s"] >= 0
    assert health["memory"]["resident_bytes"] > 1_000_000
    assert health["database"]["status"] == "up"
    assert health["database"]["detail"].startswith("PostgreSQL 1")
    assert health["broker"]["status"] == "absent"
    assert health["externalServices"] == {}


async def test_metrics_count_requests_by_route_template(cloud: Cloud) -> None:
    await cloud.gateway()
    await cloud.operator.get("/v1/materials/pet")
    await cloud.operator.get("/v1/materials/nothing")
    await cloud.anyone.get("/no/such/thing")
    figures = (await cloud.anyone.get("/metrics")).text
    assert (
        'http_request_duration_seconds_count{method="GET",route="/v1/materials/{code}",status="200"} 1.0'
        in figures
    )
    assert 'route="/v1/materials/{code}",status="404"} 1.0' in figures
    assert 'route="unmatched",status="404"} 1.0' in figures
    assert "quarantine_held_records 0.0" in figures
    assert 'gateways{state="created"} 1.0' in figures


async def test_errors_are_problems_with_codes(cloud: Cloud) -> None:
    answer = await cloud.operator.get("/v1/materials/unobtainium")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "material.not_found"
    assert problem["type"] == "urn:reloop:problem:material.not_found"
    assert "GET /v1/materials" in problem["detail"]
    assert problem["trace_id"] == answer.headers["x-request-id"]


async def test_unknown_routes_methods_and_fields_are_problems(cloud: Cloud) -> None:
    assert (await cloud.anyone.get("/v2/x")).json()["code"] == "request.no_such_route"
    assert (await cloud.anyone.delete("/livez")).json()["code"] == "request.method_not_allowed"
    bad = await cloud.operator.post("/v1/drop-points", json={"code": "Bad Code", "name": "", "nmae": "x"})
    assert bad.status_code == 422
    assert bad.json()["code"] == "request.invalid"
    assert {field["pointer"] for field in bad.json()["errors"]} == {"/code", "/name", "/nmae"}
    broken = await cloud.operator.post(
        "/v1/drop-points", content=b"{", headers={"content-type": "application/json"}
    )
    assert broken.status_code == 422
    assert broken.headers["content-type"] == "application/problem+json"


async def test_a_trace_is_taken_over_or_begun(cloud: Cloud) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = await cloud.anyone.get("/livez", headers=headers)
    assert answer.headers["traceparent"].split("-")[1] == trace
    begun = await cloud.anyone.get("/livez", headers={"traceparent": "rubbish"})
    assert len(begun.headers["traceparent"].split("-")[1]) == 32


async def test_bodies_over_the_limit_are_refused_announced_or_not(cloud: Cloud) -> None:
    announced = await cloud.operator.post("/v1/drop-points", content=b"x" * 300_000)
    assert announced.status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    streamed = await cloud.operator.post(
        "/v1/drop-points", content=chunks(), headers={"content-type": "application/json"}
    )
    assert streamed.status_code == 413
    assert streamed.json()["code"] == "request.too_large"


async def test_the_row_is_there_when_the_answer_is(cloud: Cloud) -> None:
    for number in range(20):
        await cloud.operator.post("/v1/drop-points", json={"code": f"site-{number:02}", "name": "x"})
        async with cloud.engine.begin() as connection:
            found = await connection.execute(text("select count(*) from drop_points"))
        assert found.scalar_one() == number + 1


async def test_a_key_makes_a_change_happen_once(cloud: Cloud) -> None:
    headers = {"Idempotency-Key": "first-try"}
    one = {"code": "ktm-patan", "name": "Patan"}
    first = await cloud.operator.post("/v1/drop-points", json=one, headers=headers)
    again = await cloud.operator.post("/v1/drop-points", json=one, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await cloud.operator.post("/v1/drop-points", json={**one, "name": "Other"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency.mismatch"


async def test_a_failed_change_keeps_no_key(cloud: Cloud) -> None:
    headers = {"Idempotency-Key": "early"}
    body = {"id": "ktm-patan-01", "drop_point": "ktm-patan"}
    assert (await cloud.operator.post("/v1/gateways", json=body, headers=headers)).status_code == 404
    await cloud.operator.post("/v1/drop-points", json={"code": "ktm-patan", "name": "Patan"})
    assert (await cloud.operator.post("/v1/gateways", json=body, headers=headers)).status_code == 201


async def test_many_at_once_with_one_key_make_one_change(cloud: Cloud) -> None:
    async def post() -> tuple[int, str]:
        answer = await cloud.operator.post(
            "/v1/citizens", json={"alias": "Maya"}, headers={"Idempotency-Key": "k"}
        )
        return answer.status_code, answer.json()["id"]

    answers = await asyncio.gather(*(post() for _ in range(8)))
    assert {status for status, _ in answers} == {201}
    assert len({citizen for _, citizen in answers}) == 1


async def test_a_kept_answer_gives_no_secret_away(cloud: Cloud) -> None:
    citizen = (await cloud.operator.post("/v1/citizens", json={"alias": "Maya"})).json()
    path, headers = f"/v1/citizens/{citizen['id']}/cards", {"Idempotency-Key": "card"}
    first = (await cloud.operator.post(path, json={}, headers=headers)).json()
    async with cloud.engine.begin() as connection:
        kept = (await connection.execute(text("select body from idempotency"))).scalar_one()
    assert first["token"].encode() not in bytes(kept)
    assert (await cloud.operator.post(path, json={}, headers=headers)).json()["token"] == first["token"]


async def test_pages_follow_each_other_without_gap_or_repeat(cloud: Cloud) -> None:
    codes = [f"site-{number:02}" for number in range(7)]
    for code in codes:
        await cloud.operator.post("/v1/drop-points", json={"code": code, "name": code})
    seen, cursor = [], None
    for _ in range(4):
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await cloud.operator.get("/v1/drop-points", params=query)).json()
        seen += [item["code"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == codes
    assert cursor is None


async def test_a_cursor_of_ones_own_making_is_refused(cloud: Cloud) -> None:
    for cursor in ("rubbish!", "WzFd", "bm90IGpzb24"):
        answer = await cloud.operator.get("/v1/drop-points", params={"cursor": cursor})
        assert answer.status_code == 422, cursor
        assert answer.json()["code"] == "cursor.invalid"


async def test_two_operators_do_not_overwrite_each_other_unseen(cloud: Cloud) -> None:
    seen = (await cloud.operator.get("/v1/materials/pet")).headers["etag"]
    first = await cloud.operator.patch(
        "/v1/materials/pet", json={"name_en": "Bottles"}, headers={"If-Match": seen}
    )
    assert (first.status_code, first.json()["name_en"]) == (200, "Bottles")
    second = await cloud.operator.patch(
        "/v1/materials/pet", json={"active": False}, headers={"If-Match": seen}
    )
    assert (second.status_code, second.json()["code"]) == (412, "precondition.failed")
    assert (await cloud.operator.get("/v1/materials/pet")).json()["active"] is True


async def test_materials_are_created_changed_and_priced(cloud: Cloud) -> None:
    hemp = {"code": "hemp", "name_en": "Hemp", "name_ne": "भाङ्ग", "picture": "hemp", "points_per_kg": 7}
    created = await cloud.operator.post("/v1/materials", json=hemp)
    assert created.json() == {**hemp, "active": True, "rate_version": 1}
    twice = await cloud.operator.post("/v1/materials", json=hemp)
    assert (twice.status_code, twice.json()["code"]) == (409, "material.exists")
    await cloud.operator.post("/v1/materials/hemp/rates", json={"points_per_kg": 9})
    rates = (await cloud.operator.get("/v1/materials/hemp/rates")).json()
    assert [(one["version"], one["points_per_kg"]) for one in rates] == [(2, 9), (1, 7)]
    for path in ("/v1/materials/none", "/v1/materials/none/rates"):
        assert (await cloud.operator.get(path)).json()["code"] == "material.not_found"
    for bad in ({"points_per_kg": -1}, {"points_per_kg": 1.5}, {}):
        assert (await cloud.operator.post("/v1/materials/hemp/rates", json=bad)).status_code == 422


async def test_a_module_can_be_served_alone(cloud: Cloud) -> None:
    parts = replace(parts_of(cloud), modules=frozenset({"materials"}))
    async with client_of(create_app(parts), cloud.token) as client:
        assert (await client.get("/v1/materials")).status_code == 200
        assert (await client.get("/v1/citizens")).json()["code"] == "request.no_such_route"
        assert (await client.get("/readyz")).status_code == 200
    with pytest.raises(ConfigError, match="nonsense"):
        create_app(replace(parts, modules=frozenset({"nonsense"})))


async def test_without_its_database_it_lives_and_says_so(cloud: Cloud) -> None:
    away = create_engine_for("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
    parts = parts_of(cloud)
    resolver = TokenResolver(away, cloud.services.tokens, cloud.services.citizens)
    app = create_app(replace(parts, engine=away, resolve_token=resolver))
    async with client_of(app, cloud.token) as client:
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "database.unavailable")
        answer = await client.get("/v1/materials")
        assert (answer.status_code, answer.json()["code"]) == (503, "database.unavailable")
        assert answer.headers["retry-after"] == "2"
        health = (await client.get("/health")).json()
        assert (health["status"], health["database"]["status"]) == ("degraded", "down")
    await away.dispose()


async def test_an_error_of_ours_is_a_problem_without_details(cloud: Cloud) -> None:
    async def broken(token: str) -> None:
        raise RuntimeError(f"secret inside {token}")

    async with client_of(create_app(replace(parts_of(cloud), resolve_token=broken)), "rlo_x") as client:
        answer = await client.get("/v1/materials")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


def parts_of(cloud: Cloud) -> Parts:
    """The parts the test's app is made of, to make another."""
    state = cloud.app.state
    return Parts(
        cloud.engine,
        state.services,
        state.resolve_token,
        SystemClock().monotonic,
        None,
        state.gateways_changed,
        lambda: None,
    )


async def test_text_that_the_database_cannot_hold_is_refused_and_is_no_failure_of_ours(cloud: Cloud) -> None:
    answer = await cloud.operator.get("/v1/materials/%00/rates")
    assert answer.status_code == 422
    assert answer.json()["code"] == "request.unstorable"

"""Who may call what: every route of the description has a row, and every row is tried with every token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloud.access.scopes import CITIZEN_SCOPES, OPERATOR_SCOPES
from cloud.api import app as app_module
from cloud.api.openapi import as_text

if TYPE_CHECKING:
    from tests.cloud.api.conftest import Cloud

OPEN, OPERATOR, BOTH, CITIZEN = "open", "operator", "both", "citizen"
MATRIX: dict[str, str] = {
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    "GET /health": OPEN,
    "GET /metrics": OPEN,
    "POST /v1/gateways/claim": OPEN,
    "POST /v1/gateways/{gateway}/frames": OPEN,
    "POST /v1/gateways/{gateway}/enrolment": OPEN,
    "GET /v1/gateways/{gateway}/documents/{name}": OPEN,
    "POST /v1/gateways": OPERATOR,
    "GET /v1/gateways": OPERATOR,
    "GET /v1/gateways/{gateway}": OPERATOR,
    "POST /v1/gateways/{gateway}/codes": OPERATOR,
    "POST /v1/gateways/{gateway}/bundle": OPERATOR,
    "POST /v1/gateways/{gateway}/revocation": OPERATOR,
    "DELETE /v1/gateways/{gateway}/revocation": OPERATOR,
    "POST /v1/drop-points": OPERATOR,
    "GET /v1/drop-points": BOTH,
    "GET /v1/drop-points/{code}": BOTH,
    "PATCH /v1/drop-points/{code}": OPERATOR,
    "POST /v1/materials": OPERATOR,
    "GET /v1/materials": BOTH,
    "GET /v1/materials/{code}": BOTH,
    "PATCH /v1/materials/{code}": OPERATOR,
    "POST /v1/materials/{code}/rates": OPERATOR,
    "GET /v1/materials/{code}/rates": BOTH,
    "POST /v1/citizens": OPERATOR,
    "GET /v1/citizens": OPERATOR,
    "GET /v1/citizens/{citizen}": OPERATOR,
    "POST /v1/citizens/{citizen}/cards": OPERATOR,
    "GET /v1/citizens/{citizen}/cards": OPERATOR,
    "POST /v1/citizens/{citizen}/tags": OPERATOR,
    "GET /v1/cards/{serial}": OPERATOR,
    "GET /v1/cards/{serial}/qr.{kind}": OPERATOR,
    "POST /v1/cards/{serial}/revocation": OPERATOR,
    "GET /v1/weighings": OPERATOR,
    "GET /v1/weighings/{weighing}": OPERATOR,
    "GET /v1/exports/weighings": OPERATOR,
    "GET /v1/figures/daily": OPERATOR,
    "POST /v1/bins": OPERATOR,
    "GET /v1/bins": OPERATOR,
    "GET /v1/bins/{code}": OPERATOR,
    "GET /v1/bins/{code}/qr.{kind}": OPERATOR,
    "GET /v1/pickups": OPERATOR,
    "GET /v1/pickups/{pickup}": OPERATOR,
    "GET /v1/custody": OPERATOR,
    "GET /v1/quarantine": OPERATOR,
    "GET /v1/quarantine/{record}": OPERATOR,
    "POST /v1/quarantine/{record}/rejection": OPERATOR,
    "POST /v1/quarantine/{record}/retry": OPERATOR,
    "GET /v1/alarms": OPERATOR,
    "POST /v1/alarms/{alarm}/resolution": OPERATOR,
    "GET /v1/refusals": OPERATOR,
    "GET /v1/gaps": OPERATOR,
    "GET /v1/me": CITIZEN,
    "GET /v1/me/balance": CITIZEN,
    "GET /v1/me/statement": CITIZEN,
    "POST /v1/claims": CITIZEN,
    "GET /v1/citizens/{citizen}/balance": OPERATOR,
    "GET /v1/citizens/{citizen}/statement": OPERATOR,
    "GET /v1/holdings": OPERATOR,
    "POST /v1/holdings/{account}/release": OPERATOR,
    "POST /v1/weighings/{weighing}/release": OPERATOR,
    "POST /v1/weighings/{weighing}/withdrawal": OPERATOR,
    "GET /v1/ledger/verification": OPERATOR,
}
_METHODS = ("get", "post", "put", "patch", "delete")
_REFUSED = {"token.missing", "token.invalid", "token.scope_missing"}
_FILLED = {
    "{gateway}": "ktm-nowhere-9",
    "{name}": "keys",
    "{code}": "nothing",
    "{citizen}": "00000000-0000-7000-8000-000000000000",
    "{serial}": "000000000000000001",
    "{kind}": "svg",
    "{weighing}": "00000000-0000-7000-8000-000000000000",
    "{pickup}": "00000000-0000-7000-8000-000000000000",
    "{record}": "00000000-0000-7000-8000-000000000000",
    "{account}": "00000000-0000-7000-8000-000000000000",
    "{alarm}": "00000000-0000-7000-8000-000000000000",
}


def routes(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation of the description by `METHOD /path`."""
    return {
        f"{method.upper()} {path}": operation
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    }


async def test_every_route_has_a_row_and_every_row_a_route(cloud: Cloud) -> None:
    assert set(routes(cloud.app.openapi())) == set(MATRIX)


async def test_the_description_shows_each_routes_scope(cloud: Cloud) -> None:
    for name, operation in routes(cloud.app.openapi()).items():
        scopes = {scope for item in operation.get("security", []) for scope in item["token"]}
        opens = {
            OPEN: not scopes,
            OPERATOR: bool(scopes) and scopes <= OPERATOR_SCOPES and not scopes <= CITIZEN_SCOPES,
            CITIZEN: bool(scopes) and scopes <= CITIZEN_SCOPES and not scopes <= OPERATOR_SCOPES,
            BOTH: bool(scopes) and scopes <= CITIZEN_SCOPES & OPERATOR_SCOPES,
        }
        assert opens[MATRIX[name]], (name, scopes)


@pytest.mark.parametrize("who", ["nobody", "stranger", "citizen", "operator"])
async def test_each_token_opens_what_it_should(cloud: Cloud, who: str) -> None:
    card = await cloud.citizen()
    token = {"nobody": None, "stranger": "rlo_" + "0" * 64, "citizen": card["token"], "operator": cloud.token}
    let_in = {"nobody": {OPEN}, "stranger": {OPEN}, "citizen": {OPEN, BOTH, CITIZEN}}
    allowed = let_in.get(who, {OPEN, BOTH, OPERATOR})
    headers = {} if token[who] is None else {"Authorization": f"Bearer {token[who]}"}
    for name, opens in MATRIX.items():
        method, path = name.split()
        for variable, value in _FILLED.items():
            path = path.replace(variable, value)
        answer = await cloud.anyone.request(method, path, headers=headers)
        code = "" if answer.status_code < 400 else answer.json()["code"]
        if opens in allowed:
            assert code not in _REFUSED, (who, name, code)
        else:
            expected = {"nobody": "token.missing", "stranger": "token.invalid"}
            assert code == expected.get(who, "token.scope_missing"), (who, name, answer.status_code)


async def test_tokens_are_kept_as_hashes_only(cloud: Cloud) -> None:
    card = await cloud.citizen()
    from sqlalchemy import text

    async with cloud.engine.begin() as connection:
        for table in ("operator_tokens", "cards"):
            rows = (await connection.execute(text(f"select t::text from {table} t"))).scalars().all()
            assert all(cloud.token not in row and card["token"] not in row for row in rows)
            assert rows


async def test_the_operators_token_is_made_once(cloud: Cloud) -> None:
    async with cloud.engine.begin() as connection:
        assert await cloud.services.tokens.make_first(connection) is None


async def test_the_description_is_openapi_3_1_with_problems_and_examples(cloud: Cloud) -> None:
    schema = (await cloud.anyone.get("/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    names = [operation["operationId"] for operation in routes(schema).values()]
    assert len(set(names)) == len(names)
    for name, operation in routes(schema).items():
        assert operation.get("description") or operation.get("summary"), name
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
    for reference in _references(schema):
        assert reference.removeprefix("#/components/schemas/") in schema["components"]["schemas"]


async def test_the_kept_description_is_the_apps(cloud: Cloud) -> None:
    kept = Path(app_module.__file__).with_name("openapi.json").read_text(encoding="utf-8")
    assert kept == as_text(cloud.app), "run: reloop-cloud openapi > cloud/api/openapi.json"


def _references(value: object) -> list[str]:
    match value:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [found for item in value.values() for found in _references(item)]
        case list():
            return [found for item in value for found in _references(item)]
        case _:
            return []

"""The OpenAPI 3.1 description: what FastAPI finds, plus the problem every route may answer with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from cloud.kit.web.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

_DESCRIPTION = """\
Recycling drop points: gateways deliver what they signed, citizens see what they earned, operators see all.

Every error is an RFC 9457 problem with a stable `code`. Every change may carry an `Idempotency-Key`.
Lists are pages: pass `next_cursor` on as `cursor`. Masses are grams, points are whole.
"""
_TEMPLATE = "#/components/schemas/{model}"


def describe(app: FastAPI) -> None:
    """Make `app.openapi()` say everything that clients may rely on."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def as_text(app: FastAPI) -> str:
    """The description as it is kept: JSON, indented, in the order of the routes."""
    return json.dumps(app.openapi(), ensure_ascii=False, indent=1) + "\n"


def _schema(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary="What kiosks showed as saved is credited exactly once",
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=_TEMPLATE)
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in schema["paths"].values():
        for operation in operations.values():
            _only_problems(operation)
    return schema


def _only_problems(operation: dict[str, Any]) -> None:
    answers: dict[str, Any] = operation["responses"]
    if "application/json" in answers.get("422", {}).get("content", {}):
        answers["422"]["content"] = {MEDIA_TYPE: {"schema": {"$ref": _TEMPLATE.format(model="Problem")}}}

"""How a route gets its module's service: from the app that was composed with it, by its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

from fastapi import Request

ServiceT = TypeVar("ServiceT")


def service(kind: type[ServiceT]) -> Callable[[Request], ServiceT]:
    """Dependency that gives the app's one service of class `kind`."""

    def find(request: Request) -> ServiceT:
        found: ServiceT = request.app.state.services[kind]
        return found

    find.__annotations__ = {"request": Request, "return": kind}
    return find

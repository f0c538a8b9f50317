"""Who is asking and what they may do: bearer tokens become principals, routes name the scopes they need.

Owns: reading the header, comparing scopes, and showing scopes in OpenAPI.
Does not own: tokens themselves; the composition root hands in what resolves them (`app.state.resolve_token`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from cloud.errors import ForbiddenError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TOKEN_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a token stands for. `subject` names them within their `kind`."""

    kind: str
    subject: str
    scopes: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}"


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="`Authorization: Bearer <token>`: the operator's token, printed once at the first start, "
    "or a citizen's, issued with their card. The scopes beside each route say whose it takes.",
)


async def _principal(
    request: Request,
    required: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    if credentials is None:
        raise UnauthorizedError("send `Authorization: Bearer <token>`", code="token.missing")
    if len(credentials.credentials) > TOKEN_LENGTH_MAX:
        raise UnauthorizedError("this is not a token of ours", code="token.invalid")
    resolve: Callable[[str], Awaitable[Principal | None]] = request.app.state.resolve_token
    principal = await resolve(credentials.credentials)
    if principal is None:
        raise UnauthorizedError(
            "this token is unknown or was revoked; ask for a new one", code="token.invalid"
        )
    missing = set(required.scopes) - principal.scopes
    if missing:
        raise ForbiddenError(
            f"a token of kind {principal.kind} does not have scope {', '.join(sorted(missing))}",
            code="token.scope_missing",
        )
    return principal


def allow(*scopes: str) -> Any:
    """Dependency of a route: a principal that has all these scopes, else a 401 or 403 problem."""
    return Security(_principal, scopes=list(scopes))

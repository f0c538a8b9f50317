"""Turns bearer tokens into principals: the operator's and the citizens'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.access.scopes import CITIZEN_SCOPES, OPERATOR_SCOPES
from cloud.kit.web.access import Principal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.access.service import OperatorTokens
    from cloud.citizens.service import Citizens


@dataclass(frozen=True, slots=True)
class TokenResolver:
    """Asks the database each time: a revoked token ends at once."""

    engine: AsyncEngine
    operators: OperatorTokens
    citizens: Citizens

    async def __call__(self, token: str) -> Principal | None:
        """Whoever the token stands for, None if nobody."""
        async with self.engine.begin() as connection:
            if await self.operators.is_valid(connection, token):
                return Principal("operator", "operator", OPERATOR_SCOPES)
            holder = await self.citizens.holder_of(connection, token)
        return None if holder is None else Principal("citizen", str(holder.citizen_id), CITIZEN_SCOPES)

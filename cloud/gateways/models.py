"""What a gateway is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway as the operator sees it. `birth` is what it last announced of itself.

    `acked` counts records committed, `backlog` is what it announced last; ages are in seconds.
    """

    id: str
    drop_point: str
    drop_point_name: str
    state: str
    created_at: datetime
    claimed_at: datetime | None
    revoked_at: datetime | None
    last_seen_at: datetime | None
    acked_at: datetime | None
    acked: int
    held: int
    open_alarms: int
    birth: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claimable:
    """What a claim needs to know of a gateway."""

    id: str
    state: str
    code_hash: bytes | None
    code_expires_at: datetime | None
    code_valid: bool


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """A gateway's entry in the broker's password file."""

    gateway: str
    password_hash: str

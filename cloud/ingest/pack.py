"""Effects made ready for the wire, so that Postgres never waits while Python packs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.ingest import rows
from cloud.ingest.project import micros

if TYPE_CHECKING:
    from cloud.ingest.effects import Effects


@dataclass(frozen=True, slots=True)
class Payloads:
    """COPY payloads of one batch; None where there is nothing to copy."""

    records: bytes | None
    holders: bytes | None
    deposits: bytes | None
    weighings: bytes | None
    closings: bytes | None


def pack(effects: Effects, received_ms: int) -> Payloads:
    """Pack every table of the effects."""
    return Payloads(
        rows.pack_records(effects.records, micros(received_ms)) if effects.records else None,
        rows.pack_holders(effects.holders, effects.deposits) if effects.holders else None,
        rows.pack_deposits(effects.deposits) if effects.deposits else None,
        rows.pack_weighings(effects.weighings) if effects.weighings else None,
        rows.pack_closings(effects.closings) if effects.closings else None,
    )

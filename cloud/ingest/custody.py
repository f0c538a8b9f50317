"""Pickups, step by step: who took which kilos from where and handed them to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cloud.ingest.effects import CustodyRow, QuarantineRow
from cloud.ingest.waiting import NO_PICKUP
from cloud.kit.queries import load_queries
from protocol.cards import PSEUDONYM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

QUERIES = load_queries(Path(__file__).with_name("custody.sql"))


async def apply_custody(connection: psycopg.AsyncConnection, step: CustodyRow) -> QuarantineRow | None:
    """Apply one step; what cannot be applied comes back for quarantine. A repeat changes nothing."""
    values = _values(step)
    match step.kind:
        case "pickup.opened":
            await connection.execute(QUERIES["open_pickup"], values)
            return None
        case "pickup.closed":
            done = await connection.execute(QUERIES["close_pickup"], values)
        case "bin.weighed" | "bin.estimated":
            done = await connection.execute(QUERIES["empty_bin"], values)
        case _:
            done = await connection.execute(QUERIES["hand_over"], values)
    return None if done.rowcount else _orphan(step)


def pickups_first(steps: Sequence[CustodyRow]) -> list[CustodyRow]:
    """Steps in their order, but pickups before all that belongs to one: frames may have come otherwise."""
    return sorted(steps, key=lambda step: step.kind != "pickup.opened")


def _values(step: CustodyRow) -> dict[str, Any]:
    party = f"drop-point:{UUID(bytes=step.drop_point)}" if step.drop_point else f"gateway:{step.gateway}"
    values: dict[str, Any] = {
        "id": UUID(bytes=step.id),
        "gateway": step.gateway,
        "epoch": step.epoch,
        "seq": step.seq,
        "pickup_seq": step.pickup_seq,
        "at_us": step.at_us,
        "drop_point": UUID(bytes=step.drop_point) if step.drop_point else None,
        "party": party,
        "estimated": step.kind == "bin.estimated",
        "gross_g": None,
        "tare_g": None,
    }
    values |= {name: value for name, value in step.fields.items() if name not in {"pickup", "raw", "bins"}}
    values["bins"] = step.fields.get("bins")
    for name in ("giver", "taker"):
        if name in values:
            values[f"{name}_party"] = card_party(values[name])
    if "outcome" in values:
        values["outcome"] = str(values["outcome"])
    return values


def card_party(serial: bytes) -> str:
    """How custody names the holder of a card: by the pseudonym, which outlives the card."""
    return f"card:{serial[:PSEUDONYM_LENGTH].hex()}"


def _orphan(step: CustodyRow) -> QuarantineRow:
    return QuarantineRow(
        step.id, step.gateway, step.epoch, step.seq, NO_PICKUP,
        f"no pickup at seq {step.pickup_seq} is applied; decide on that one first", step.data, False,
    )  # fmt: skip

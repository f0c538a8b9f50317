"""An outbox of 20,000 weighings through agent, broker, cloud and COMMIT to the last ack; and its bytes.

The peer is ingest alone, measured in turns with it. Bytes are TCP payload both ways from the connection on:
TLS, MQTT framing, acks and the birth included.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.local.stack import Stack
from tests.bench import ingest
from tests.bench.figures import Figure, against_limit, at_least
from tests.bench.site import Drained, add_citizens, backlogged, drain

if TYPE_CHECKING:
    from tests.bench.setup import Setup

VISITS = 20_000
_WIRE_BYTES_MAX = 110


def measure(setup: Setup) -> list[Figure]:
    """Each round a gateway of its own; the ledger is verified after the last."""
    drained: list[Drained] = []
    alone: list[float] = []
    folder = setup.fresh_folder("drain")
    with ingest.Bench.running(setup.fresh_folder("ingest")) as bench, Stack(folder) as stack:
        add_citizens(stack)
        for number in setup.rounds("drain"):
            alone.append(bench.ours())
            drained.append(_round(stack, number))
        setup.facts["ledger_ok"] = _credited_once(stack, setup.rounds_count * VISITS)
    speeds = [VISITS / each.seconds for each in drained]
    return [
        Figure("drain", "weighings/s", speeds, "ingest alone", alone, (at_least(8_000),)),
        against_limit("wire", "bytes/visit", [each.wire_bytes / VISITS for each in drained], _WIRE_BYTES_MAX),
    ]


def _round(stack: Stack, number: int) -> Drained:
    site = backlogged(stack, f"bench-drain-{number:02}", VISITS)
    try:
        return drain(site)
    finally:
        site.agent.stop()


def _credited_once(stack: Stack, weighings: int) -> bool:
    report = json.loads(stack.cloud.run("ledger", "verify"))
    assert report["weighings"] == weighings, report
    return bool(report["ok"])

"""Holds both sides' exports against each other: what gateways recorded, what the cloud credited.

Pure. Lost: recorded by a gateway, and neither credited nor quarantined. Duplicated: credited twice, or
credited and never recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WEIGHINGS = {"weighing.recorded", "manual.entered"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Weighings counted by id; `differing` have the same id and other contents."""

    recorded: int
    credited: int
    quarantined: int
    lost: int
    duplicated: int
    differing: int


def compare(
    gateway_lines: Iterable[Mapping[str, Any]],
    cloud_lines: Iterable[Mapping[str, Any]],
    quarantined_ids: Iterable[str],
) -> Comparison:
    """Compare export lines; every line carries at least `id, kind, net_g, material`."""
    recorded = {line["id"]: line for line in gateway_lines if line["kind"] in _WEIGHINGS}
    credited = [line for line in cloud_lines if line["kind"] in _WEIGHINGS]
    cloud = {line["id"]: line for line in credited}
    held = set(quarantined_ids)
    return Comparison(
        recorded=len(recorded),
        credited=len(cloud),
        quarantined=len(held & set(recorded)),
        lost=len(set(recorded) - set(cloud) - held),
        duplicated=len(credited) - len(cloud) + len(set(cloud) - set(recorded)),
        differing=sum(_differ(recorded[key], cloud[key]) for key in set(recorded) & set(cloud)),
    )


def _differ(gateway: Mapping[str, Any], cloud: Mapping[str, Any]) -> bool:
    same = all(gateway[name] == cloud[name] for name in ("gateway", "epoch", "seq", "net_g", "material"))
    return not same or gateway["points"] not in (None, cloud["points"])

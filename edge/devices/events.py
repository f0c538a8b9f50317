"""What happens to a device, as values: attached, detached, changed health, scanned. Owns no device."""

from dataclasses import dataclass
from typing import Literal

Health = Literal["ok", "stale", "absent", "fault"]


@dataclass(frozen=True, slots=True)
class Attached:
    """The port of `device` was opened."""

    device: str
    port: str


@dataclass(frozen=True, slots=True)
class Detached:
    """The port of `device` is gone or was given up; `code` is a DeviceError's."""

    device: str
    port: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """`device` went from one state of health to another; `detail` says why and what to do."""

    device: str
    before: Health
    after: Health
    detail: str


@dataclass(frozen=True, slots=True)
class Identified:
    """A scale told its serial number or its model."""

    device: str
    serial: str
    model: str


@dataclass(frozen=True, slots=True)
class Scan:
    """One complete code or tag. `text` is without AIM prefix and terminator, `raw` the bytes as received."""

    kind: Literal["card", "bin", "tag", "unknown"]
    text: str
    raw: bytes
    aim: str | None = None


@dataclass(frozen=True, slots=True)
class ScanFault:
    """A code that was dropped, and why: `scan.partial`, `scan.too_long`, `scan.bytes`, `scan.checksum` ..."""

    code: str
    raw: bytes
    detail: str


DeviceEvent = Attached | Detached | HealthChanged | Identified | Scan | ScanFault

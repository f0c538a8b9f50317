"""What a road is: a way for envelopes to reach the cloud and for its answers to come back.

Owns the port that MQTT and HTTPS implement, and its errors. Does not own what travels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from edge.errors import SyncError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from protocol.status import Status


class RoadName(StrEnum):
    """The roads there are, in the order they are tried."""

    MQTT = "mqtt"
    HTTPS = "https"


class RoadError(SyncError):
    """The road failed: refused, reset, silent. What was in flight may or may not have arrived."""

    code = "sync.road"


class RoadRefused(RoadError):  # noqa: N818 - names what the far end did
    """The far end answered and said no (an authorisation or request error).

    The data stays, an alarm is raised, and the road is tried again slowly.
    """

    code = "sync.refused"
    rest_s: ClassVar[float] = 30.0
    """How long the road rests at least before it is asked again."""


class TooLarge(RoadRefused):
    """The far end takes no frame of this size: a smaller one may pass at once."""

    code = "sync.too_large"
    rest_s = 1.0


class TwinFound(RoadRefused):
    """Somebody else uses our name: each of us throws the other off the broker."""

    code = "sync.twin"
    rest_s = 300.0


class CertificateRefused(RoadRefused):
    """The broker does not let our certificate in: it is over, or was revoked. The other roads go on."""

    code = "sync.certificate_refused"


class BrokerUnknown(RoadRefused):
    """What stands where the broker should be cannot show a certificate of our authority."""

    code = "sync.broker_unknown"


class TakenOver(RoadError):  # noqa: N818 - names what happened
    """Another connection under our name took our place at the broker."""

    code = "sync.taken_over"


@dataclass(frozen=True, slots=True)
class AckArrived:
    """An ack's envelope."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ManifestArrived:
    """The manifest's envelope."""

    data: bytes


@dataclass(frozen=True, slots=True)
class DocumentArrived:
    """A whole document's envelope."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PartArrived:
    """One part of a document."""

    name: str
    data: bytes


Downlink = AckArrived | ManifestArrived | DocumentArrived | PartArrived


class Link(Protocol):
    """An open road."""

    async def send(self, envelope: bytes) -> None:
        """Send one frame or enrolment; returns when the far end has taken the bytes. Raises RoadError."""

    async def announce(self, status: Status) -> None:
        """Say that we are here and what we hold. Raises RoadError."""

    async def fetch(self, names: list[str], status: Status) -> None:
        """Ask for documents; they come through `receive`. `status` says what we hold. Raises RoadError."""

    async def receive(self) -> Downlink:
        """The next thing the cloud sent. Raises RoadError when the link is gone."""

    def moved_bytes(self) -> int:
        """Bytes the far end has taken or sent on what is open: whenever this changes, there is progress."""


class Road(Protocol):
    """A way to the cloud that may be closed just now."""

    name: RoadName

    def link(self, will: Status, silence_s_max: float) -> AbstractAsyncContextManager[Link]:
        """Open the road. `will` is what the broker says for us if we vanish. Raises RoadError.

        `silence_s_max`: an answer may take as long as this at least while the road is being opened.
        """

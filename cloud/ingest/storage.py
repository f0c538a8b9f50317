"""The port to what ingest keeps: how it is read, how effects are applied, what can go wrong with it.

Knows no database. `cloud.ingest.postgres` is the one that production runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from cloud.ingest.effects import Effects, QuarantineRow
    from cloud.ingest.opening import Refusal
    from cloud.ingest.views import EpochKey, Gap, GatewayView, Road, View
    from protocol.delivery import Cursor

Packed = TypeVar("Packed")
"""Effects made ready for a storage, which alone knows what that is."""
Packed_contra = TypeVar("Packed_contra", contravariant=True)
"""The same, where it is handed back."""


class StaleError(Exception):
    """Cursors, gateways or gaps changed since the decision: read them again and decide anew."""


class StoredError(StaleError):
    """Some of the records are stored already, under another epoch's frame: decide knowing which."""


class UnfitError(Exception):
    """The content of some record is nothing the storage will take; trying again will not help it."""


class Link(Protocol[Packed_contra]):
    """One connection: everything since the last commit is one transaction, unless it was opened for reading.

    Every method raises UnavailableError if the storage is away; then nothing uncommitted was done, but of a
    commit that failed it is not known. Other errors are named where they can happen.
    """

    async def read_cursors(self, keys: Iterable[EpochKey]) -> dict[EpochKey, Cursor]:
        """Those of these cursors that exist, unlocked."""

    async def read_gateways(self, gateways: Iterable[str]) -> dict[str, GatewayView]:
        """What is known of these gateways."""

    async def read_known(self, places: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], bytes]:
        """Committed digests at these places (gateway, epoch, seq), of records that came by themselves."""

    async def read_stored(self, places: Iterable[tuple[str, int, int]]) -> frozenset[bytes]:
        """Ids (16 bytes) of the records stored at these places, whoever brought them."""

    async def read_gaps(self, keys: Iterable[EpochKey]) -> dict[EpochKey, tuple[Gap, ...]]:
        """What is missing of these epochs, for each of them, in order."""

    async def read_keys(self, ids: Sequence[bytes]) -> Sequence[tuple[bytes, bytes, str]]:
        """Key id, public key and gateway of those of these keys that are enrolled."""

    async def read_catalogs(self) -> Sequence[tuple[bytes, int, int, datetime]]:
        """Digest, generation, version and time of issue of every catalogue."""

    async def read_catalog(self, digest: bytes) -> bytes | None:
        """The signed catalogue with this digest."""

    async def read_key_documents(self) -> Sequence[bytes]:
        """The signed keys documents, newest first, at most 100."""

    async def read_rates(self) -> Sequence[tuple[str, datetime, int]]:
        """Material, start and points per kilo of every rate; those of a material oldest first."""

    async def apply(self, effects: Effects, packed: Packed_contra, view: View) -> None:
        """Apply everything; the caller commits. Effects gain what was found unfit on the way.

        Raises StaleError if what the decision stood on has changed, UnfitError for a record's content.
        """

    async def project(self, effects: Effects, packed: Packed_contra) -> None:
        """Apply everything but cursors: what records mean, wherever they come from. Raises as `apply`."""

    async def list_held(self, ids: Sequence[UUID] | None, codes: Sequence[str] | None) -> list[UUID]:
        """Records held in quarantine, by gateway, epoch and seq; None: whatever the id, or the code."""

    async def lock_held(self, record: UUID) -> QuarantineRow | None:
        """A record if it is held in quarantine still, locked until the transaction ends."""

    async def still_held(self, record: UUID, code: str, message: str) -> None:
        """Note why a record stays in quarantine."""

    async def mark_retried(self, record: UUID, by: str) -> None:
        """Let a record out of quarantine."""

    async def refuse(self, refusal: Refusal, road: Road, sample: bytes) -> None:
        """Count something that was not taken in: one row per gateway, road, code and hour."""

    async def enrol(self, data: bytes, expected: str | None) -> Refusal | None:
        """Enrol a gateway's key, in a transaction of its own; `expected` is who the road says it is."""

    async def commit(self) -> None:
        """Make it durable; when this returns, it may be acknowledged."""

    async def rollback(self) -> None:
        """Forget what was applied since the last commit."""

    async def close(self) -> None:
        """Give the connection up; what was not committed is forgotten. Never raises."""


class Storage(Protocol[Packed]):
    """Where ingest keeps things."""

    def pack(self, effects: Effects, received_ms: int) -> Packed:
        """Make effects ready to be applied; called ahead of its turn, in any thread."""

    async def open(self, new_id: Callable[[], UUID], *, reading: bool = False) -> Link[Packed]:
        """Connect. `new_id` makes time-ordered ids. `reading`: each call is a transaction of its own.

        Raises UnavailableError.
        """


__all__ = ["Link", "Packed", "Packed_contra", "StaleError", "Storage", "StoredError", "UnfitError"]

"""Keeps the broker's folder equal to the database, and has whoever was revoked thrown out.

mosquitto reads a new revocation list at SIGHUP, but leaves open sessions alone. So each list names a canary,
too: once that is refused the list has been read, and the place of each revoked session is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from cloud.kit.authority import CANARY
from cloud.kit.broker_door import gateway_context, is_let_in
from cloud.kit.broker_folder import BrokerFolder
from cloud.worker.broker_files import write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.config import Settings
    from cloud.gateways.certificates import Certificates
    from cloud.gateways.models import Void
    from cloud.kit.authority import Authority, Pair
    from cloud.kit.clock import Clock
    from cloud.kit.mosquitto import Doors

READ_S = 10.0
"""How long the broker may take to read a list."""
LOCK_S = 30.0
LEFT_MIN = timedelta(days=10)
"""A list or certificate that has no more left was not renewed for weeks: nobody will be let in soon."""
DOUBT_MAX = timedelta(minutes=10)
REVOCATIONS_OLD = "broker.revocations_old"
CERTIFICATE_OLD = "broker.certificate_old"
UNREAD = "broker.revocations_unread"
ALARMS = (REVOCATIONS_OLD, CERTIFICATE_OLD, UNREAD)
_LOOK_S = 0.1


@dataclass(slots=True)
class BrokerKeeper:
    """Keeps one broker's folder. `confirmed` is the list that the broker is known to have read."""

    folder: BrokerFolder
    authority: Authority
    certificates: Certificates
    clock: Clock
    now: Callable[[], datetime]
    confirmed: bytes | None = None
    _doubt_since: datetime | None = None

    def complaints(self) -> dict[str, dict[str, object]]:
        """What an operator must look at, by alarm code."""
        found: dict[str, dict[str, object]] = {}
        now, listed, server = self.now(), self.folder.revocations(), self.folder.server_certificate()
        list_end = None if listed is None else listed.next_update_utc
        server_end = None if server is None else server.not_valid_after_utc
        if list_end is None or list_end - now < LEFT_MIN:
            found[REVOCATIONS_OLD] = {"until": None if list_end is None else list_end.isoformat()}
        if server_end is None or server_end - now < LEFT_MIN:
            found[CERTIFICATE_OLD] = {"until": None if server_end is None else server_end.isoformat()}
        if self._doubt_since is not None and now - self._doubt_since > DOUBT_MAX:
            found[UNREAD] = {"since": self._doubt_since.isoformat()}
        return found

    async def sync(self, engine: AsyncEngine, *, thorough: bool = False) -> bool:
        """Make the folder say what the database says, and the broker do it.

        `thorough`: also if it seems done, but this process has not seen that the broker knows. False if it is
        not done: the broker is away, or another process is at it; call again later. Raises OSError.
        """
        deadline = self.clock.monotonic() + LOCK_S
        while True:
            with self.folder.locked() as mine:
                if mine:
                    done = await self._sync(engine, thorough)
                    self._doubt_since = None if done else self._doubt_since or self.now()
                    return done
            if self.clock.monotonic() > deadline:
                return False
            await self.clock.sleep(_LOOK_S)

    async def _sync(self, engine: AsyncEngine, thorough: bool) -> bool:
        async with engine.begin() as connection:
            void = await self.certificates.void(connection)
        unsure = thorough and (self.confirmed is None or self.confirmed != self._listed())
        unsure = unsure or not all(one.evicted for one in void)
        canary = write_files(self.folder, self.authority, void, self.now(), fresh=unsure)
        if canary is None:
            return True
        doors = self.folder.doors()
        if not self.folder.tell() or not await self._is_read(doors, canary):
            return False
        self.confirmed = self._listed()
        return await self._evict_all(engine, doors, void)

    def _listed(self) -> bytes | None:
        found = self.folder.revocations()
        return None if found is None else found.tbs_certlist_bytes

    async def _is_read(self, doors: Doors, canary: Pair) -> bool:
        deadline = self.clock.monotonic() + READ_S
        while await self._lets_in(doors, canary):
            if self.clock.monotonic() > deadline:
                structlog.get_logger().warning("broker.revocations_unread", port=doors.port)
                return False
            await self.clock.sleep(_LOOK_S)
        # A broker that is not there turns everybody away.
        return await self._lets_in(doors, self.authority.eviction_certificate(CANARY, self.now()))

    async def _evict_all(self, engine: AsyncEngine, doors: Doors, void: Sequence[Void]) -> bool:
        done = True
        for gateway in sorted({one.gateway for one in void if not one.evicted}):
            pair = self.authority.eviction_certificate(gateway, self.now())
            if not await self._lets_in(doors, pair):
                structlog.get_logger().warning("broker.eviction_failed", gateway=gateway)
                done = False
                continue
            serials = [one.serial for one in void if one.gateway == gateway]
            async with engine.begin() as connection:
                await self.certificates.evicted(connection, serials)
        return done

    async def _lets_in(self, doors: Doors, pair: Pair) -> bool:
        """Come in by the gateways' door and leave; whether that was possible."""
        context = gateway_context(self.authority, pair)
        return await is_let_in(doors.near, doors.port, context, pair.name)


def broker_keeper(
    settings: Settings, authority: Authority, certificates: Certificates, clock: Clock
) -> BrokerKeeper | None:
    """The keeper, None where the broker is somebody else's to configure."""
    if settings.broker_dir is None:
        return None
    folder = BrokerFolder(settings.broker_dir, settings.broker_pid_file)
    return BrokerKeeper(folder, authority, certificates, clock, certificates.now)

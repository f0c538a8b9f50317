"""Keeps the broker's access files equal to the database: gateways that may speak, and the cloud itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.kit.broker_access import BrokerAccess, check_password, hash_password
from protocol.topics import Lane, document_filter, lane_filter, topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.config import MqttSettings, Settings
    from cloud.gateways.service import Gateways

_ANY = "any-gateway"  # stands in for the name until it becomes mosquitto's `%u`
_FROM_GATEWAY = (Lane.UP, Lane.STATUS, Lane.TELEMETRY, Lane.RESULT)
_TO_GATEWAY = (Lane.ACK, Lane.COMMAND)


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Writes the files of the broker at `mqtt`; `random_bytes(n)` gives n secret bytes."""

    access: BrokerAccess
    mqtt: MqttSettings
    gateways: Gateways
    random_bytes: Callable[[int], bytes]

    async def sync(self, engine: AsyncEngine) -> bool:
        """Make the files say what the database says; whether they changed."""
        async with engine.begin() as connection:
            found = await self.gateways.broker_logins(connection)
        logins = {login.gateway: login.password_hash for login in found}
        cloud = self.mqtt.username
        if cloud and self.mqtt.password:
            logins[cloud] = self._cloud_login(cloud, self.mqtt.password)
        return self.access.write(logins, access_rules(cloud))

    def _cloud_login(self, name: str, password: str) -> str:
        present = self.access.login_of(name)
        if present is not None and check_password(password, present):
            return present
        return hash_password(password, self.random_bytes)


def broker_files(
    settings: Settings, gateways: Gateways, random_bytes: Callable[[int], bytes]
) -> BrokerFiles | None:
    """The files to keep, None where the broker is somebody else's to configure."""
    if settings.broker_auth_dir is None or settings.mqtt is None:
        return None
    access = BrokerAccess(settings.broker_auth_dir, settings.broker_pid_file)
    return BrokerFiles(access, settings.mqtt, gateways, random_bytes)


def access_rules(cloud: str | None) -> str:
    """mosquitto's ACL: every gateway speaks on its own topics only, `cloud` on the other end of all."""
    own = [f"pattern write {_own(topic(_ANY, lane))}" for lane in _FROM_GATEWAY]
    own += [f"pattern read {_own(topic(_ANY, lane))}" for lane in _TO_GATEWAY]
    own.append(f"pattern read {_own(document_filter(_ANY))}")
    if not cloud:
        return "\n".join(own) + "\n"
    all_documents = document_filter(_ANY).replace(_ANY, "+")
    rules = [f"user {cloud}"]
    rules += [f"topic read {lane_filter(lane)}" for lane in _FROM_GATEWAY]
    rules += [f"topic write {name}" for name in (*map(lane_filter, _TO_GATEWAY), all_documents)]
    return "\n".join([*rules, "", *own]) + "\n"


def _own(name: str) -> str:
    return name.replace(_ANY, "%u")

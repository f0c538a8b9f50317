"""The cloud's settings, read once from the environment and handed down frozen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from cloud.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


INSIDE_PORT = 8884
"""The broker's door for the cloud alone."""
PUBLIC_PORT = 8883
"""Its door for gateways: the port that IANA gave MQTT over TLS."""


class MqttSettings(msgspec.Struct, frozen=True):
    """Where the broker has its door for us; it is spoken to over TLS. `version` is 5, or 4 for MQTT 3.1.1."""

    host: str
    port: int = INSIDE_PORT
    version: int = 5


class Settings(msgspec.Struct, frozen=True):
    """Everything the cloud is told from outside.

    `database_url` None means the embedded Postgres under `data_dir`; `mqtt` None means no broker:
    HTTPS and courier files only. `mqtt_public_host` is where gateways are told to find it, None: nowhere.
    """

    data_dir: Path = Path("reloop-data")
    database_url: str | None = None
    mqtt: MqttSettings | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 8400
    broker_dir: Path | None = None
    broker_pid_file: Path | None = None
    https_public_url: str = "http://127.0.0.1:8400"
    mqtt_public_host: str | None = None
    mqtt_public_port: int | None = None

    @property
    def keys_dir(self) -> Path:
        """Where the signing keys live."""
        return self.data_dir / "keys"

    @property
    def authority_dir(self) -> Path:
        """Where the certificate authority's keys live."""
        return self.keys_dir / "authority"

    @property
    def documents_dir(self) -> Path:
        """Where every document that was given out stays on file."""
        return self.data_dir / "documents"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read RELOOP_*; raises ConfigError naming the variable at fault."""
        get = environment.get
        host = get("RELOOP_HTTP_HOST") or "127.0.0.1"
        port = _port("RELOOP_HTTP_PORT", get("RELOOP_HTTP_PORT") or "8400")
        inside = _mqtt("RELOOP_MQTT_URL", get("RELOOP_MQTT_URL"), INSIDE_PORT)
        version = _version(get("RELOOP_MQTT_VERSION") or "5")
        public = _mqtt("RELOOP_MQTT_PUBLIC_URL", get("RELOOP_MQTT_PUBLIC_URL"), PUBLIC_PORT)
        return cls(
            data_dir=Path(get("RELOOP_DATA_DIR") or "reloop-data"),
            database_url=get("RELOOP_DATABASE_URL") or None,
            mqtt=MqttSettings(*inside, version) if inside else None,
            http_host=host,
            http_port=port,
            broker_dir=_path(get("RELOOP_BROKER_DIR")),
            broker_pid_file=_path(get("RELOOP_BROKER_PID_FILE")),
            https_public_url=(get("RELOOP_PUBLIC_URL") or f"http://{host}:{port}").rstrip("/"),
            mqtt_public_host=public[0] if public else None,
            mqtt_public_port=public[1] if public else None,
        )


def _mqtt(name: str, url: str | None, port: int) -> tuple[str, int] | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        found = parts.port or port
    except ValueError as error:
        raise ConfigError(f"{name} cannot be read: {error}") from error
    if parts.scheme == "mqtt":
        raise ConfigError(f"{name} is {url!r}, which nothing protects; write mqtts://host:{port}")
    if parts.scheme != "mqtts" or not parts.hostname:
        raise ConfigError(f"{name} is {url!r}; write mqtts://host:{port}")
    if parts.username is not None:
        raise ConfigError(f"{name} holds a name or password; leave it away, certificates say who we are")
    return parts.hostname, found


def _version(value: str) -> int:
    if value not in {"5", "3.1.1", "4"}:
        raise ConfigError(f"RELOOP_MQTT_VERSION is {value!r}; write 5 or 3.1.1")
    return 5 if value == "5" else 4


def _port(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 0 <= int(value) <= 65535:
        raise ConfigError(f"{name} is {value!r}; write a port number from 0 to 65535")
    return int(value)


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None

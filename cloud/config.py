"""The cloud's settings, read once from the environment and handed down frozen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from cloud.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class MqttSettings(msgspec.Struct, frozen=True):
    """Where the broker is. `version` is 5, or 4 for MQTT 3.1.1."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = None
    version: int = 5


class Settings(msgspec.Struct, frozen=True):
    """Everything the cloud is told from outside.

    `database_url` None means the embedded Postgres under `data_dir`; `mqtt` None means no broker:
    HTTPS and courier files only.
    """

    data_dir: Path = Path("reloop-data")
    database_url: str | None = None
    mqtt: MqttSettings | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 8400
    broker_auth_dir: Path | None = None
    broker_pid_file: Path | None = None
    https_public_url: str = "http://127.0.0.1:8400"
    mqtt_public_host: str | None = None
    mqtt_public_port: int | None = None

    @property
    def keys_dir(self) -> Path:
        """Where the signing keys live."""
        return self.data_dir / "keys"

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
        mqtt = _mqtt("RELOOP_MQTT_URL", get("RELOOP_MQTT_URL") or "", get("RELOOP_MQTT_VERSION") or "5")
        public = _mqtt("RELOOP_MQTT_PUBLIC_URL", get("RELOOP_MQTT_PUBLIC_URL") or "", "5") or mqtt
        return cls(
            data_dir=Path(get("RELOOP_DATA_DIR") or "reloop-data"),
            database_url=get("RELOOP_DATABASE_URL") or None,
            mqtt=mqtt,
            http_host=host,
            http_port=port,
            broker_auth_dir=_path(get("RELOOP_BROKER_AUTH_DIR")),
            broker_pid_file=_path(get("RELOOP_BROKER_PID_FILE")),
            https_public_url=(get("RELOOP_PUBLIC_URL") or f"http://{host}:{port}").rstrip("/"),
            mqtt_public_host=public.host if public else None,
            mqtt_public_port=public.port if public else None,
        )


def _mqtt(name: str, url: str, version: str) -> MqttSettings | None:
    if version not in {"5", "3.1.1", "4"}:
        raise ConfigError(f"RELOOP_MQTT_VERSION is {version!r}; write 5 or 3.1.1")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or 1883
    except ValueError as error:
        raise ConfigError(f"{name} cannot be read: {error}") from error
    if parts.scheme != "mqtt" or not parts.hostname:
        raise ConfigError(f"{name} is {url!r}; write mqtt://user:password@host:1883")
    return MqttSettings(
        parts.hostname,
        port,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        5 if version == "5" else 4,
    )


def _port(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 0 <= int(value) <= 65535:
        raise ConfigError(f"{name} is {value!r}; write a port number from 0 to 65535")
    return int(value)


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None

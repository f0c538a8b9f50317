"""Settings and keys: what is wrong is named, and keys stay what they were, for their owner only."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from cloud.config import Settings
from cloud.errors import ConfigError, DatabaseError
from cloud.kit.database import driver_url
from cloud.kit.ids import derived_id, uuid7
from cloud.kit.keyring import Keyring

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_have_defaults_for_a_newcomer() -> None:
    settings = Settings.from_environment({})
    assert (settings.database_url, settings.mqtt, settings.http_port) == (None, None, 8400)
    assert str(settings.keys_dir) == "reloop-data/keys"


def test_settings_are_read_from_the_environment() -> None:
    settings = Settings.from_environment(
        {
            "RELOOP_MQTT_URL": "mqtts://broker.example:2883",
            "RELOOP_MQTT_VERSION": "3.1.1",
            "RELOOP_HTTP_PORT": "9000",
        }
    )
    assert settings.mqtt is not None
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.version) == ("broker.example", 2883, 4)
    assert (settings.mqtt_public_host, settings.mqtt_public_port) == (None, None)
    assert settings.https_public_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELOOP_HTTP_PORT", "eighty"),
        ("RELOOP_HTTP_PORT", "70000"),
        ("RELOOP_MQTT_URL", "http://broker"),
        ("RELOOP_MQTT_URL", "mqtts://broker:port"),
        ("RELOOP_MQTT_URL", "mqtt://broker:1883"),
        ("RELOOP_MQTT_URL", "mqtt://127.0.0.1:1883"),
        ("RELOOP_MQTT_URL", "mqtts://cloud:secret@broker:8884"),
        ("RELOOP_MQTT_PUBLIC_URL", "mqtt://broker:1883"),
        ("RELOOP_MQTT_VERSION", "2"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.from_environment({name: value})


def test_another_database_is_refused() -> None:
    with pytest.raises(DatabaseError, match="postgresql://"):
        driver_url("sqlite:///x")


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    first = Keyring.load_or_create(tmp_path / "keys")
    again = Keyring.load_or_create(tmp_path / "keys")
    assert first.ack.public == again.ack.public
    assert len({key.public for key in (first.root, first.ack, first.document, first.card)}) == 4
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()] == [0o600] * 4


def test_a_damaged_or_exposed_key_stops_the_start(tmp_path: Path) -> None:
    Keyring.load_or_create(tmp_path)
    (tmp_path / "ack.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Keyring.load_or_create(tmp_path)
    (tmp_path / "ack.key").chmod(0o600)
    (tmp_path / "ack.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="backup"):
        Keyring.load_or_create(tmp_path)


def test_ids_are_of_their_kind() -> None:
    earlier, later = uuid7(1_000, lambda count: b"\xff" * count), uuid7(1_001, bytes)
    assert earlier < later
    assert (earlier.version, earlier.variant) == (7, uuid.RFC_4122)
    assert derived_id("d", b"a", b"bc") != derived_id("d", b"ab", b"c")
    assert derived_id("d", b"a").bytes[6] >> 4 == 8

"""Settings: what is wrong in the file is named with its line, and nothing half-read is ever used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from cloud.ingest.project import MASS_G_MAX
from edge.config import ScannerSettings, load_settings
from edge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """\
data_dir = "data"

[scale]
dialect = "mt-sics"
port = "/dev/serial/by-path/scale"

[[scanners]]
port = "/dev/ttyACM0"
terminator = "crlf"

[[scanners]]
port = "/dev/ttyS0"
kind = "rdm6300"

[cloud]
https_url = "https://cloud.example"
ca_file = "cloud.pem"

[station]
preset_tares_g = [120, 950]
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def refused(path: Path, text: str) -> ConfigError:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return caught.value


def test_a_whole_file_is_read_with_defaults_for_the_rest(write: Path) -> None:
    write.write_text(WHOLE)
    settings = load_settings(write)
    assert settings.data_dir == write.parent / "data"
    assert settings.scale is not None
    assert (settings.scale.dialect, settings.scale.baud) == ("mt-sics", 9600)
    assert settings.scanners[1] == ScannerSettings(port="/dev/ttyS0", kind="rdm6300")
    assert settings.cloud.ca_file == write.parent / "cloud.pem"
    assert settings.station.preset_tares_g == (120, 950)
    assert settings.journal.keep_days == 30


def test_the_heaviest_scale_that_may_be_configured_weighs_nothing_the_cloud_would_hold(write: Path) -> None:
    write.write_text(WHOLE.replace("[[scanners]]", "max_g = 5_000_000\n\n[[scanners]]", 1))
    scale = load_settings(write).scale
    assert scale is not None
    assert 0 < scale.max_g < MASS_G_MAX


def test_settings_cannot_be_changed_after_loading(write: Path) -> None:
    write.write_text(WHOLE)
    settings = load_settings(write)
    assert all(section.__struct_config__.frozen for section in (settings, settings.kiosk, settings.cloud))
    with pytest.raises(AttributeError):
        settings.data_dir = write  # type: ignore[misc]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"data_dir": 1}, type(settings))


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "says"),
    [
        ("[cloud]", "[cloud", "config.syntax", 15, "not TOML"),
        ('port = "/dev/ttyS0"', 'port = "/dev/ttyS0"\nboud = 3', "config.unknown_key", 13, "mean baud?"),
        ("[station]", "[statoin]", "config.unknown_key", 19, "mean station?"),
        ("preset_tares_g", "xyzzy", "config.unknown_key", 20, "weigh_min_g"),
        ('kind = "rdm6300"', 'kind = "rdm"', "config.value", 13, "scanners[1].kind"),
        ('dialect = "mt-sics"', 'dialect = "sics"', "config.value", 4, "choose one of mt-sics, toledo"),
        ('dialect = "mt-sics"\n', "", "config.missing_key", 3, "scale.dialect is missing"),
        ("[120, 950]", "[120, 0]", "config.value", 20, "preset_tares_g[1]: Expected `int` >= 1"),
        ("[120, 950]", '"120"', "config.value", 20, "Expected `array`, got `str`"),
        ('"cloud.pem"', "7", "config.value", 17, "cloud.ca_file: Expected `str"),
        ("ca_file", "mqtt_password_file", "config.unknown_key", 17, "certificates now"),
        ('ca_file = "cloud.pem"', "mqtt_tls = true", "config.unknown_key", 17, "remove the line"),
        ('data_dir = "data"', "data_dir = false", "config.value", 1, "data_dir: Expected `str`"),
        ('data_dir = "data"', 'scale.baud = "x"', "config.syntax", 3, "not TOML"),
        (
            'dialect = "mt-sics"',
            'dialect = "mt-sics"\nmax_g = 60_000_000',
            "config.value",
            5,
            "scale.max_g: Expected `int` <= 5000000",
        ),
        (
            "[cloud]",
            "[kiosk]\nport = 70000\n[cloud]",
            "config.value",
            16,
            "kiosk.port: Expected `int` <= 65535",
        ),
        ("[cloud]", '[kiosk]\nhost = "0.0.0.0"\n[cloud]', "config.value", 16, "choose one of 127.0.0.1"),
    ],
)
def test_a_mistake_stops_the_start_and_names_file_line_and_key(
    write: Path, *, old: str, new: str, code: str, line: int, says: str
) -> None:
    assert WHOLE.count(old) == 1
    error = refused(write, WHOLE.replace(old, new))
    assert error.code == code
    assert str(error).startswith(f"{write}:{line}: ")
    assert says in str(error)


def test_a_mistake_inside_an_inline_table_names_the_line_of_that_table(write: Path) -> None:
    error = refused(write, 'data_dir = "d"\n\njournal = { keep_days = 0 }\n')
    assert str(error).startswith(f"{write}:3: journal.keep_days: ")


def test_an_absent_file_is_told_apart_from_an_unreadable_one(write: Path) -> None:
    with pytest.raises(ConfigError) as absent:
        load_settings(write)
    write.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as unreadable:
        load_settings(write)
    assert (absent.value.code, unreadable.value.code) == ("config.missing", "config.unreadable")

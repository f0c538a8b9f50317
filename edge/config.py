"""The gateway's settings: read once from a TOML file, checked whole, handed down frozen.

Owns their names, defaults and bounds, and errors that name file, line and key. Holds no secrets: the
gateway's identity and keys live in files of their own.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from edge.errors import ConfigError

Port = Annotated[int, Meta(ge=1, le=65535)]
ListenPort = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]

Dialect = Literal[
    "mt-sics",
    "toledo",
    "and",
    "cas22",
    "cas18",
    "cas10",
    "kern",
    "a9",
    "yaohua-reversed",
    "a12e",
    "a12e-clone",
]
"""Makers' wire formats a scale can speak."""
Framing = Literal["8N1", "8E1", "8O1", "7E1", "7O1", "7N2"]
"""Data bits, parity and stop bits of a serial line."""
DIALECTS: tuple[str, ...] = get_args(Dialect)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the file."""


class GatewaySettings(_Section, frozen=True):
    """`[gateway]`. `id` is normally empty: the claim or the bundle brings it."""

    id: str = ""
    language: Literal["ne", "en"] = "ne"


class ScaleSettings(_Section, frozen=True):
    """`[scale]`: which scale hangs on which serial port. Masses in grams.

    `division_g`, `unit` and `serial` are used when the dialect does not tell them; `framing` is the dialect's
    usual one if empty; `checksum` says whether a Toledo line ends in one, found out if left away.
    No platform for pallets bears 5 t: a `max_g` of more is a slip of the pen, which would let damage on the
    wire pass for a mass, and beyond 100 t the cloud would hold what the kiosk had shown as saved.
    """

    dialect: Dialect
    port: Text
    baud: Positive = 9600
    division_g: Positive = 5
    max_g: Annotated[int, Meta(ge=1, le=5_000_000)] = 60_000
    serial: str = ""
    unit: Literal["kg", "g", "lb"] = "kg"
    framing: Framing | None = None
    checksum: bool | None = None


class ScannerSettings(_Section, frozen=True):
    """`[[scanners]]`: a barcode or RFID reader on a serial port."""

    port: Text
    kind: Literal["line", "rdm6300"] = "line"
    terminator: Literal["cr", "lf", "crlf", "tab", "gap"] = "cr"
    baud: Positive = 9600
    framing: Framing = "8N1"


class KioskSettings(_Section, frozen=True):
    """`[kiosk]`: where the screen's page is served; loopback only. Port 0 takes any free one."""

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: ListenPort = 8480


class CloudSettings(_Section, frozen=True):
    """`[cloud]`. Whatever is empty here is taken from the claim or the bundle.

    The broker is known by what the claim said of it, wherever `mqtt_host` says it is; `ca_file` is for HTTPS.
    `spread_s` is the longest random delay before the first attempt after a loss of the link.
    """

    https_url: str = ""
    mqtt_host: str = ""
    mqtt_port: Port = 8883
    mqtt_version: Literal[4, 5] = 5
    ca_file: Path | None = None
    roads: tuple[Literal["mqtt", "https"], ...] = ("mqtt", "https")
    spread_s: Seconds = 60.0


class JournalSettings(_Section, frozen=True):
    """`[journal]`. Sizes in bytes.

    Acknowledged records are kept `keep_days`, or less if the folder outgrows `disk_budget_bytes`. Below
    `free_bytes_min` on the disk intake stops; `ballast_bytes` is given back then, so that pruning can work.
    `queue_max` bounds the appends that may wait.
    """

    keep_days: Positive = 30
    disk_budget_bytes: Positive = 2 * 1024**3
    ballast_bytes: Natural = 16 * 1024**2
    free_bytes_min: Natural = 64 * 1024**2
    queue_max: Positive = 1024


class HealthSettings(_Section, frozen=True):
    """`[health]`: where the metrics are served; port 0 takes any free one."""

    host: Text = "127.0.0.1"
    port: ListenPort = 8481


class StationSettings(_Section, frozen=True):
    """`[station]`: rules of a visit. Masses in grams."""

    weigh_min_g: Positive = 20
    idle_timeout_s: Annotated[float, Meta(gt=0)] = 90.0
    receipt_timeout_s: Annotated[float, Meta(gt=0)] = 20.0
    preset_tares_g: tuple[Positive, ...] = ()


class Settings(_Section, frozen=True):
    """The whole file. `data_dir` is absolute after loading."""

    data_dir: Path
    gateway: GatewaySettings = GatewaySettings()
    scale: ScaleSettings | None = None
    scanners: tuple[ScannerSettings, ...] = ()
    kiosk: KioskSettings = KioskSettings()
    cloud: CloudSettings = CloudSettings()
    journal: JournalSettings = JournalSettings()
    health: HealthSettings = HealthSettings()
    station: StationSettings = StationSettings()


def load_settings(path: Path) -> Settings:
    """Read and check the file. Raises ConfigError, whose message starts with `file:line: key`.

    Relative paths in the file are relative to the file's folder. Codes: `config.missing`,
    `config.unreadable`, `config.syntax`, `config.unknown_key`, `config.missing_key`, `config.value`.
    """
    text = _read(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    folder = path.absolute().parent

    def as_path(kind: type, value: object) -> object:
        if kind is Path and isinstance(value, str):
            return folder / value
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")

    try:
        return msgspec.convert(table, Settings, dec_hook=as_path)
    except msgspec.ValidationError as error:
        raise _value_error(path, text, str(error)) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; write one, or name another with --config", code="config.missing"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", code="config.unreadable") from error


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    found = re.search(r"at line (\d+), column \d+", str(error))
    line = int(found.group(1)) if found else len(text.splitlines())
    return ConfigError(f"{path}:{max(line, 1)}: this is not TOML: {error}", code="config.syntax")


_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\]]+?)\s*\]{1,2}")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_FIELD = re.compile(r"(unknown|required) field `([^`]+)`")


def _value_error(path: Path, text: str, message: str) -> ConfigError:
    place = _PLACE.search(message)
    where = _split(place.group(1)) if place else ()
    reason = _PLACE.sub("", message)
    field = _FIELD.search(reason)
    if field is None:
        line = _line_of(text, where)
        return ConfigError(f"{path}:{line}: {_dotted(where)}: {reason}{_choices(where)}", code="config.value")
    name = field.group(2)
    key = _dotted((*where, name))
    if field.group(1) == "required":
        line = _line_of(text, where)
        return ConfigError(f"{path}:{line}: {key} is missing; add it", code="config.missing_key")
    line = _line_of(text, (*where, name))
    return ConfigError(
        f"{path}:{line}: {key} is not a setting{_hint(where, name)}", code="config.unknown_key"
    )


def _split(place: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"\.|(?=\[)", place) if part)


def _dotted(where: tuple[str, ...]) -> str:
    return ".".join(where).replace(".[", "[")


def _section(where: tuple[str, ...]) -> type[_Section]:
    return _SECTIONS.get(where[0], Settings) if where else Settings


def _choices(where: tuple[str, ...]) -> str:
    hint: Any = get_type_hints(_section(where[:-1])).get(where[-1]) if where else None
    return f"; choose one of {', '.join(map(str, get_args(hint)))}" if get_origin(hint) is Literal else ""


def _hint(where: tuple[str, ...], name: str) -> str:
    section = _section(where)
    if section is CloudSettings and name in _REMOVED:
        return "; gateways come to the broker with certificates now, which the cloud sends: remove the line"
    near = difflib.get_close_matches(name, section.__struct_fields__, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(section.__struct_fields__)}"


_REMOVED = {"mqtt_tls", "mqtt_username", "mqtt_password_file"}
_SECTIONS: dict[str, type[_Section]] = {
    "gateway": GatewaySettings,
    "scale": ScaleSettings,
    "scanners": ScannerSettings,
    "kiosk": KioskSettings,
    "cloud": CloudSettings,
    "journal": JournalSettings,
    "health": HealthSettings,
    "station": StationSettings,
}


def _line_of(text: str, where: tuple[str, ...]) -> int:
    """The line that sets `where`, else its closest table's; tomllib keeps no positions, so we look again.

    Elements of arrays are spelled `[n]`, e.g. ("scanners", "[1]", "baud").
    """
    best, best_depth = 1, 0
    for line, defined in _definitions(text):
        depth = _common(defined, where)
        if depth == len(defined) and depth > best_depth:
            best, best_depth = line, depth
    return best


def _definitions(text: str) -> list[tuple[int, tuple[str, ...]]]:
    found: list[tuple[int, tuple[str, ...]]] = []
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for line, content in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(content):
            table = _names(header.group(2))
            if header.group(1) == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, f"[{counts[table]}]")
            found.append((line, table))
        elif key := _KEY.match(content):
            found.append((line, table + _names(key.group(1))))
    return found


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    pairs = zip(left, right, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))

"""Reads YAML mappings strictly: every complaint names file, line and key.

Owns types, limits and unknown or repeated keys; knows nothing of scenarios.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from firmware_sim.errors import ScenarioError

MAX_FILE_BYTES = 262_144
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file; what stands before every complaint."""

    path: Path
    line: int
    key: str = ""

    def error(self, code: str, message: str) -> ScenarioError:
        """The error to raise for something wrong here."""
        key = f"{self.key}: " if self.key else ""
        return ScenarioError(f"scenario.{code}", f"{self.path}:{self.line}: {key}{message}")


class Section:
    """One mapping of the file. Take every key you know, then call `finish` to refuse the others."""

    def __init__(self, place: Place, node: yaml.Node) -> None:
        self.place = place
        if not isinstance(node, yaml.MappingNode):
            raise place.error("wrong_type", "must be a mapping of keys and values")
        self._nodes: dict[str, tuple[Place, yaml.Node]] = {}
        self._taken: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            where = Place(place.path, key_node.start_mark.line + 1, f"{place.key}.{key}".lstrip("."))
            if key in self._nodes:
                raise where.error("repeated_key", "this key stands here twice; keep one")
            self._nodes[key] = (where, value_node)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._nodes

    def at(self, key: str) -> Place:
        """Where the key stands, or where it should."""
        if key in self._nodes:
            return self._nodes[key][0]
        return Place(self.place.path, self.place.line, f"{self.place.key}.{key}".lstrip("."))

    def integer(self, key: str, default: int | None, minimum: int, maximum: int) -> int:
        """A whole number within limits; without a default it is required."""
        value = self._scalar(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.at(key).error("wrong_type", f"must be a whole number, not {value!r}")
        return int(self._within(key, value, minimum, maximum))

    def number(self, key: str, default: float | None, minimum: float, maximum: float) -> float:
        """A number within limits; without a default it is required."""
        value = self._scalar(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.at(key).error("wrong_type", f"must be a number, not {value!r}")
        return self._within(key, float(value), minimum, maximum)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._scalar(key, default)
        if not isinstance(value, bool):
            raise self.at(key).error("wrong_type", f"must be true or false, not {value!r}")
        return value

    def text(self, key: str, default: str | None) -> str:
        """A text; without a default it is required."""
        value = self._scalar(key, default)
        if not isinstance(value, str):
            raise self.at(key).error("wrong_type", f"must be a text, not {value!r}")
        return value

    def choice(self, key: str, default: str | None, choices: tuple[str, ...]) -> str:
        """One of the given texts."""
        value = self.text(key, default)
        if value not in choices:
            known = ", ".join(choices)
            raise self.at(key).error("unknown_value", f"no {value!r} here; choose one of: {known}")
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts."""
        if not self.has(key):
            return default
        items = []
        for place, node in self._items(key):
            value = _scalar_value(place, node)
            if not isinstance(value, str) or not value:
                raise place.error("wrong_type", f"must be a text, not {value!r}; put it in quotes")
            items.append(value)
        return tuple(items)

    def section(self, key: str) -> "Section | None":
        """A mapping inside this one, or None if it is not there."""
        if not self.has(key):
            return None
        self._taken.add(key)
        place, node = self._nodes[key]
        return Section(place, node)

    def sections(self, key: str) -> list["Section"]:
        """A list of mappings."""
        return [Section(place, node) for place, node in self._items(key)] if self.has(key) else []

    def finish(self) -> None:
        """Refuse every key that nobody took."""
        for key, (place, _) in self._nodes.items():
            if key not in self._taken:
                known = ", ".join(sorted(self._taken))
                raise place.error("unknown_key", f"nobody reads this key; known here: {known}")

    def _items(self, key: str) -> list[tuple[Place, yaml.Node]]:
        self._taken.add(key)
        place, node = self._nodes[key]
        if not isinstance(node, yaml.SequenceNode):
            raise place.error("wrong_type", "must be a list")
        return [
            (Place(place.path, item.start_mark.line + 1, f"{place.key}[{index}]"), item)
            for index, item in enumerate(node.value)
        ]

    def _scalar(self, key: str, default: object) -> object:
        self._taken.add(key)
        if key in self._nodes:
            return _scalar_value(*self._nodes[key])
        if default is None:
            raise self.at(key).error("missing_key", "this key is required")
        return default

    def _within(self, key: str, value: float, minimum: float, maximum: float) -> float:
        if not minimum <= value <= maximum:
            raise self.at(key).error("out_of_range", f"must be {minimum} to {maximum}, not {value}")
        return value


def read_yaml(path: Path) -> Section:
    """The file's top mapping. ScenarioError if it cannot be read or is no YAML mapping."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError("scenario.unreadable", f"{path}: cannot read it: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ScenarioError("scenario.too_large", f"{path}: more than {MAX_FILE_BYTES} bytes")
    try:
        node = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Place(path, line).error("syntax", f"no YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Place(path, 1).error("syntax", f"no YAML text: {error}") from error
    if node is None:
        raise Place(path, 1).error("empty", "the file is empty")
    return Section(Place(path, node.start_mark.line + 1), node)


def _scalar_value(place: Place, node: yaml.Node) -> object:
    if not isinstance(node, yaml.ScalarNode):
        raise place.error("wrong_type", "must be a single value")
    constructor = yaml.SafeLoader("")
    try:
        value: object = constructor.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise place.error("syntax", f"cannot be read: {error}") from error
    return value

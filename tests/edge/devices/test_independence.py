"""Families of dialects and kinds of scanners know nothing of each other, and nothing pure does I/O."""

import ast
from pathlib import Path

import edge.devices

ROOT = Path(edge.devices.__path__[0])
FAMILIES = [path for part in ("scales", "scanners") for path in (ROOT / part).iterdir() if path.is_dir()]
IMPURE = {"asyncio", "serial", "os", "select", "termios", "socket", "time", "datetime", "random", "logging"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules() -> list[tuple[Path, set[str]]]:
    return [(path, imported(path)) for path in ROOT.rglob("*.py")]


def test_no_family_imports_another() -> None:
    families = [path for path in FAMILIES if path.name != "__pycache__"]
    assert len(families) == 6
    for family in families:
        own = ".".join(("edge", "devices", family.parent.name, family.name))
        others = [
            ".".join(("edge", "devices", other.parent.name, other.name))
            for other in families
            if other != family
        ]
        for path in family.rglob("*.py"):
            strangers = {name for name in imported(path) if any(name.startswith(other) for other in others)}
            assert not strangers, f"{own}: {path.name} imports {strangers}"


def test_only_port_link_and_drivers_touch_the_world() -> None:
    impure = {
        path.relative_to(ROOT).as_posix()
        for path, names in modules()
        if {name.partition(".")[0] for name in names} & IMPURE
    }
    assert impure == {"port.py"}


def test_the_simulator_is_never_imported() -> None:
    for path, names in modules():
        assert not [name for name in names if name.startswith("firmware_sim")], path

"""Named SQL kept in `.sql` files: a block begins with `-- name: <name>` and ends where the next begins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(path: Path) -> dict[str, bytes]:
    """Every block of the file by its name, as bytes ready to execute."""
    parts = _NAME.split(path.read_text(encoding="utf-8"))
    return {
        name: block.strip().rstrip(";").encode() for name, block in zip(parts[1::2], parts[2::2], strict=True)
    }

"""The page's static files, read once at start (about 60 KB); nothing outside this list is ever served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FOLDERS = ("assets", "pictures")
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FALLBACK_PICTURE = "other"


@dataclass(frozen=True, slots=True)
class File:
    """One file: its bytes, media type and strong validator."""

    data: bytes
    media_type: str
    etag: str


def load_files() -> dict[str, File]:
    """All files by their path, for example `/assets/kiosk.css`."""
    paths = (path for folder in FOLDERS for path in (HERE / folder).iterdir())
    return {f"/{path.parent.name}/{path.name}": _load(path) for path in paths if path.suffix in MEDIA_TYPES}


def build_of(files: dict[str, File]) -> str:
    """A name for this very set of files: a page that was opened before an upgrade sees it change."""
    names = "".join(f"{path}{file.etag}" for path, file in sorted(files.items()))
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def picture_names() -> frozenset[str]:
    """The pictures of materials there are, without their suffix."""
    return frozenset(path.stem for path in (HERE / "pictures").glob("*.svg"))


def _load(path: Path) -> File:
    data = path.read_bytes()
    return File(data, MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')

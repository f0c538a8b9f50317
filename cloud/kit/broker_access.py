"""The broker's password and access files: who may connect, and to which topics they may speak.

Writes mosquitto's formats (passwords as `$7$`: PBKDF2 with SHA-512) and asks the broker to read them again;
mosquitto then drops the sessions of those no longer in them. Does not know who may: that is handed in.
"""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ITERATIONS = 101  # mosquitto's own default; passwords here are 144 random bits
_SALT_BYTES = 12


def hash_password(password: str, random_bytes: Callable[[int], bytes]) -> str:
    """A password as mosquitto keeps it: `$7$101$<salt>$<hash>`."""
    salt = random_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check_password(password: str, hashed: str) -> bool:
    """Whether `hashed`, as made by `hash_password`, is of this password."""
    _, _, iterations, salt, digest = hashed.split("$")
    found = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations))
    return found == base64.b64decode(digest)


class BrokerAccess:
    """Keeps the two files in `directory`; `pid_file` names the broker's process, if it is on this machine."""

    def __init__(self, directory: Path, pid_file: Path | None) -> None:
        self._directory, self._pid_file = directory, pid_file

    def write(self, logins: Mapping[str, str], rules: str) -> bool:
        """Write `name: hashed password` and the access rules; whether anything changed, or was told.

        Each file is replaced whole, so the broker never reads half of one.
        """
        passwords = "".join(f"{name}:{hashed}\n" for name, hashed in sorted(logins.items()))
        changed = [self._replace("passwd", passwords), self._replace("acl", rules)]
        if any(changed):
            self._tell_broker()
        return any(changed)

    def login_of(self, name: str) -> str | None:
        """The hashed password that stands in the file now."""
        with suppress(FileNotFoundError):
            for line in (self._directory / "passwd").read_text(encoding="utf-8").splitlines():
                found, _, hashed = line.partition(":")
                if found == name:
                    return hashed
        return None

    def _replace(self, name: str, content: str) -> bool:
        path = self._directory / name
        with suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8") == content:
                return False
        self._directory.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        self._keep_owner(path, beside)
        beside.replace(path)
        return True

    def _keep_owner(self, path: Path, beside: Path) -> None:
        """Leave the file with whom it was: the broker may run as another user than we."""
        with suppress(FileNotFoundError, PermissionError):
            status = path.stat()
            os.chown(beside, status.st_uid, status.st_gid)
            beside.chmod(status.st_mode & 0o777)

    def _tell_broker(self) -> None:
        if self._pid_file is None:
            return
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(self._pid_file.read_text(encoding="ascii").strip())
            if _is_mosquitto(pid):
                os.kill(pid, signal.SIGHUP)


def _is_mosquitto(pid: int) -> bool:
    """A stale file may name anybody, and SIGHUP ends a program that does not expect it."""
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == "mosquitto"

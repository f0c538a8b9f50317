"""The broker's folder: its configuration, certificates, revocation list and access rules.

Each file is replaced whole, so the broker never reads half of one. Knows where they are, how they are shared
with the broker's user, and how the broker is told; not what must stand in them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509

from cloud.errors import ConfigError
from cloud.kit.mosquitto import Doors

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURE = "run `reloop-cloud broker configure --folder DIR`, with RELOOP_BROKER_DIR set to the same DIR"


class BrokerFolder:
    """One folder; `pid_file` names the broker's process, if it is on this machine.

    A folder with the set-group-id bit shares its files with its group: the broker runs as another user then.
    """

    def __init__(self, path: Path, pid_file: Path | None) -> None:
        self.path, self._pid_file = path, pid_file

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Keep other processes from writing meanwhile; False if one does now."""
        descriptor = os.open(self.path / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def doors(self) -> Doors:
        """Where the broker listens. Raises ConfigError if nobody has configured it."""
        try:
            return msgspec.json.decode((self.path / "doors.json").read_bytes(), type=Doors)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{self.path} is no broker's folder ({error}); {CONFIGURE}") from error

    def server_certificate(self) -> x509.Certificate | None:
        """The broker's own certificate; None if there is none that can be read."""
        with suppress(OSError, ValueError):
            return x509.load_pem_x509_certificate((self.path / "server.pem").read_bytes())
        return None

    def revocations(self) -> x509.CertificateRevocationList | None:
        """The revocation list; None if there is none that can be read."""
        with suppress(OSError, ValueError):
            return x509.load_pem_x509_crl((self.path / "revoked.pem").read_bytes())
        return None

    def replace(self, name: str, content: bytes) -> bool:
        """Write a file unless it says the same already; whether it was written. Raises OSError."""
        path = self.path / name
        with suppress(FileNotFoundError):
            if path.read_bytes() == content:
                return False
        shared = self.path.stat().st_mode & 0o2000
        beside = self.path / f".{name}.{secrets.token_hex(4)}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o640 if shared else 0o600)
            os.fsync(file.fileno())
        beside.replace(path)
        return True

    def tell(self) -> bool:
        """Have the broker read its files again; False if it is not found."""
        if self._pid_file is None:
            return False
        with suppress(FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
            pid = int(self._pid_file.read_text(encoding="ascii").strip())
            if _is_mosquitto(pid) and _listens_to_us(pid):
                os.kill(pid, signal.SIGHUP)
                return True
        return False


def _is_mosquitto(pid: int) -> bool:
    """A stale file may name anybody, and SIGHUP ends a program that does not expect it."""
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == "mosquitto"


def _listens_to_us(pid: int) -> bool:
    """A mosquitto that is starting does not catch SIGHUP yet: it would end it."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, mask = line.partition(":")
        if name == "SigCgt":
            return bool(int(mask, 16) & 1 << (signal.SIGHUP - 1))
    return False

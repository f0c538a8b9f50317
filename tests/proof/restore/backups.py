"""Backups of the cloud's Postgres, taken in the three ways people take them, and put back.

`cold` copies the stopped cluster; `frozen` copies it as a snapshot of the disk would be, its processes held
in mid-step; `dump` is pg_dump's. The cloud's data folder beside the cluster (keys) stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg

from cloud.kit.embedded import EmbeddedPostgres, binaries
from deploy.local.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.stack import Cloud

Kind = Literal["cold", "frozen", "dump"]
KINDS: tuple[Kind, ...] = ("cold", "frozen", "dump")
_TOOL_S = 120.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup lying at `path`: a folder, or a dump's file."""

    kind: Kind
    path: Path


def server_of(cloud: Cloud) -> EmbeddedPostgres:
    """The cloud's Postgres, to be asked for its addresses, or started while the cloud is stopped."""
    return EmbeddedPostgres(cloud.folder / "cloud" / "postgres")


def take(cloud: Cloud, kind: Kind, path: Path) -> Backup:
    """Take a backup of a cloud that runs; it runs again, or still, when this returns."""
    cluster = server_of(cloud).cluster
    match kind:
        case "cold":
            cloud.process.stop()
            shutil.copytree(cluster, path)
            cloud.start_cloud()
        case "frozen":
            with _held_still(cluster):
                shutil.copytree(cluster, path)
        case "dump":
            _tool("pg_dump", "--format=custom", f"--file={path}", server_of(cloud).url)
    return Backup(kind, path)


def put_back(cloud: Cloud, backup: Backup) -> None:
    """Stop the cloud, replace its database by the backup, start it again."""
    cloud.process.stop()
    server = server_of(cloud)
    if backup.kind == "dump":
        _restore_dump(server, backup.path)
    else:
        shutil.rmtree(server.cluster)
        shutil.copytree(backup.path, server.cluster)
    cloud.start_cloud()


def _restore_dump(server: EmbeddedPostgres, path: Path) -> None:
    with server:
        with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE reloop WITH (FORCE)")
            connection.execute("CREATE DATABASE reloop")
        _tool("pg_restore", "--exit-on-error", f"--dbname={server.url}", str(path))


def _tool(name: str, *arguments: str) -> None:
    command = [str(binaries() / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr}")


@contextlib.contextmanager
def _held_still(cluster: Path) -> Iterator[None]:
    """Stop every process of the server where it stands, so that its files are those of one moment."""
    postmaster = int((cluster / "postmaster.pid").read_text().split()[0])
    held = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)
    wait_until(lambda: _state(postmaster) == "T", 10, "the server is not held")
    held += _children(postmaster)
    try:
        for pid in held[1:]:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(_state(pid) == "T" for pid in held), 10, "the server is not held")
        yield
    finally:
        for pid in reversed(held):
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _parent(pid) == parent]


def _parent(pid: int) -> int | None:
    try:
        return int(_fields(pid)[1])
    except OSError:
        return None  # it ended just now


def _state(pid: int) -> str:
    return _fields(pid)[0]


def _fields(pid: int) -> list[str]:
    """State, parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

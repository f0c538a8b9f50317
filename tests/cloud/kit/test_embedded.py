"""The embedded Postgres: private, restarted when killed, shared by processes of one machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.clock import SystemClock
from cloud.kit.database import migrate, newest_version
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.keyring import Keyring
from protocol.acks import open_ack
from tests.cloud.ingest.gateway import Gateway, add_catalog, add_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "pg") as server:
        yield server


def answers(server: EmbeddedPostgres, deadline_s: float = 20) -> bool:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        try:
            with psycopg.connect(server.url) as connection:
                connection.execute("SELECT 1")
                return True
        except psycopg.OperationalError:
            time.sleep(0.02)
    return False


def test_it_is_ours_alone_and_reads_nepali(own: EmbeddedPostgres) -> None:
    assert own.socket_dir.stat().st_mode & 0o777 == 0o700
    with psycopg.connect(own.url) as connection:
        row = connection.execute(
            "SELECT current_setting('listen_addresses'), upper('é'),"
            " current_setting('server_version_num')::int >= 150000,"
            " 'दूध' ~ '^\\w+', current_setting('fsync')"
        ).fetchone()
    assert row == ("", "É", True, True, "on")


def test_processes_that_come_up_together_for_the_first_time_do_not_end_each_other(
    own: EmbeddedPostgres,
) -> None:
    """API, ingest and worker all find no database, all make it, and all but one were ended by that."""
    for _ in range(5):
        with psycopg.connect(own.url_for("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE reloop WITH (FORCE)")
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(own._answers) for _ in range(8)]
        assert True in [one.result() for one in asked]
        assert answers(own)


def test_a_second_process_attaches_and_leaves_it_running(own: EmbeddedPostgres) -> None:
    program = (
        "import sys, pathlib; from cloud.kit.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as other: print(other.url, other.pid)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(own.directory)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [own.url, "None"]
    assert answers(own)


def test_the_orphan_of_a_killed_owner_is_replaced(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time; from cloud.kit.embedded import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1])); server.start(); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "pg")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        owner.kill()
    with EmbeddedPostgres(tmp_path / "pg") as server:
        assert server.pid is not None
        assert answers(server)


def test_migrating_twice_changes_nothing(own: EmbeddedPostgres) -> None:
    assert migrate(own.url) == migrate(own.url) == newest_version()


async def test_frames_are_credited_once_through_a_postgres_that_is_killed(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    migrate(own.url)
    keyring = Keyring.load_or_create(tmp_path / "keys")
    gateway = Gateway("ktm-drop-01", add_catalog(own.url, keyring))
    add_gateway(own.url, gateway)
    for _ in range(400):
        gateway.visit()
    async with Ingest(PostgresStorage(own.url), keyring, SystemClock(), secrets.token_bytes) as ingest:
        through = kills = 0
        async with asyncio.timeout(90):
            while through < gateway.head:
                if through > kills * 300 and kills < 3 and own.pid is not None:
                    kills += 1
                    os.kill(own.pid, signal.SIGKILL)
                last = min(through + 60, gateway.head)
                reply = await ingest.submit(gateway.frame(through + 1, last), "mqtt", None)
                if reply.ack is not None:
                    through = open_ack(reply.ack, lambda _: keyring.ack.public).through
    assert kills == 3
    assert answers(own)
    with psycopg.connect(own.url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM weighings), (SELECT sum(amount) FROM transfers),"
            " (SELECT sum(balance) FROM accounts)"
        ).fetchone()
    assert row == (400, 4_800_000, 4_800_000)


_INTERRUPTED = """
import os, signal, sys, threading, time, traceback
from pathlib import Path
from cloud.kit.embedded import EmbeddedPostgres

def interrupt(folder):
    while not (folder / "cluster" / "postmaster.pid").exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

for number in range(20):
    folder = Path(sys.argv[1]) / str(number)
    server = EmbeddedPostgres(folder, fsync=False)
    threading.Thread(target=interrupt, args=(folder,), daemon=True).start()
    try:
        server.start()
        time.sleep(60)
    except KeyboardInterrupt as error:
        if all(frame.name != "start" for frame in traceback.extract_tb(error.__traceback__)):
            server.stop()  # too late: it had started
            continue
    print(server.pid, (folder / "cluster" / "postmaster.pid").exists())
    break
"""


def test_a_start_that_is_interrupted_leaves_no_server_running(tmp_path: Path) -> None:
    script = [sys.executable, "-c", _INTERRUPTED, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "None False\n"


def test_root_is_somebody_who_has_a_name_wherever_only_root_and_nobody_have_one(tmp_path: Path) -> None:
    """On a fresh machine with root alone initdb found no name for its user, and the cloud never started."""
    users = tmp_path / "passwd"
    users.write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    started = (
        "import sys, pathlib; from cloud.kit.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server: print('started', server.pid)"
    )
    inside = 'mount --bind "$1" /etc/passwd && exec "$2" -c "$3" "$4"'
    arguments = (str(users), sys.executable, started, str(tmp_path / "pg"))
    told = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", inside, "sh", *arguments], capture_output=True, text=True, check=False
    )
    if "unshare failed" in told.stderr:
        pytest.skip(told.stderr.strip())
    assert told.stdout.startswith("started "), told.stderr

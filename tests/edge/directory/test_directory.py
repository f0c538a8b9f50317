"""The directory: nothing unsigned, nothing older, nothing half applied, and age told with any clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.directory import Directory
from edge.directory.directory import _sorted_serials
from protocol.cose import SigningKey
from protocol.documents import CatalogBody, KeyUse, Material, build_document, document_digest
from protocol.errors import DocumentError, ProtocolError, SignatureError
from protocol.records import ClockQuality
from tests.edge.directory.signing_cloud import DAY_S, Cloud
from tests.edge.hand_clock import NOW_MS, HandClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATEWAY = "ktm-drop-01"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory.db"


@pytest.fixture
def directory(path: Path, cloud: Cloud, clock: HandClock) -> Iterator[Directory]:
    opened = Directory.open(path, cloud.root.public, clock, GATEWAY)
    yield opened
    opened.close()


def full(directory: Directory, cloud: Cloud) -> Directory:
    directory.apply("keys", cloud.keys())
    directory.apply("catalog", cloud.catalog())
    directory.apply("revocations", cloud.revocations(b"serial-09" + b"serial-01"))
    directory.apply("config", cloud.config())
    return directory


def test_a_new_directory_knows_nothing_and_says_so(directory: Directory) -> None:
    assert directory.catalog() is None
    assert directory.config() is None
    assert directory.digests() == {}
    assert not directory.revoked(b"serial-01")
    assert directory.key_for(KeyUse.CARD)(b"12345678") is None


def test_what_was_applied_is_in_force_at_once_and_after_reopening(
    directory: Directory, path: Path, cloud: Cloud, clock: HandClock
) -> None:
    full(directory, cloud)
    reopened = Directory.open(path, cloud.root.public, clock, GATEWAY)
    for one in (directory, reopened):
        view = one.catalog()
        assert view is not None
        assert view.digest == document_digest(cloud.catalog())
        assert view.body.materials[0].name_ne == "पेट बोतल"
        assert one.revoked(b"serial-01")
        assert one.revoked(b"serial-09")
        assert not one.revoked(b"serial-05")
        assert one.key_for(KeyUse.CARD)(cloud.card.key_id) == cloud.card.public
        assert one.key_for(KeyUse.ACK)(cloud.card.key_id) is None
        assert one.config() is not None
    assert [entry.name for entry in reopened.manifest()] == ["catalog", "config", "keys", "revocations"]
    stored = reopened.document("catalog")
    assert stored is not None
    assert stored.data == cloud.catalog()
    reopened.close()


def test_the_same_document_again_changes_nothing(directory: Directory, cloud: Cloud) -> None:
    full(directory, cloud)
    assert not directory.apply("catalog", cloud.catalog()).changed
    assert directory.apply("catalog", cloud.catalog(version=2)).changed


def test_an_older_version_is_refused_but_a_raised_generation_is_not(
    directory: Directory, cloud: Cloud
) -> None:
    full(directory, cloud)
    directory.apply("catalog", cloud.catalog(version=5))
    with pytest.raises(DocumentError) as older:
        directory.apply("catalog", cloud.catalog(version=4))
    with pytest.raises(DocumentError) as conflict:
        directory.apply("catalog", cloud.catalog(version=5, rate=99))
    assert (older.value.code, conflict.value.code) == ("document.older", "document.conflict")
    assert directory.digests()["catalog"] == document_digest(cloud.catalog(version=5))
    assert directory.apply("catalog", cloud.catalog(version=1, generation=2)).changed


def test_nothing_is_taken_that_the_right_key_did_not_sign(directory: Directory, cloud: Cloud) -> None:
    stranger = SigningKey.from_seed(b"x" * 32)
    with pytest.raises(SignatureError):
        directory.apply("catalog", cloud.catalog())  # its key is not announced yet
    full(directory, cloud)
    body = CatalogBody([Material("pet", "a", "b", "c", 9000, 1)], DAY_S)
    for key in (stranger, cloud.root, cloud.card):
        with pytest.raises(SignatureError):
            directory.apply("catalog", build_document("catalog", 9, 9, NOW_MS, body, key))
    with pytest.raises(DocumentError):
        directory.apply("config", cloud.catalog(version=7))
    assert directory.digests()["catalog"] == document_digest(cloud.catalog())


@pytest.mark.parametrize("flaw", ["twice", "serials", "unknown", "flipped"])
def test_a_signed_document_that_makes_no_sense_leaves_the_one_in_force(
    directory: Directory, cloud: Cloud, flaw: str
) -> None:
    full(directory, cloud)
    before = directory.digests()
    pet = Material("pet", "a", "b", "c", 25, 1)
    flawed = {
        "twice": ("catalog", CatalogBody([pet, pet], DAY_S)),
        "unknown": ("missions", CatalogBody([pet], DAY_S)),
        "flipped": ("catalog", CatalogBody([pet], DAY_S)),
    }
    if flaw == "serials":
        name, data = "revocations", cloud.revocations(b"short", version=2)
    else:
        name, body = flawed[flaw]
        data = build_document(name, 1, 2, NOW_MS, body, cloud.document)
    if flaw == "flipped":
        data = data[:40] + bytes([data[40] ^ 1]) + data[41:]
    with pytest.raises(ProtocolError):
        directory.apply(name, data)
    assert directory.digests() == before


def test_a_catalogue_grows_old_and_is_then_no_longer_fresh(
    directory: Directory, cloud: Cloud, clock: HandClock
) -> None:
    full(directory, cloud)
    clock.wall = NOW_MS + 7 * DAY_S * 1000
    assert fresh(directory)
    clock.wall += 1
    assert not fresh(directory)


def fresh(directory: Directory) -> bool:
    view = directory.catalog()
    assert view is not None
    return view.fresh


def test_a_clock_in_1970_does_not_make_an_old_catalogue_young(
    path: Path, cloud: Cloud, clock: HandClock
) -> None:
    clock.wall, clock.worth = 0, ClockQuality.UNKNOWN
    directory = full(Directory.open(path, cloud.root.public, clock, GATEWAY), cloud)
    assert fresh(directory)
    directory.trust_time(NOW_MS + 8 * DAY_S * 1000)
    assert not fresh(directory)
    directory.close()
    again = Directory.open(path, cloud.root.public, clock, GATEWAY)
    assert not fresh(again)
    again.close()


def test_time_that_passes_without_a_synced_clock_is_counted_on_the_monotonic_one(
    directory: Directory, cloud: Cloud, clock: HandClock
) -> None:
    full(directory, cloud)
    clock.wall, clock.worth = 0, ClockQuality.RESTORED
    clock.mono += 8 * DAY_S * 1000
    assert not fresh(directory)


def test_an_unsynced_clock_that_runs_ahead_costs_points_but_never_keys(
    directory: Directory, cloud: Cloud, clock: HandClock
) -> None:
    full(directory, cloud)
    clock.wall, clock.worth = NOW_MS + 4000 * DAY_S * 1000, ClockQuality.RTC
    assert not fresh(directory)
    assert directory.key_for(KeyUse.CARD)(cloud.card.key_id) == cloud.card.public


def test_a_key_whose_time_is_surely_over_is_not_given_out(
    directory: Directory, cloud: Cloud, clock: HandClock
) -> None:
    directory.apply("keys", cloud.keys(not_after_s=NOW_MS // 1000 + 10))
    assert directory.key_for_document()(cloud.document.key_id) == cloud.document.public
    clock.wall += 11_000
    assert directory.key_for_document()(cloud.document.key_id) is None


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "flipped"])
def test_a_damaged_file_is_set_aside_and_everything_is_asked_for_anew(
    path: Path, cloud: Cloud, clock: HandClock, damage: str
) -> None:
    full(Directory.open(path, cloud.root.public, clock, GATEWAY), cloud).close()
    data = bytearray(path.read_bytes())
    match damage:
        case "garbage":
            data[:] = b"not a database" * 500
        case "truncated":
            del data[5000:]
        case "empty":
            data.clear()
        case "flipped":
            at = data.index(cloud.catalog()) + 100
            data[at] ^= 4
    path.write_bytes(data)
    directory = Directory.open(path, cloud.root.public, clock, GATEWAY)
    assert directory.catalog() is None
    assert directory.rebuilt == (damage in {"garbage", "truncated"})
    full(directory, cloud)
    assert fresh(directory)
    directory.close()
    assert path.stat().st_mode & 0o777 == 0o600


_APPLIER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.edge.directory.signing_cloud import Cloud
from tests.edge.hand_clock import HandClock
from edge.directory import Directory
cloud = Cloud()
directory = Directory.open(Path(sys.argv[1]), cloud.root.public, HandClock(), "ktm-drop-01")
directory.apply("keys", cloud.keys())
for version in range(1, 100_000):
    directory.apply("catalog", cloud.catalog(version=version))
    print(version, flush=True)
"""


def test_a_kill_while_applying_leaves_the_old_or_the_new_one_whole(path: Path, cloud: Cloud) -> None:
    script = _APPLIER.format(root=os.getcwd())
    for stop_after in (1, 7, 30):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", script, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = [int(child.stdout.readline()) for _ in range(stop_after)]
            os.kill(child.pid, signal.SIGKILL)
            told += [int(line) for line in child.stdout if line.endswith("\n")]
        directory = Directory.open(path, cloud.root.public, HandClock(), "ktm-drop-01")
        view = directory.catalog()
        assert view is not None
        assert not directory.rebuilt
        assert view.digest in {document_digest(cloud.catalog(version=told[-1] + more)) for more in (0, 1)}
        directory.close()


@given(st.lists(st.binary(min_size=9, max_size=9), max_size=40), st.binary(min_size=9, max_size=9))
def test_exactly_the_listed_serials_are_revoked(listed: list[bytes], other: bytes) -> None:
    directory = Directory.__new__(Directory)
    directory._revoked = _sorted_serials(b"".join(listed))
    assert all(directory.revoked(serial) for serial in listed)
    assert directory.revoked(other) == (other in listed)


def test_a_gateway_is_not_lost_on_a_full_disk_because_opening_its_directory_writes_nothing(
    directory: Directory, path: Path, cloud: Cloud, clock: HandClock
) -> None:
    full(directory, cloud)
    directory.close()
    os.utime(path, (1, 1))
    reopened = Directory.open(path, cloud.root.public, clock, GATEWAY)
    try:
        assert reopened.catalog() is not None
        assert path.stat().st_mtime == 1
    finally:
        reopened.close()

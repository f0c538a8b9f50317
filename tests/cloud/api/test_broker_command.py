"""`reloop-cloud broker configure`: all that mosquitto needs, for it and us alone, again at any time."""

from __future__ import annotations

import getpass
import os
import pwd
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography import x509
from typer.testing import CliRunner

from cloud.__main__ import app
from cloud.errors import ConfigError
from cloud.kit.authority import SERVER_NAME, Authority
from cloud.kit.broker_folder import BrokerFolder
from cloud.kit.mosquitto import Doors
from tests.cloud.tls import now

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

FILES = {
    "acl",
    "doors.json",
    "gateways-ca.pem",
    "inside-ca.pem",
    "mosquitto.conf",
    "revoked.pem",
    "server.key",
    "server.pem",
}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELOOP_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def configure(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["broker", "configure", "--folder", str(folder), *options])


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_one_command_writes_all_for_its_owner_only(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "broker"
    done = configure(folder, "--address", "127.0.0.1", "--port", "9883", "--inside-port", "9884")
    assert done.exit_code == 0, done.output
    assert written(folder) == FILES
    assert {(folder / name).stat().st_mode & 0o777 for name in FILES} == {0o600}
    assert BrokerFolder(folder, None).doors() == Doors("127.0.0.1", 9883, 9884)
    authority = Authority.load_or_create(data / "keys" / "authority", now())
    leaf = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    leaf.verify_directly_issued_by(authority.issuer.certificate)
    (names,) = (each.value for each in leaf.extensions if isinstance(each.value, x509.SubjectAlternativeName))
    assert names.get_values_for_type(x509.DNSName) == [SERVER_NAME]


def test_again_keeps_who_is_revoked_and_a_certificate_that_is_good(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "broker"
    configure(folder)
    authority = Authority.load_or_create(data / "keys" / "authority", now())
    serial = x509.random_serial_number()
    (folder / "revoked.pem").write_bytes(authority.revocations({serial: now()}, now()))
    server = (folder / "server.pem").read_bytes()
    assert configure(folder, "--port", "9999").exit_code == 0
    listed = BrokerFolder(folder, None).revocations()
    assert listed is not None
    assert serial in {each.serial_number for each in listed}
    assert (folder / "server.pem").read_bytes() == server
    assert "listener 9999" in (folder / "mosquitto.conf").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can share with another user")
def test_another_user_reads_by_the_folders_group_and_writes_nothing(tmp_path: Path) -> None:
    folder, nobody = tmp_path / "broker", pwd.getpwnam("nobody")
    assert configure(folder, "--user", "nobody").exit_code == 0
    status = folder.stat()
    assert (status.st_mode & 0o7777, status.st_gid, status.st_uid) == (0o2750, nobody.pw_gid, os.geteuid())
    found = {name: (folder / name).stat() for name in FILES}
    assert {(each.st_mode & 0o777, each.st_gid) for each in found.values()} == {(0o640, nobody.pw_gid)}


@pytest.mark.parametrize(
    ("options", "says"), [(["--user", "no-such-user"], "install mosquitto"), (["--port", "0"], "")]
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: list[str], says: str) -> None:
    done = configure(tmp_path / "broker", *options)
    assert done.exit_code != 0
    assert says in done.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = configure(tmp_path / "file" / "broker")
    assert done.exit_code == 1
    assert "broker.folder" in done.output


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    configure(folder)
    with BrokerFolder(folder, None).locked() as mine:
        assert mine
        done = configure(folder)
    assert (done.exit_code, "broker.busy" in done.output) == (1, True)


def test_a_folder_nobody_configured_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="broker configure"):
        BrokerFolder(tmp_path, None).doors()
    (tmp_path / "doors.json").write_bytes(msgspec.json.encode({"address": getpass.getuser()}))
    with pytest.raises(ConfigError, match="broker configure"):
        BrokerFolder(tmp_path, None).doors()

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography import x509

from deploy.local.processes import free_port
from edge.identity import IdentityError, claim_by_bundle, claim_by_code, enrolled, load_identity
from protocol.bundle import Access, Broker, BundleError, write_bundle
from protocol.codes import gateway_code_secret, new_gateway_code
from protocol.enrolment import open_enrolment, proof_of
from protocol.errors import CodeError
from tests.edge.directory.signing_cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CODE = new_gateway_code(secrets.token_bytes)
CLOUD = Cloud()


def access(gateway: str = "ktm-drop-01") -> Access:
    broker = Broker("broker.test", 8883, "broker.reloop.internal", b"a root in DER")
    return Access(gateway, CLOUD.root.public, "https://cloud.test", broker, [CLOUD.keys(), CLOUD.catalog()])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "drop.bundle"
    path.write_bytes(write_bundle(CODE, access()))
    return path


Reply = tuple[int, bytes]


@pytest.fixture
def web() -> Iterator[Callable[[Callable[[dict[str, str]], Reply]], str]]:
    """A real web server whose answer to a claim the test chooses."""
    with contextlib.ExitStack() as stack:

        def serve(answer: Callable[[dict[str, str]], Reply]) -> str:
            class Claims(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    body = self.rfile.read(int(self.headers["content-length"]))
                    status, data = answer(json.loads(body) | {"path": self.path})
                    self.send_response(status)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

                def log_message(self, format: str, *args: object) -> None:
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Claims)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


def by_bundle(folder: Path, bundle: Path) -> Access:
    return claim_by_bundle(folder, bundle, secrets.token_bytes)


def by_code(folder: Path, url: str, code: str = CODE) -> Access:
    return claim_by_code(folder, url, code, secrets.token_bytes)


def test_who_was_never_claimed_is_nobody(folder: Path) -> None:
    assert load_identity(folder) is None


def test_a_bundle_makes_a_gateway_with_a_key_of_its_own(folder: Path, bundle: Path) -> None:
    granted = by_bundle(folder, bundle)
    known = load_identity(folder)
    assert known is not None
    identity, key = known
    assert (granted.gateway, identity.gateway) == ("ktm-drop-01", "ktm-drop-01")
    assert identity.mqtt == granted.mqtt
    assert (folder / "gateway.key").read_bytes() not in bundle.read_bytes()
    enrolment = open_enrolment(identity.enrolment(key, b"a request"))
    assert enrolment.csr == b"a request"
    assert enrolment.public_key == key.public
    assert enrolment.proof == proof_of("ktm-drop-01", key.public, gateway_code_secret(CODE))


def test_secrets_are_readable_by_the_agent_only(folder: Path, bundle: Path) -> None:
    before = os.umask(0)
    try:
        by_bundle(folder, bundle)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_the_secret_is_forgotten_once_the_cloud_knows_the_key(folder: Path, bundle: Path) -> None:
    by_bundle(folder, bundle)
    known = load_identity(folder)
    assert known is not None
    enrolled(folder, known[0])
    again = load_identity(folder)
    assert again is not None
    assert again[0].enrolment_secret is None
    assert open_enrolment(again[0].enrolment(again[1])).public_key == known[1].public
    assert 'enrolment_secret": null' in (folder / "identity.json").read_text()


def test_the_same_bundle_twice_keeps_the_key(folder: Path, bundle: Path) -> None:
    by_bundle(folder, bundle)
    key = (folder / "gateway.key").read_bytes()
    by_bundle(folder, bundle)
    assert (folder / "gateway.key").read_bytes() == key


def test_another_gateways_bundle_is_refused_and_changes_nothing(folder: Path, bundle: Path) -> None:
    by_bundle(folder, bundle)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bundle.write_bytes(write_bundle(CODE, access("ktm-drop-02")))
    with pytest.raises(IdentityError, match="ktm-drop-01 already") as caught:
        by_bundle(folder, bundle)
    assert caught.value.code == "identity.claimed"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["cut", "flipped document", "no json", "too large", "absent", "folder"])
def test_a_bundle_that_cannot_be_used_leaves_no_identity(folder: Path, bundle: Path, damage: str) -> None:
    data = bundle.read_bytes()
    match damage:
        case "cut":
            bundle.write_bytes(data[: len(data) // 2])
        case "flipped document":
            forged = access()
            forged.documents[1] = forged.documents[1][:-1] + bytes([forged.documents[1][-1] ^ 1])
            value = json.loads(data)
            value["access"] = json.loads(msgspec.json.encode(forged))
            bundle.write_text(json.dumps(value))
        case "no json":
            bundle.write_bytes(b"\x89PNG\r\n")
        case "too large":
            bundle.write_bytes(b" " * (8 * 1024 * 1024 + 1))
        case "absent":
            bundle.unlink()
        case _:
            bundle.unlink()
            bundle.mkdir()
    with pytest.raises((BundleError, IdentityError)) as caught:
        by_bundle(folder, bundle)
    assert isinstance(caught.value, (BundleError, IdentityError))
    assert caught.value.code.split(".")[0] in {"bundle", "identity"}
    assert load_identity(folder) is None
    assert not (folder / "gateway.key").exists()


def test_a_claim_online_sends_the_public_key_and_keeps_what_comes(
    folder: Path, web: Callable[[Callable[[dict[str, str]], Reply]], str]
) -> None:
    asked: list[dict[str, str]] = []

    def answer(body: dict[str, str]) -> Reply:
        asked.append(body)
        return 200, msgspec.json.encode(access())

    assert by_code(folder, web(answer) + "/").gateway == "ktm-drop-01"
    known = load_identity(folder)
    assert known is not None
    assert known[0].enrolment_secret is None
    assert asked[0]["path"] == "/v1/gateways/claim"
    assert asked[0]["code"] == CODE
    assert known[1].public == base64.b64decode(asked[0]["public_key"])
    request = x509.load_der_x509_csr(base64.b64decode(asked[0]["csr"]))
    assert request.is_signature_valid
    assert list(request.subject) == []


def test_a_claim_whose_answer_was_lost_is_repeated_with_the_same_key(
    folder: Path, web: Callable[[Callable[[dict[str, str]], Reply]], str]
) -> None:
    keys: list[str] = []

    def answer(body: dict[str, str]) -> Reply:
        keys.append(body["public_key"])
        return (502, b"") if len(keys) == 1 else (200, msgspec.json.encode(access()))

    url = web(answer)
    with pytest.raises(IdentityError):
        by_code(folder, url)
    assert load_identity(folder) is None
    by_code(folder, url)
    assert keys[0] == keys[1]


def test_a_second_claim_is_refused_before_anybody_is_asked(folder: Path, bundle: Path) -> None:
    by_bundle(folder, bundle)
    with pytest.raises(IdentityError) as caught:
        by_code(folder, f"http://127.0.0.1:{free_port()}")
    assert caught.value.code == "identity.claimed"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        ((403, b'{"code": "gateway.code", "detail": "this code is used up"}'), "identity.refused", "used up"),
        ((404, b"<html>nothing here</html>"), "identity.refused", "404"),
        ((200, b"<html>please log in</html>"), "bundle.malformed", "cannot be read"),
        ((200, b'{"gateway": "ktm-drop-01"}'), "bundle.malformed", "cannot be read"),
    ],
)
def test_a_refusal_is_said_with_the_clouds_words(
    folder: Path, web: Callable[[Callable[[dict[str, str]], Reply]], str], reply: Reply, code: str, words: str
) -> None:
    with pytest.raises((IdentityError, BundleError), match=words) as caught:
        by_code(folder, web(lambda _: reply))
    assert isinstance(caught.value, (BundleError, IdentityError))
    assert caught.value.code == code
    assert load_identity(folder) is None


@pytest.mark.parametrize(
    ("url", "code"),
    [("", "identity.no_cloud"), ("cloud.test", "identity.offline"), ("http://[::", "identity.offline")],
)
def test_an_address_that_is_none_is_said(folder: Path, url: str, code: str) -> None:
    with pytest.raises(IdentityError) as caught:
        by_code(folder, url)
    assert caught.value.code == code


def test_offline_the_message_names_the_bundle(folder: Path) -> None:
    with pytest.raises(IdentityError, match="--bundle") as caught:
        by_code(folder, f"http://127.0.0.1:{free_port()}")
    assert caught.value.code == "identity.offline"


def test_a_mistyped_code_is_said_before_a_key_is_made(folder: Path) -> None:
    with pytest.raises(CodeError):
        by_code(folder, "http://127.0.0.1:1", "7K3M-9QXT")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["identity.json", "gateway.key"])
def test_damage_is_said_and_never_taken_for_unclaimed(folder: Path, bundle: Path, name: str) -> None:
    by_bundle(folder, bundle)
    (folder / name).write_bytes(b"\0" * 5)
    with pytest.raises(IdentityError, match="backup") as caught:
        load_identity(folder)
    assert caught.value.code == "identity.damaged"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IdentityError) as caught:
        by_bundle(tmp_path / "file" / "data", bundle)
    assert caught.value.code in {"identity.unkept", "identity.unread"}

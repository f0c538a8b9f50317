"""A real mosquitto with the configuration and certificates we generate, and raw paho clients to attack it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.kit.authority import Authority, Pair
from cloud.kit.mosquitto import Doors, configuration
from cloud.worker.broker_files import access_rules
from deploy.local.processes import Process, free_port, listening, wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CLOUD = "cloud"
WAIT_S = 20.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def now() -> datetime:
    """Now, as certificates want it."""
    return datetime.now(UTC)


def request(names: str = "whoever") -> tuple[bytes, bytes]:
    """A new key (PEM) and its certificate request (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, csr.public_bytes(Encoding.DER)


def serial_of(chain: bytes) -> int:
    """The serial number of a chain's first certificate."""
    return x509.load_pem_x509_certificate(chain).serial_number


class Arena:
    """The broker. `revoke` and `reload` are what the cloud does when a gateway is revoked."""

    def __init__(self, folder: Path, rules: str | None = None, without: str | tuple[str, ...] = "\0") -> None:
        """`rules` in place of ours and a setting left away are for planting faults."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority.load_or_create(folder / "ca", now())
        self.doors = Doors("127.0.0.1", free_port(), free_port())
        self._revoked: dict[int, datetime] = {}
        self._listed: datetime | None = None
        self._without = without
        self._write(access_rules(CLOUD) if rules is None else rules)
        mosquitto = shutil.which("mosquitto", path=_PATH) or "mosquitto"
        command = [mosquitto, "-c", str(folder / "mosquitto.conf")]
        self.process = Process("broker", command, folder / "broker.log")

    def __enter__(self) -> Arena:
        self.process.start()
        self.process.await_ready(lambda: listening(self.doors.port) and listening(self.doors.inside_port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    def _write(self, rules: str) -> None:
        key, chain = self.authority.server_certificate(now())
        files = {
            "acl": rules.encode(),
            "gateways-ca.pem": self.authority.trusted_pem,
            "inside-ca.pem": self.authority.inside.pem,
            "server.key": key,
            "server.pem": chain,
            "revoked.pem": self._list(),
            "mosquitto.conf": self._configuration().encode(),
        }
        for name, data in files.items():
            (self.folder / name).touch(0o600)
            (self.folder / name).write_bytes(data)

    def _configuration(self) -> str:
        lines = configuration(self.folder, self.doors, getpass.getuser()).splitlines()
        return "\n".join(line for line in lines if not line.startswith(self._without)) + "\n"

    def _list(self) -> bytes:
        data = self.authority.revocations(self._revoked, now(), self._listed)
        self._listed = x509.load_pem_x509_crl(data).last_update_utc
        return data

    def revoke(self, *serials: int) -> None:
        """Renew the list and have the broker read it; returns once it turns a canary away that is on it, too.

        Raises TimeoutError. A canary has its own name: whoever still got in would take a session's place.
        """
        key, csr = request()
        canary = self.authority.gateway_certificate(csr, "canary-in-the-mine", now())
        self._revoked |= dict.fromkeys((*serials, serial_of(canary)), now())
        (self.folder / "revoked.pem").write_bytes(self._list())
        os.kill(self.process.pid, signal.SIGHUP)
        wait_until(lambda: not self._lets_in(key, canary), WAIT_S, "the revocation list is read")

    def _lets_in(self, key: bytes, chain: bytes) -> bool:
        caller = self.caller("", key, chain)
        try:
            return caller.connect()
        finally:
            caller.close()

    def gateway(self, name: str, **options: Any) -> Caller:
        """A gateway's client, with a certificate as it would get one."""
        key, csr = request()
        chain = self.authority.gateway_certificate(csr, name, now())
        return self.caller(name, key, chain, **options)

    def evict(self, name: str) -> None:
        """Take the place of a gateway's session, and leave."""
        pair = self.authority.eviction_certificate(name, now())
        with self.caller(name, pair.key_pem, pair.pem + self.authority.issuer.pem):
            pass

    def cloud(self, **options: Any) -> Caller:
        """The cloud's client, by its own door."""
        pair: Pair = self.authority.cloud_certificate(CLOUD, now())
        return self.caller("", pair.key_pem, pair.pem, port=self.doors.inside_port, **options)

    def caller(self, client_id: str, key: bytes, chain: bytes, **options: Any) -> Caller:
        """Whoever has this key and chain (none if empty)."""
        resume = options.pop("resume", None)
        if resume is not None:
            return Caller(client_id, Resuming(*resume), options.pop("port", self.doors.port), **options)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = options.pop("tls", ssl.TLSVersion.TLSv1_3)
        context.check_hostname = False  # the attackers do not care whom they talk to
        context.load_verify_locations(cadata=self.authority.root.pem.decode())
        if key:
            serial = os.urandom(8).hex()
            path = self.folder / f"{serial}.pem"
            path.touch(0o600)
            path.write_bytes(key + chain)
            context.load_cert_chain(path)
            path.unlink()
        return Caller(client_id, context, options.pop("port", self.doors.port), **options)


class Resuming:
    """A context that takes up a TLS session of an earlier connection."""

    check_hostname = True  # paho: nothing is left to be checked

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        self._context, self._session = context, session

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        """As the context does, with the session."""
        return self._context.wrap_socket(sock, session=self._session, **options)


@dataclass(slots=True)
class Caller:
    """A raw MQTT client on a thread of its own. `heard` is what was delivered to it: (topic, payload)."""

    client_id: str
    context: ssl.SSLContext | Resuming
    port: int
    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
    will: tuple[str, bytes, bool] | None = None
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    """Reason code by message id, of publishes and subscriptions."""
    reason: int | None = None
    gone: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Event = field(default_factory=threading.Event)
    _client: Client | None = None

    def connect(self) -> bool:
        """Whether the broker let us in."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            self.client_id,
            clean_session=None if self.version is MQTTProtocolVersion.MQTTv5 else True,
            protocol=self.version,
            reconnect_on_failure=False,
        )
        self._client = client
        client.tls_set_context(cast("ssl.SSLContext", self.context))
        if self.will is not None:
            client.will_set(self.will[0], self.will[1], 1, retain=self.will[2])
        client.on_connect = self._connected
        client.on_disconnect = lambda *_: self._lost()
        client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        client.on_publish = lambda _c, _u, mid, code, _p: self.refused.update({mid: code.value})
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self.refused.update({mid: codes[0].value})
        try:
            client.connect("127.0.0.1", self.port, keepalive=60)
        except OSError:
            return False
        client.loop_start()
        self._answered.wait(WAIT_S)
        return self.reason == 0

    def __enter__(self) -> Caller:
        if not self.connect():
            raise ConnectionError(f"{self.client_id} was not let in: {self.reason}")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What a later connection may try to take up."""
        assert self._client is not None
        sock: Any = self._client.socket()
        session: ssl.SSLSession | None = sock.session
        return session

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()

    def vanish(self) -> None:
        """Be gone without a word, so that the broker says our last will."""
        client = self._client
        assert client is not None
        sock: Any = client.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """The reason code of the PUBACK; None if we are gone."""
        assert self._client is not None
        return self._code(self._client.publish(topic, payload, 1, retain).mid)

    def subscribe(self, topic: str) -> int | None:
        """The reason code of the SUBACK; None if we are gone."""
        assert self._client is not None
        _, mid = self._client.subscribe(topic, 1)
        return None if mid is None else self._code(mid)

    def await_heard(self, payload: bytes, what: str) -> None:
        """Wait until this payload was delivered. Raises TimeoutError."""
        wait_until(lambda: any(each == payload for _, each in list(self.heard)), WAIT_S, what)

    def _code(self, mid: int) -> int | None:
        wait_until(lambda: mid in self.refused or self.gone.is_set(), WAIT_S, f"{self.client_id}: an answer")
        return self.refused.pop(mid, None)

    def _connected(self, _client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self.reason = code.value
        self._answered.set()

    def _lost(self) -> None:
        self.gone.set()
        self._answered.set()


VERSIONS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}

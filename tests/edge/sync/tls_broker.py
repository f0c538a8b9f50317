"""A real mosquitto that asks for certificates, and its cloud's authority: for the gateway's side of TLS."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.kit.authority import SERVER_NAME, Authority
from cloud.kit.mosquitto import Doors, configuration
from deploy.local.processes import Process, free_port, listening
from edge.clock import SystemClock
from edge.sync.credentials import Credentials
from edge.tlskey import TlsKey, keep_tls_key
from protocol.bundle import Broker

if TYPE_CHECKING:
    from pathlib import Path

    from edge.clock import Clock

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
RULES = """\
user cloud
topic readwrite reloop/v1/#
pattern write reloop/v1/%u/up
pattern write reloop/v1/%u/status
pattern read reloop/v1/%u/ack
pattern read reloop/v1/%u/doc/+
"""


def now() -> datetime:
    return datetime.now(UTC)


class Papers:
    """The cloud's authority, and what it hands out. `gateway` is the one it knows."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.folder = folder
        self.gateway = gateway
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority.load_or_create(folder / "ca", now())
        self.key = keep_tls_key(folder, secrets.token_bytes)

    @property
    def broker(self) -> Broker:
        """As a claim would tell of it."""
        return Broker(
            "127.0.0.1", 8883, SERVER_NAME, self.authority.root.certificate.public_bytes(Encoding.DER)
        )

    def certificates(self, *, ago: timedelta = timedelta(), key: TlsKey | None = None) -> list[bytes]:
        """A chain for the gateway's key, as its `config` would hold it."""
        request = (key or self.key).request()
        chain = self.authority.gateway_certificate(request, self.gateway, now() - ago)
        return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(chain)]

    def credentials(
        self,
        certificates: list[bytes] | None = None,
        *,
        clock: Clock | None = None,
        broker: Broker | None = None,
        earliest_ms: int | None = None,
    ) -> Credentials:
        """How a gateway with these certificates stands; with good ones if none are given."""
        held = self.certificates() if certificates is None else certificates
        clock = clock or SystemClock()
        return Credentials(
            broker or self.broker,
            self.key,
            lambda: held,
            clock,
            clock.wall_ms,
            earliest_ms=lambda: earliest_ms,
        )

    def server(self, *, ago: timedelta = timedelta()) -> ssl.SSLContext:
        """For a broker of the test's own; it asks for certificates as the real one does."""
        key, chain = self.authority.server_certificate(now() - ago)
        (self.folder / "one-server.pem").write_bytes(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "one-server.pem")
        context.load_verify_locations(cadata=self.authority.trusted_pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class TlsBroker(Papers):
    """The broker, listening while it is started."""

    def __init__(self, folder: Path, gateway: str) -> None:
        super().__init__(folder, gateway)
        self.doors = Doors("127.0.0.1", free_port(), free_port())
        self.rules = RULES
        self.message_bytes_max: int | None = None
        self.revoked: dict[int, datetime] = {}
        mosquitto = shutil.which("mosquitto", path=_PATH)
        assert mosquitto, "the package mosquitto is needed"
        self.process = Process(
            "broker", [mosquitto, "-c", str(folder / "mosquitto.conf")], folder / "broker.log"
        )

    @property
    def port(self) -> int:
        """Where gateways come in."""
        return self.doors.port

    def start(self) -> None:
        """Write what it reads, start, and wait until it listens."""
        key, chain = self.authority.server_certificate(now())
        files = {
            "acl": self.rules.encode(),
            "gateways-ca.pem": self.authority.trusted_pem,
            "inside-ca.pem": self.authority.inside.pem,
            "server.key": key,
            "server.pem": chain,
            "revoked.pem": self.authority.revocations(self.revoked, now()),
            "mosquitto.conf": self._configuration().encode(),
        }
        for name, data in files.items():
            (self.folder / name).touch(0o600)
            (self.folder / name).write_bytes(data)
        self.process.start()
        self.process.await_ready(lambda: listening(self.doors.port) and listening(self.doors.inside_port))

    def restart(self) -> None:
        """With whatever was changed."""
        self.process.kill()
        self.start()

    def revoke(self, certificates: list[bytes]) -> None:
        """Turn a gateway's certificate away from now on."""
        self.revoked[x509.load_der_x509_certificate(certificates[0]).serial_number] = now()
        self.restart()

    def _configuration(self) -> str:
        text = configuration(self.folder, self.doors, getpass.getuser())
        if self.message_bytes_max is None:
            return text
        lines = text.splitlines()
        limits = [f"message_size_limit {self.message_bytes_max}"]
        return (
            "\n".join([*(one for one in lines if not one.startswith("message_size_limit")), *limits]) + "\n"
        )

    def inside(self) -> aiomqtt.Client:
        """The cloud's own client."""
        pair = self.authority.cloud_certificate("cloud", now())
        return self._caller(pair.key_pem + pair.pem, self.doors.inside_port)

    def twin(self) -> aiomqtt.Client:
        """A copy of the gateway's card."""
        chain = b"".join(
            x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in self.certificates()
        )
        return self._caller(self.key.pem + chain, self.doors.port)

    def _caller(self, pem: bytes, port: int) -> aiomqtt.Client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.authority.root.pem.decode())
        file = self.folder / f"{secrets.token_hex(8)}.pem"
        file.touch(0o600)
        file.write_bytes(pem)
        context.load_cert_chain(file)
        file.unlink()
        five = aiomqtt.ProtocolVersion.V5
        return aiomqtt.Client("127.0.0.1", port, tls_context=context, protocol=five)

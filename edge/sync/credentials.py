"""Mutual TLS with the broker: we know it by one pinned root and one name, it knows us by our certificate.

The certificate comes with the `config` document and the key never leaves us. Owns the contexts for
connections and the word on how we stand; does not own getting a certificate (the enrolment asks for it).
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from edge.sync.roads import BrokerUnknown, CertificateRefused, RoadError, RoadRefused
from edge.sync.trust import mind_dates

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.tlskey import TlsKey
    from protocol.bundle import Broker

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
_ABOUT_US = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")
"""In the names of the alerts with which a broker turns a certificate away."""
WAITING = "the broker lets us in with a certificate only; ours comes over HTTPS or with a courier's answer"


class BrokerContext(ssl.SSLContext):
    """A context for one connection, which expects a name of its own and remembers what TLS said last."""

    server_name = ""
    silence_s_max = 10.0
    """In the handshake; whoever made the socket may have meant another limit."""
    failure: ssl.SSLError | None = None
    _opened: ssl.SSLSocket | None = None

    def wrap_socket(self, sock: Any, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As its parent's, whatever host was called: a broker may move, its name does not."""
        self._opened = super().wrap_socket(sock, *args, **options | {"server_hostname": self.server_name})
        return self._opened

    def give_up(self) -> None:
        """End a handshake that another thread waits for."""
        if self._opened is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._opened, socket.SHUT_RDWR)


class _Socket(ssl.SSLSocket):
    """Keeps an alert for us: the MQTT library turns it into words, or into mere silence.

    Only a `BrokerContext` makes one.
    """

    def do_handshake(self, block: bool = False) -> None:
        """As its parent's; who failed is closed, which nobody else would do."""
        try:
            self.settimeout(cast("BrokerContext", self.context).silence_s_max)
            super().do_handshake(block)
        except OSError as error:
            self._remember(error)
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """With TLS 1.3 the broker's judgement of our certificate is the first thing to be read."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self._remember(error)
            raise

    def _remember(self, error: OSError) -> None:
        waiting = isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)
        if isinstance(error, ssl.SSLError) and not waiting:
            cast("BrokerContext", self.context).failure = error


class Credentials:
    """How this gateway stands with the broker.

    `certificates` gives the chain in force (DER, our own first), `surely_ms` the time it surely is,
    `earliest_ms` how late it is at least by what the cloud signed (None: it never did).
    """

    def __init__(
        self,
        broker: Broker,
        key: TlsKey,
        certificates: Callable[[], list[bytes]],
        clock: Clock,
        surely_ms: Callable[[], int],
        *,
        earliest_ms: Callable[[], int | None],
    ) -> None:
        self.key = key
        self._broker = broker
        self._certificates = certificates
        self._clock = clock
        self._surely_ms = surely_ms
        self._earliest_ms = earliest_ms
        self._read: tuple[list[bytes], list[x509.Certificate]] = ([], [])
        self._refusal: tuple[str, list[x509.Certificate]] = ("", [])

    def waits_for(self) -> str:
        """Why the broker need not be asked yet, for people; empty once we hold a certificate."""
        return "" if self._chain() else WAITING

    def word(self) -> str:
        """How we stand, for the status command."""
        chain = self._chain()
        if not chain:
            return "asked for"
        refusal, of = self._refusal
        if refusal and of is chain:
            return f"refused: {refusal}"
        end = chain[0].not_valid_after_utc
        over = end < datetime.fromtimestamp(self._surely_ms() / 1000, UTC)
        return f"{'expired on' if over else 'valid until'} {end:%Y-%m-%d}"

    def context(self) -> BrokerContext:
        """For a connection that begins now; its dates count only while our clock can tell them.

        Raises RoadRefused without a certificate, or if what the claim brought cannot be used.
        """
        chain = self._chain()
        if not chain:
            raise RoadRefused(WAITING)
        context = BrokerContext(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = _Socket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.server_name = self._broker.server_name
        try:
            context.load_verify_locations(cadata=self._broker.root_certificate)
        except (ssl.SSLError, ValueError) as error:
            raise BrokerUnknown(
                f"the broker's root certificate cannot be used: {error}; claim anew"
            ) from error
        try:
            _show(context, self.key.pem + b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        except ssl.SSLError as error:
            raise CertificateRefused(f"our own certificate cannot be used: {error}") from error
        mind_dates(context, self._clock, self._earliest_ms())
        return context

    def accepted(self) -> None:
        """The broker let us in."""
        self._refusal = ("", [])

    def problem(self, context: BrokerContext, error: Exception) -> RoadError:
        """What a failed connection means, if it was TLS that failed."""
        failure = context.failure
        reason = (failure.reason or str(failure)).replace("_", " ").lower() if failure else ""
        if isinstance(failure, ssl.SSLCertVerificationError):
            return BrokerUnknown(f"the broker is not who it should be: {failure.verify_message}")
        if failure and "alert" in reason and any(word in (failure.reason or "") for word in _ABOUT_US):
            self._refusal = (reason.partition("alert ")[2], self._chain())
            return CertificateRefused(f"the broker refuses our certificate: {self._refusal[0]}")
        return RoadError(f"no connection to the broker: {reason or error}")

    def _chain(self) -> list[x509.Certificate]:
        """Parsed once for each config; empty if the first is for another key than ours."""
        offered = self._certificates()
        if offered is not self._read[0]:
            self._read = (offered, self._parsed(offered))
        return self._read[1]

    def _parsed(self, offered: list[bytes]) -> list[x509.Certificate]:
        try:
            chain = [x509.load_der_x509_certificate(one) for one in offered]
            return chain if chain and self.key.fits(chain[0]) else []
        except _UNREADABLE:  # the cloud signed what is no certificate: ask for another
            return []


def _show(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its key and chain, by a file in memory: a full disk must not keep us from the broker."""
    with os.fdopen(os.memfd_create("credentials"), "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")

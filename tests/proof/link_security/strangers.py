"""Certificates that must not open the door: each is tried once, and a peer who is there must not notice."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cloud.kit.authority import Authority
from tests.proof.link_security.arena import WAIT_S, Arena, Caller, now, request, serial_of
from tests.proof.row import Part, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PEER = "drop-point-99"
_LONG = timedelta(days=400)
_REFUSED = 0x80


def _certified(arena: Arena, authority: Authority, name: str, at: datetime) -> Caller:
    key, csr = request()
    return arena.caller(name, key, authority.gateway_certificate(csr, name, at))


def _expired(arena: Arena) -> bool:
    return _certified(arena, arena.authority, _PEER, now() - _LONG).connect()


def _not_yet(arena: Arena) -> bool:
    return _certified(arena, arena.authority, _PEER, now() + _LONG).connect()


def _foreign(arena: Arena) -> bool:
    foreign = Authority.load_or_create(arena.folder / "foreign", now())
    return _certified(arena, foreign, _PEER, now()).connect()


def _missing(arena: Arena) -> bool:
    return arena.caller(_PEER, b"", b"").connect()


def _at_the_cloud_s_door(arena: Arena) -> bool:
    key, csr = request()
    chain = arena.authority.gateway_certificate(csr, "cloud", now())
    return arena.caller("cloud", key, chain, port=arena.doors.inside_port).connect()


def _with_the_broker_s_own(arena: Arena) -> bool:
    key, chain = arena.authority.server_certificate(now())
    return arena.caller(_PEER, key, chain).connect()


def _wild(name: str) -> Callable[[Arena], bool]:
    """A name with a wildcard, if it ever were certified, opens no topic."""

    def attempt(arena: Arena) -> bool:
        with arena.cloud() as cloud:
            for lane in ("up", "status"):
                cloud.subscribe(f"reloop/v1/+/{lane}")
            stranger = _certified(arena, arena.authority, name, now())
            if not stranger.connect():
                return False
            stranger.subscribe(f"reloop/v1/{_PEER}/ack")
            stranger.publish(f"reloop/v1/{_PEER}/up", b"forged")
            stranger.publish(f"reloop/v1/{name.strip('#+/') or 'x'}/up", b"forged")
            cloud.publish(f"reloop/v1/{_PEER}/ack", b"secret")
            with arena.gateway("drop-point-98") as honest:
                honest.publish("reloop/v1/drop-point-98/up", b"honest")
                cloud.await_heard(b"honest", "an honest gateway is heard")
            forged = any(payload == b"forged" for _, payload in cloud.heard)
            crossed = forged or bool(stranger.heard)
            stranger.close()
            return crossed

    return attempt


def _under_another_s_name(arena: Arena) -> bool:
    """Our own certificate, a neighbour's client id: we come in as ourselves, the neighbour stays."""
    key, csr = request()
    chain = arena.authority.gateway_certificate(csr, "drop-point-97", now())
    with arena.caller(_PEER, key, chain) as thief:
        code = thief.publish(f"reloop/v1/{_PEER}/up", b"as another")
        return code is None or code < _REFUSED


def _revoked(arena: Arena) -> bool:
    """Neither an open session nor a new one is left to a revoked certificate; the next one serves."""
    name = "drop-point-96"
    key, csr = request()
    chain = arena.authority.gateway_certificate(csr, name, now())
    with arena.caller(name, key, chain) as session:
        arena.revoke(serial_of(chain))
        arena.evict(name)
        dropped = session.gone.wait(WAIT_S)
    back = arena.caller(name, key, chain).connect()
    with arena.gateway(name):
        return back or not dropped


def _revoked_in_a_hurry(arena: Arena) -> bool:
    """Lists made within one second: each counts. Three, so that two of them surely share a second."""
    made = []
    for number in range(3):
        key, csr = request()
        made.append((key, arena.authority.gateway_certificate(csr, f"in-a-hurry-{number}", now())))
    for _, chain in made:
        arena.revoke(serial_of(chain))
    return any(arena.caller("", key, chain).connect() for key, chain in made)


def _resumed(arena: Arena) -> bool:
    """A TLS session from before the revocation is not taken up again, in neither version of TLS."""
    back = False
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        key, csr = request()
        chain = arena.authority.gateway_certificate(csr, "drop-point-92", now())
        with arena.caller("", key, chain, tls=version) as first:
            earlier = (first.context, first.tls_session)
        arena.revoke(serial_of(chain))
        back = back or arena.caller("", b"", b"", resume=earlier).connect()
    return back


def _too_large(arena: Arena) -> bool:
    """A packet over the limit ends its sender's session, nobody else's, and reaches nobody."""
    with arena.cloud() as cloud, arena.gateway("drop-point-93") as giant:
        cloud.subscribe("reloop/v1/+/up")
        giant.publish("reloop/v1/drop-point-93/up", bytes(1024 * 1024))
        with arena.gateway("drop-point-98") as honest:
            honest.publish("reloop/v1/drop-point-98/up", b"after the giant")
            cloud.await_heard(b"after the giant", "an honest gateway is heard")
        return any(len(payload) > 200_000 for _, payload in cloud.heard)


CASES: dict[str, Callable[[Arena], bool]] = {
    "expired": _expired,
    "not-yet-valid": _not_yet,
    "foreign": _foreign,
    "missing": _missing,
    "at-the-cloud's-door": _at_the_cloud_s_door,
    "the-broker's-own": _with_the_broker_s_own,
    "wild-plus": _wild("+"),
    "wild-hash": _wild("#"),
    "wild-slash": _wild("drop-point-99/x"),
    "another's-name": _under_another_s_name,
    "revoked": _revoked,
    "revoked-in-a-hurry": _revoked_in_a_hurry,
    "resumed": _resumed,
    "too-large": _too_large,
}
STRANGERS = len(CASES)


def check_strangers(arena: Arena, cases: Mapping[str, Callable[[Arena], bool]] = CASES) -> Part:
    """Try every case while a peer is connected: True from a case means that it got what it must not."""
    violations: list[Violation] = []
    with arena.gateway(_PEER) as peer:
        for name, attempt in cases.items():
            try:
                if attempt(arena):
                    violations.append(Violation("strangers", f"{name}: it was let in, heard, or left in"))
            except (TimeoutError, ConnectionError) as error:
                violations.append(Violation("strangers", f"{name}: {error}"))
            if peer.gone.is_set():
                violations.append(Violation("strangers", f"{name}: the peer was thrown off"))
                break
    return Part(len(cases), violations)

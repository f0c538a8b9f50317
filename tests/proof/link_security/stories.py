"""A whole town against strangers: real agents and a real cloud; revocations, forged acks, floods at the door.

What must hold: a revoked gateway is out within a minute, nothing of it counts afterwards, its kiosk closes,
and what it had saved by then counts once it is reinstated; only the cloud's own word frees an outbox; whoever
knocks, however often, keeps nobody else from delivering.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cloud.kit.authority import Authority
from cloud.kit.broker_door import CLOUD, BrokerContext, broker_context, gateway_context
from cloud.kit.keyring import Keyring
from deploy.local.processes import wait_until
from deploy.local.stack import command
from protocol import VERSION
from protocol.acks import Ack, Echo, Verdict, build_ack
from protocol.cose import SigningKey
from protocol.topics import Lane, topic
from tests.proof.link_security.arena import Caller
from tests.proof.processes.town import FAILURES, Kept, open_town
from tests.proof.row import Part, Violation
from tests.system.exports import credited_by, weighings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.stack import Site
    from tests.proof.processes.town import Town
    from tests.proof.row import Tick

OUT_S = 60.0
"""A revoked gateway's session is gone at the latest this long after the operator said so."""
AFTERWARDS_S = 6.0
"""How long is watched that nothing of a revoked gateway counts any more."""
FLOOD_S = 5.0
CLOSED_S = 180.0
"""A kiosk has closed or opened this long after the operator said so: who is refused asks slowly."""
_IDLE = 400
_KNOCKERS = 4
_WAIT_S = 60.0
_ROADS = (("mqtt", "https"), ("mqtt",))
_FORGED = ("a stranger's", "a neighbour's", "another epoch's", "a bent one", "no ack at all")
_FLOODS = ("flood of one certificate", "flood of none")
CASES = ("revoked here", "revoked elsewhere", *_FORGED, *_FLOODS, "closed here", "closed elsewhere",
         "reinstated", "the rest")  # fmt: skip


@dataclass(slots=True)
class Stories:
    """What goes on in one town, with four sites: two with HTTPS are revoked, one hears forged acks."""

    town: Town
    count: int = 0
    violations: list[Violation] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    acked: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Everything, one after the other."""
        first, deceived, second, bystander = sorted(self.town.stack.sites, key=lambda site: site.name)
        for site in self.town.stack.sites:
            wait_until(lambda site=site: site.status()["acked"] >= 3, _WAIT_S, f"{site.name} delivers")  # type: ignore[misc]
        self._try("acks", lambda: self.forged(deceived, first))
        self._try(CASES[0], lambda: self.revoked(first, bystander, {}, "revoked_s_max"))
        self._try(CASES[1], lambda: self.revoked(second, bystander, _ELSEWHERE, "revoked_elsewhere_s_max"))
        self._try("closed here", lambda: self.closed(first))
        self._try("reinstated", lambda: self.reinstate(first))
        self._try(_FLOODS[0], lambda: self.flooded(bystander, self._same_certificate))
        self._try(_FLOODS[1], lambda: self.flooded(bystander, self._nobody))
        self._try("closed elsewhere", lambda: self.closed(second))
        self._try("open again", lambda: self.opened(first))
        self._try(CASES[-1], self.the_rest)

    def _try(self, case: str, story: Callable[[], None]) -> None:
        try:
            story()
        except FAILURES as error:
            self._broken(case, str(error))

    def _broken(self, case: str, what: str) -> None:
        self.violations.append(Violation("town", f"{case}: {what}"))

    def authority(self) -> Authority:
        """The cloud's own."""
        return Authority.load_or_create(self.town.stack.folder / "cloud" / "keys" / "authority", _now())

    # -- a gateway is revoked --------------------------------------------------------------------------------

    def revoked(self, site: Site, bystander: Site, environment: dict[str, str], figure: str) -> None:
        """By the operator's command, while people weigh: out in time, nothing counts then, others go on."""
        self.count += 1
        others = bystander.status()["acked"]
        cloud = {**self.town.stack.cloud.environment, **environment}
        begun = time.monotonic()
        command("reloop-cloud", "gateway", "revoke", site.name, environment=cloud)
        at_commit = site.status()["acked"]
        self.acked[site.name] = at_commit
        wait_until(lambda: site.status()["road"] != "mqtt", OUT_S, "it is thrown out")
        self.figures[figure] = round(time.monotonic() - begun, 1)
        if self.figures[figure] > OUT_S:
            self._broken(site.name, f"thrown out after {self.figures[figure]} s")
        wait_until(lambda: _has_no_way_in(site), CLOSED_S, "the broker refuses it, or it has no certificate")
        wait_until(lambda: site.status()["backlog"] >= 3, _WAIT_S, "people weigh there afterwards")
        watched = time.monotonic() + AFTERWARDS_S
        while time.monotonic() < watched and site.status()["road"] != "mqtt":
            time.sleep(0.2)
        status = site.status()
        if status["road"] == "mqtt":
            self._broken(site.name, "it came back to the broker")
        if status["acked"] != at_commit:
            self._broken(site.name, f"acked {at_commit} when it was revoked, {status['acked']} afterwards")
        wait_until(lambda: bystander.status()["acked"] > others, _WAIT_S, "the bystander delivers")

    def closed(self, site: Site) -> None:
        """Its kiosk has learnt it from its config, which HTTPS still gives, and takes nothing in."""
        self.count += 1
        wait_until(lambda: site.status()["intake"] == "gateway.revoked", CLOSED_S, "it closes")

    def reinstate(self, site: Site) -> None:
        """From now on all that it has counts."""
        self.count += 1
        cloud = self.town.stack.cloud.environment
        command("reloop-cloud", "gateway", "reinstate", site.name, environment=cloud)
        self.acked.pop(site.name)

    def opened(self, site: Site) -> None:
        """It takes in again, and the broker lets it in with a new certificate."""
        wait_until(lambda: site.status()["intake"] == "open", CLOSED_S, "it opens")
        wait_until(lambda: site.status()["road"] == "mqtt", CLOSED_S, "the broker lets it in")

    # -- acks that the cloud did not send --------------------------------------------------------------------

    def forged(self, site: Site, neighbour: Site) -> None:
        """With the broker's permission and the cloud away: they are heard, and free nothing."""
        cloud, authority = self.town.stack.cloud, self.authority()
        cloud.process.stop()
        try:
            before = self._forge(site, neighbour, authority)
        finally:
            cloud.start_cloud()
        wait_until(lambda: site.status()["acked"] > before, _WAIT_S, "the true ack frees the outbox")

    def _forge(self, site: Site, neighbour: Site, authority: Authority) -> int:
        """All forgeries; how far the outbox was acked before and after them."""
        before: int = site.status()["acked"]
        wait_until(lambda: site.status()["backlog"] >= 3, _WAIT_S, "something waits to be acked")
        pair = authority.cloud_certificate(CLOUD, _now())
        context = broker_context(authority.root.pem, pair.key_pem, pair.pem)
        with Caller("", context, self.town.stack.cloud.broker.inside_port) as rogue:
            for name, data in self._forgeries(site, neighbour):
                self.count += 1
                self._is_heard(site, rogue, name, data)
        after = site.status()["acked"]
        if after != before:
            self._broken("acks", f"{before} were acked, {after} after the forgeries")
        return before

    def _is_heard(self, site: Site, rogue: Caller, name: str, data: bytes) -> None:
        """Say it until the agent counts it: its link comes and goes while nobody answers."""
        heard, deadline = _refused_acks(site), time.monotonic() + _WAIT_S
        while _refused_acks(site) == heard:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name}: the agent did not hear it within {_WAIT_S:.0f} s")
            rogue.publish(topic(site.name, Lane.ACK), data)
            rogue.publish(topic(site.name, Lane.ACK), _NONSENSE)  # this is what the agent counts
            time.sleep(0.2)

    def _forgeries(self, site: Site, neighbour: Site) -> Iterator[tuple[str, bytes]]:
        status = site.status()
        keys = Keyring.load_or_create(self.town.stack.folder / "cloud" / "keys")
        head, epoch = status["head"], status["epoch"]

        def ack(gateway: str, at_epoch: int, key: SigningKey) -> bytes:
            word = Ack(
                VERSION, gateway, at_epoch, head, bytes(32), None, Verdict.OK, [], 8,
                int(time.time() * 1000), Echo(1, 1),
            )  # fmt: skip
            return build_ack(word, key)

        yield _FORGED[0], ack(site.name, epoch, SigningKey.from_seed(os.urandom(32)))
        yield _FORGED[1], ack(neighbour.name, neighbour.status()["epoch"], keys.ack)
        yield _FORGED[2], ack(site.name, epoch + 1, keys.ack)
        bent = bytearray(ack(site.name, epoch, keys.ack))
        bent[-1] ^= 1
        yield _FORGED[3], bytes(bent)
        yield _FORGED[4], _NONSENSE

    # -- many at the door ------------------------------------------------------------------------------------

    def flooded(self, bystander: Site, flood: Callable[[threading.Event], list[threading.Thread]]) -> None:
        """While they knock, the bystander delivers over MQTT, and does so at the end."""
        self.count += 1
        ended = threading.Event()
        before = bystander.status()["acked"]
        knockers = flood(ended)
        begun = time.monotonic()
        try:
            wait_until(lambda: bystander.status()["acked"] > before, _WAIT_S, "delivered in the flood")
            ended.wait(max(0.0, begun + FLOOD_S - time.monotonic()))
            before = bystander.status()["acked"]
            wait_until(lambda: bystander.status()["acked"] > before, _WAIT_S, "still delivered in the flood")
        finally:
            ended.set()
            for knocker in knockers:
                knocker.join(_WAIT_S)

    def _same_certificate(self, ended: threading.Event) -> list[threading.Thread]:
        """One gateway, stolen or broken, comes again and again, each time in the last one's place."""
        authority, port = self.authority(), self.town.stack.cloud.broker.port
        context = gateway_context(authority, authority.eviction_certificate("flooding-drop-01", _now()))

        def knock() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError), _door(context, port) as door:
                    door.sendall(_CONNECT)
                    door.recv(4)
                    self.figures["knocks"] = self.figures.get("knocks", 0) + 1

        return _started(knock)

    def _nobody(self, ended: threading.Event) -> list[threading.Thread]:
        """Connections that say nothing and stay, and handshakes without a certificate."""
        authority, port = self.authority(), self.town.stack.cloud.broker.port
        bare = BrokerContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.load_verify_locations(cadata=authority.root.pem.decode())

        def stay() -> None:
            with contextlib.ExitStack() as open_ones:
                for _ in range(_IDLE // _KNOCKERS):
                    with contextlib.suppress(OSError):
                        open_ones.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                        self.figures["idle"] = self.figures.get("idle", 0) + 1
                while not ended.is_set():
                    with contextlib.suppress(OSError), _door(bare, port) as door:
                        door.sendall(_CONNECT)
                        if door.recv(4):
                            self._broken("flood of none", "somebody without a certificate was let in")

        return _started(stay)

    # -- the end ---------------------------------------------------------------------------------------------

    def the_rest(self) -> None:
        """Whoever is not revoked is credited for everything once; who is, for what was acked and no more."""
        self.count += 1
        self.town.send_people_home()
        sites = self.town.stack.sites
        for site in sites:
            if site.name not in self.acked:
                wait_until(lambda site=site: site.status()["backlog"] == 0, _WAIT_S, f"{site.name} drains")  # type: ignore[misc]
        for site in sites:
            site.agent.stop()
        lines = credited_by(self.town.stack.cloud)
        for site in sites:
            self._settle(site, [line for line in lines if line["gateway"] == site.name])

    def _settle(self, site: Site, credited: list[dict[str, Any]]) -> None:
        recorded = weighings_of([site])
        ids = [line["id"] for line in credited]
        through = self.acked.get(site.name)
        due = {key for key, line in recorded.items() if through is None or line["seq"] <= through}
        if len(ids) != len(set(ids)) or not set(ids) <= set(recorded):
            self._broken(site.name, "something is credited twice, or was never recorded")
        if not due <= set(ids):
            self._broken(site.name, f"{len(due - set(ids))} weighings that were acked are not credited")
        late = [line["seq"] for line in credited if through is not None and line["seq"] > through]
        if late:
            self._broken(site.name, f"credited after it was revoked: {late}")


_ELSEWHERE = {"RELOOP_BROKER_DIR": ""}
"""The command runs where the broker's folder is not: the worker hears of it from the database alone."""
_NONSENSE = b"free everything"
_CONNECT = b"\x10\x1c\0\x04MQTT\x04\x02\0\x3c\0\x10flooding-drop-01"


@contextlib.contextmanager
def _door(context: ssl.SSLContext, port: int) -> Iterator[ssl.SSLSocket]:
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as door:
        yield door


def _started(work: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(_KNOCKERS)]
    for thread in threads:
        thread.start()
    return threads


def _has_no_way_in(site: Site) -> bool:
    """Turned away at the door; or its new config came first, over HTTPS, and gives it no certificate."""
    word = str(site.status()["certificate"])
    return word.startswith("refused") or word == "asked for"


def _refused_acks(site: Site) -> int:
    alarms: dict[str, int] = site.status()["alarms"]
    return sum(count for code, count in alarms.items() if not code.startswith(("sync.", "document.")))


def _now() -> datetime:
    return datetime.now(UTC)


def town_stories(tick: Tick, seed: int) -> Part:
    """Run them all in a town of their own."""
    with Kept() as kept:
        try:
            with open_town(
                kept.path, "all", sites=4, seed=seed, roads=[("mqtt", "https"), ("mqtt",)]
            ) as town:
                stories = Stories(town)
                stories.run()
        except FAILURES as error:
            return Part(0, [Violation("town", str(error))])
        kept.broken = bool(stories.violations)
        tick(stories.count)
        return Part(stories.count, stories.violations, stories.figures)

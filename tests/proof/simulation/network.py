"""The network of gateways and cloud, and a broker that lies: roads for `edge.sync`, deliveries for ingest.

Owns delay, loss, repetition, reordering, spoilt bytes, partitions and who is connected. A PUBACK says only
that the broker took the bytes; it may forget them the next moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge.sync.roads import AckArrived, RoadError, RoadName, RoadRefused

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable

    from edge.sync.roads import Downlink
    from protocol.status import Status
    from tests.proof.simulation.loop import Machine
    from tests.proof.simulation.trace import Trace

QUEUE_MAX = 200
"""What the broker keeps for a cloud that is not there."""
REPLAYS_MAX = 50
"""Old frames and acks that the broker keeps of a gateway, to bring them out again."""
STRAY_S_MAX = 20.0
"""The latest that a message turns up which everybody had forgotten."""


@dataclass(slots=True)
class Weather:
    """How bad it is now. Shares are of messages; `spoil` flips a byte, `stray` is very late."""

    delay_s: float = 0.02
    loss: float = 0.0
    repeat: float = 0.0
    stray: float = 0.0
    spoil: float = 0.0
    puback_lost: float = 0.0
    cut: set[str] = field(default_factory=set)
    """Gateways that reach nobody."""
    cut_https: set[str] = field(default_factory=set)
    broker_up: bool = True
    outage: bool = False
    """Nobody reaches anybody."""

    def calm(self) -> None:
        """The faults are over."""
        self.delay_s = 0.02
        self.loss = self.repeat = self.stray = self.spoil = self.puback_lost = 0.0
        self.cut.clear()
        self.cut_https.clear()
        self.broker_up = True
        self.outage = False


Answer = tuple[bytes | None, str | None]
"""An ack, or the code of a refusal."""


class Network:
    """All links of one schedule."""

    def __init__(self, chance: random.Random, trace: Trace) -> None:
        self.chance = chance
        self.trace = trace
        self.weather = Weather()
        self.on_uplink: Callable[[str, bytes], None] | None = None
        """The cloud's subscription: who listens at the broker now."""
        self.on_request: Callable[[str, bytes], Awaitable[Answer | None]] | None = None
        """The cloud's HTTPS endpoint."""
        self._links: dict[str, MqttLink] = {}
        self._open: dict[BaseLink, None] = {}
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=QUEUE_MAX)
        self._frames: dict[str, deque[bytes]] = {}
        self._acks: dict[str, deque[bytes]] = {}

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        """One event of the trace."""
        self.trace.add(self.now_s(), who, what, data)

    # The broker

    def broker_dies(self) -> None:
        """Every connection breaks and what waited is forgotten, or not."""
        self.weather.broker_up = False
        if self.chance.random() < 0.5:
            self._waiting.clear()
        for link in list(self._links.values()):
            link.breaks("the broker died")

    def cloud_listens(self) -> None:
        """What waited for the cloud is delivered, in any order."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self.chance.shuffle(waiting)
        for gateway, data in waiting:
            self._later(self._deliver_up, gateway, data)

    def published(self, gateway: str, data: bytes) -> None:
        """The broker took a frame."""
        self._frames.setdefault(gateway, deque(maxlen=REPLAYS_MAX)).append(data)
        for copy in self._copies(data):
            self._later(self._deliver_up, gateway, copy)

    def forged(self, gateway: str, data: bytes) -> None:
        """A stranger got something past the broker."""
        self._later(self._deliver_up, gateway, data)

    def replay(self, gateway: str) -> None:
        """The broker delivers something old once more."""
        if gateway in self._frames:
            self._later(self._deliver_up, gateway, self.chance.choice(self._frames[gateway]))
        if gateway in self._acks:
            self._later(self._deliver_down, gateway, self.chance.choice(self._acks[gateway]))

    def acknowledge(self, gateway: str, data: bytes) -> None:
        """The cloud publishes an ack."""
        self._acks.setdefault(gateway, deque(maxlen=REPLAYS_MAX)).append(data)
        if not self.weather.broker_up:
            return
        for copy in self._copies(data):
            self._later(self._deliver_down, gateway, copy)

    def _deliver_up(self, gateway: str, data: bytes) -> None:
        if not self.weather.broker_up:
            return
        if self.on_uplink is None:
            if self.chance.random() < 0.5:
                self._waiting.append((gateway, data))
            return
        self.note(gateway, "broker->cloud", data)
        self.on_uplink(gateway, data)

    def _deliver_down(self, gateway: str, data: bytes) -> None:
        link = self._links.get(gateway)
        if link is None or gateway in self.weather.cut or self.weather.outage or not self.weather.broker_up:
            return
        self.note(gateway, "broker->gateway", data)
        link.arrived(AckArrived(data))

    def _copies(self, data: bytes) -> list[bytes]:
        """What becomes of a message: nothing, itself, or more than itself; spoilt maybe."""
        weather, chance = self.weather, self.chance
        if chance.random() < weather.loss:
            return []
        copies = [data]
        while len(copies) < 4 and chance.random() < weather.repeat:
            copies.append(data)
        if weather.spoil and chance.random() < weather.spoil:
            spoilt = bytearray(data)
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
            copies[chance.randrange(len(copies))] = bytes(spoilt)
        return copies

    def delay_s(self) -> float:
        """How long one message takes."""
        if self.weather.stray and self.chance.random() < self.weather.stray:
            return self.chance.uniform(0, STRAY_S_MAX)
        return 0.001 + self.chance.expovariate(1 / self.weather.delay_s)

    def _later(self, deliver: Callable[[str, bytes], None], gateway: str, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay_s(), deliver, gateway, data)

    # Partitions

    def cut(self, gateway: str) -> None:
        """Nothing passes any more; connections break at once or just fall silent."""
        self.weather.cut.add(gateway)
        silent = self.chance.random() < 0.5
        for link in list(self._open):
            if link.gateway == gateway and not silent:
                link.breaks("the network is gone")

    def reaches(self, gateway: str, road: RoadName) -> bool:
        """Whether bytes of this gateway get anywhere."""
        weather = self.weather
        if gateway in weather.cut or weather.outage:
            return False
        return weather.broker_up if road is RoadName.MQTT else gateway not in weather.cut_https

    def opened(self, link: BaseLink) -> None:
        self._open[link] = None
        if isinstance(link, MqttLink):
            before = self._links.get(link.gateway)
            self._links[link.gateway] = link
            if before is not None:
                before.breaks("taken over")

    def closed(self, link: BaseLink) -> None:
        self._open.pop(link, None)
        if self._links.get(link.gateway) is link:
            del self._links[link.gateway]


class BaseLink:
    """What both links share: a queue of what came, and an end."""

    road: RoadName

    def __init__(self, network: Network, gateway: str, machine: Machine) -> None:
        self.network, self.gateway, self.machine = network, gateway, machine
        self._answers: asyncio.Queue[Downlink | RoadError] = asyncio.Queue()
        self._moved = 0
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def breaks(self, why: str) -> None:
        """The connection is gone, and says so."""
        if not self._broken.done():
            self._broken.set_result(None)
            self._answers.put_nowait(RoadError(why))

    def arrived(self, item: Downlink) -> None:
        """Something came down."""
        if not self._broken.done():
            self._moved += 1
            self._answers.put_nowait(item)

    async def send(self, envelope: bytes) -> None:
        """Send one frame or enrolment."""
        raise NotImplementedError

    async def announce(self, status: Status) -> None:
        """Say that we are here."""
        await self._passes()

    async def fetch(self, names: list[str], status: Status) -> None:
        """Ask for documents: none ever changes in a schedule."""
        await self._passes()

    async def receive(self) -> Downlink:
        """The next thing that came."""
        item = await self._answers.get()
        if isinstance(item, RoadError):
            raise item
        return item

    def moved_bytes(self) -> int:
        """Grows with everything that got anywhere."""
        return self._moved

    async def _passes(self) -> None:
        """Wait as long as one message takes; for ever (until the link breaks) if nothing passes."""
        self.machine.touch()
        await self._wait(self.network.delay_s())
        if not self.network.reaches(self.gateway, self.road):
            await self._wait(None)

    async def _wait(self, seconds: float | None) -> None:
        await asyncio.wait({self._broken}, timeout=seconds)
        if self._broken.done():
            raise RoadError("the connection broke")


class MqttLink(BaseLink):
    """A connection to the broker."""

    road = RoadName.MQTT

    async def send(self, envelope: bytes) -> None:
        """Publish; returns at the PUBACK, which promises nothing."""
        await self._passes()
        self.network.note(self.gateway, "gateway->broker", envelope)
        self._moved += len(envelope)
        self.network.published(self.gateway, envelope)
        if self.network.chance.random() < self.network.weather.puback_lost:
            await self._wait(None)
        await self._passes()


class HttpsLink(BaseLink):
    """Requests to the cloud itself."""

    road = RoadName.HTTPS

    async def send(self, envelope: bytes) -> None:
        """Post; the answer is queued."""
        network = self.network
        await self._passes()
        network.note(self.gateway, "gateway->https", envelope)
        self._moved += len(envelope)
        for copy in network._copies(envelope):
            answer = await self._asked(copy)
            if answer is None or network.chance.random() < network.weather.loss:
                continue
            await self._passes()
            ack, code = answer
            if ack is not None:
                self.arrived(AckArrived(ack))
            elif code is not None:
                raise RoadRefused(f"the cloud refuses: {code}")
            return
        raise RoadError("no answer")

    async def _asked(self, envelope: bytes) -> Answer | None:
        ask = self.network.on_request
        if ask is None:
            return None
        self.network.note(self.gateway, "https->cloud", envelope)
        asking = asyncio.ensure_future(ask(self.gateway, envelope))
        both: set[asyncio.Future[Any]] = {asking, self._broken}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done() or asking.cancelled():
            raise RoadError("the connection broke")
        return asking.result()


class SimulatedRoad:
    """A road of `edge.sync` over the simulated network."""

    def __init__(self, name: RoadName, network: Network, gateway: str, machine: Machine) -> None:
        self.name = name
        self._network, self._gateway, self._machine = network, gateway, machine

    @contextlib.asynccontextmanager
    async def link(self, will: Status, silence_s_max: float) -> AsyncIterator[BaseLink]:
        """Connect."""
        network = self._network
        self._machine.touch()
        await asyncio.sleep(network.delay_s())
        if not network.reaches(self._gateway, self.name):
            await asyncio.sleep(network.chance.choice((0.1, 5.0)))
            raise RoadError("nobody answers")
        kind = MqttLink if self.name is RoadName.MQTT else HttpsLink
        link = kind(network, self._gateway, self._machine)
        network.opened(link)
        try:
            yield link
        finally:
            network.closed(link)
            link.breaks("closed")

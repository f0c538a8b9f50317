"""The cloud of a schedule: the production ingest on the model store, behind a broker and an endpoint.

Owns its lives and deaths. What `cloud.ingest.worker` does with a real broker is done here with ours.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from cloud.errors import UnavailableError
from cloud.ingest.service import Ingest, IngestReply
from cloud.ingest.views import Road
from protocol.documents import Name
from tests.proof.simulation.clock import SimulatedClock
from tests.proof.simulation.loop import Machine
from tests.proof.simulation.store import Model, at_once
from tests.proof.simulation.world import (
    CITIZENS,
    KEYRING,
    MATERIALS,
    catalog_digest,
    documents,
    gateway_key,
    issued_at,
    pseudonym,
    secret,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from tests.proof.simulation.network import Answer, Network

_LATENCY_S_MAX = 0.01


class Cloud:
    """One cloud. `model` outlives the processes in front of it."""

    def __init__(
        self,
        network: Network,
        chance: random.Random,
        gateways: Mapping[str, bool],
        moment: Callable[[], None],
    ) -> None:
        """`gateways` by name: whether the cloud knows their keys already. `moment`: the database works."""
        self._network, self._chance = network, chance
        self.clock = SimulatedClock()

        async def sleep(seconds: float) -> None:
            moment()
            await self.clock.sleep(seconds)

        self.model = Model(sleep, chance, lambda: chance.random() * _LATENCY_S_MAX)
        for gateway, enrolled in gateways.items():
            key, place = gateway_key(gateway), UUID(int=7)
            if enrolled:
                self.model.add_gateway(gateway, key.key_id, key.public, drop_point=place)
            else:
                self.model.add_gateway(gateway, drop_point=place, secret=secret(gateway))
        self.model.add_catalog(catalog_digest(), documents()[Name.CATALOG], issued_at())
        self.model.add_key_document(documents()[Name.KEYS])
        for material, rate in MATERIALS.items():
            self.model.add_rate(material, issued_at(), rate)
        for number in range(CITIZENS // 2):
            self.model.add_citizen(UUID(int=100 + number), pseudonym(number))
        self._machine: Machine | None = None
        self._ingest: Ingest | None = None
        self.lives = 0

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._machine is not None

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        self._machine = Machine(f"cloud-{self.lives}")
        self._machine.start(self._live(self._machine), "cloud")
        self._network.note("cloud", "starts")

    def crash(self) -> None:
        """End it, now; what it was committing is committed, or is not."""
        machine, self._machine, self._ingest = self._machine, None, None
        self._network.on_uplink = self._network.on_request = None
        self.model.kill()
        if machine is not None:
            machine.die()
        self._network.note("cloud", "dies")

    async def _live(self, machine: Machine) -> None:
        async with Ingest(self.model, KEYRING, self.clock, self._chance.randbytes, aside=at_once) as ingest:
            self._ingest = ingest
            self._network.on_uplink = self._take
            self._network.on_request = self._answer
            self._network.cloud_listens()
            while machine.alive:
                await self.clock.sleep(3600)

    def _take(self, gateway: str, data: bytes) -> None:
        """A delivery of the broker's."""
        if self._ingest is None:
            return
        reply = self._ingest.offer(data, Road.MQTT, gateway)
        if reply is not None:
            machine = self._machine
            reply.add_done_callback(lambda done: self._acknowledge(gateway, done, machine))

    def _acknowledge(self, gateway: str, done: asyncio.Future[IngestReply], machine: Machine | None) -> None:
        if done.cancelled() or machine is not self._machine:
            return
        ack = done.result().ack
        if ack is not None:
            self._network.note("cloud", f"acks {gateway}", ack)
            self._network.acknowledge(gateway, ack)

    async def _answer(self, gateway: str, data: bytes) -> Answer | None:
        """A request of a gateway's; None if the process dies over it or is not ready."""
        if self._ingest is None or self._machine is None:
            return None
        asked = self._machine.start(self._ingest.submit(data, Road.HTTPS, gateway), "request")
        await asyncio.wait({asked})
        if asked.cancelled():
            return None
        error = asked.exception()
        if isinstance(error, UnavailableError):
            return None
        reply = asked.result()
        if reply.ack is not None:
            self._network.note("cloud", f"answers {gateway}", reply.ack)
        return reply.ack, reply.code

"""How the kiosk's server listens."""

from __future__ import annotations

import asyncio
import socket

from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from tests.edge.kiosk.gallery import idle
from tests.edge.kiosk.scripted import ScriptedStation

DEADLINE_S = 5.0


async def test_answers_are_not_held_back_for_a_delayed_ack() -> None:
    server = KioskServer(create_kiosk(ScriptedStation(idle())))
    serving = asyncio.create_task(server.run())
    async with asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        connections = server._server.server_state.connections
        while not connections:
            await asyncio.sleep(0)
        accepted = next(iter(connections)).transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        server.stop()
        await serving

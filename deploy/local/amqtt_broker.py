"""The embedded broker for a demo without mosquitto: `python -m deploy.local.amqtt_broker PORT`.

MQTT 3.1.1 on loopback. It cannot check the access files' passwords: it serves the demo, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from amqtt.broker import Broker


async def _serve(port: int) -> None:
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 64}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    with contextlib.suppress(asyncio.CancelledError):
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))

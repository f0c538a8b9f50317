"""An MQTT broker that takes every message, says so, and then does what it likes.

Speaks as much of MQTT 3.1.1 and 5 as our clients need. Everybody may connect. How often it lies, and how,
is handed in and may change at any moment; every lie is counted. Runs on an event loop in its own thread.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

PACKET_BYTES_MAX = 512 * 1024
WAITING_MAX = 4096
"""Delayed messages held; beyond this they are dropped, which is a lie like any other."""
UNREAD_BYTES_MAX = 1024 * 1024
REMEMBERED = 256
"""Old messages that may be delivered once more."""
_V5 = 5
_TAKEN_OVER = b"\x8e\x00"


class _Kind(IntEnum):
    """Packets, by the numbers of both versions."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True)
class Lies:
    """Shares of messages from 0 to 1, all independent. `forget_s`: mean time between total amnesias.

    mute: delivered, but never PUBACKed. delay: later by up to `delay_s`, so that others overtake it.
    replay: an old message once more. misroute: to everybody. corrupt: one bit is another one.
    """

    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    delay_s: float = 1.0
    replay: float = 0.0
    corrupt: float = 0.0
    misroute: float = 0.0
    mute: float = 0.0
    forget_s: float | None = None


HONEST = Lies()


@dataclass(eq=False, slots=True)
class _Client:
    name: str
    version: int
    writer: asyncio.StreamWriter
    filters: list[str] = field(default_factory=list)
    last_id: int = 0

    def send(self, kind: int, body: bytes, flags: int = 0) -> None:
        if self.writer.transport.get_write_buffer_size() < UNREAD_BYTES_MAX:
            self.writer.write(bytes([kind << 4 | flags]) + _length(len(body)) + body)

    def properties(self) -> bytes:
        return b"\x00" if self.version == _V5 else b""

    def deliver(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        self.last_id = self.last_id % 0xFFFF + 1
        head = _text(topic) + struct.pack("!H", self.last_id) + self.properties()
        self.send(_Kind.PUBLISH, head + payload, flags=2 | retained)


class Liar:
    """Listens on loopback once `start` returns. `lies` may be exchanged at any time; `told` counts them.

    `doors`: the ports, and what TLS is spoken there.
    """

    def __init__(self, doors: Mapping[int, ssl.SSLContext | None], seed: str) -> None:
        self.lies = HONEST
        self.told: Counter[str] = Counter()
        self.taken = 0
        self._doors = dict(doors)
        self._servers: list[asyncio.Server] = []
        self._random = random.Random(seed)
        self._clients: dict[str, _Client] = {}
        self._retained: dict[str, bytes] = {}
        self._waiting: set[asyncio.TimerHandle] = set()
        self._old: deque[tuple[str, bytes]] = deque(maxlen=REMEMBERED)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="liar", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def close(self) -> None:
        """Leave everybody and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        for port, tls in self._doors.items():
            self._servers.append(await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls))
        self._forgetting = asyncio.create_task(self._forget_now_and_then())

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        self._forget()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # -- one client ---------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client: _Client | None = None
        try:
            while True:
                kind, flags, body = await _packet(reader)
                if kind == _Kind.CONNECT:
                    client = self._connected(body, writer)
                elif client is None or kind == _Kind.DISCONNECT:
                    return
                else:
                    self._said(client, kind, flags, body)
        except (OSError, EOFError, ValueError, struct.error, IndexError):
            return  # gone, or it speaks something else
        finally:
            if client is not None and self._clients.get(client.name) is client:
                del self._clients[client.name]
            writer.transport.abort()

    def _connected(self, body: bytes, writer: asyncio.StreamWriter) -> _Client:
        version, at = body[6], 10
        if version == _V5:
            at = _skip_properties(body, at)
        name, _ = _read_text(body, at)
        client = _Client(name or f"anonymous {id(writer)}", version, writer)
        before = self._clients.pop(client.name, None)
        if before is not None:
            if before.version == _V5:
                before.send(_Kind.DISCONNECT, _TAKEN_OVER)
            before.writer.close()
        self._clients[client.name] = client
        client.send(_Kind.CONNACK, b"\x00\x00" + client.properties())
        return client

    def _said(self, client: _Client, kind: int, flags: int, body: bytes) -> None:
        match kind:
            case _Kind.PUBLISH:
                self._published(client, flags, body)
            case _Kind.SUBSCRIBE:
                self._subscribed(client, body)
            case _Kind.UNSUBSCRIBE:
                client.send(_Kind.UNSUBACK, body[:2] + client.properties())
            case _Kind.PINGREQ:
                client.send(_Kind.PINGRESP, b"")
            case _:
                pass  # a PUBACK: we never asked

    def _subscribed(self, client: _Client, body: bytes) -> None:
        at = _skip_properties(body, 2) if client.version == _V5 else 2
        codes = b""
        while at < len(body):
            wanted, at = _read_text(body, at)
            at += 1
            client.filters.append(wanted)
            codes += b"\x01"
        client.send(_Kind.SUBACK, body[:2] + client.properties() + codes)
        for topic, payload in list(self._retained.items()):
            if any(matches(wanted, topic) for wanted in client.filters[-len(codes) :]):
                client.deliver(topic, payload, retained=True)

    def _published(self, client: _Client, flags: int, body: bytes) -> None:
        topic, at = _read_text(body, 0)
        packet = body[at : at + 2] if flags & 6 else b""
        at += len(packet)
        if client.version == _V5:
            at = _skip_properties(body, at)
        self.taken += 1
        self._pass_on(topic, body[at:], retain=bool(flags & 1))
        if packet and not self._lie(self.lies.mute, "muted"):
            client.send(_Kind.PUBACK, packet)

    # -- what becomes of a message ------------------------------------------------------------------------

    def _pass_on(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self._old.append((topic, payload))
        if retain:
            self._retained[topic] = payload
        if self._lie(self.lies.drop, "dropped"):
            return
        if payload and self._lie(self.lies.corrupt, "corrupted"):
            payload = self._spoilt(payload)
        self._soon_or_later(topic, payload)
        if self._lie(self.lies.double, "doubled"):
            self._soon_or_later(topic, payload)
        if self._lie(self.lies.replay, "replayed"):
            self._soon_or_later(*self._random.choice(self._old))

    def _soon_or_later(self, topic: str, payload: bytes) -> None:
        if not self._lie(self.lies.delay, "delayed"):
            self._deliver(topic, payload)
        elif len(self._waiting) < WAITING_MAX:

            def late() -> None:
                self._waiting.discard(handle)
                self._deliver(topic, payload)

            handle = self._loop.call_later(self._random.uniform(0, self.lies.delay_s), late)
            self._waiting.add(handle)

    def _deliver(self, topic: str, payload: bytes) -> None:
        everybody = self._lie(self.lies.misroute, "misrouted")
        for client in list(self._clients.values()):
            if everybody or any(matches(wanted, topic) for wanted in client.filters):
                client.deliver(topic, payload)

    def _spoilt(self, payload: bytes) -> bytes:
        at = self._random.randrange(len(payload))
        return payload[:at] + bytes([payload[at] ^ 1 << self._random.randrange(8)]) + payload[at + 1 :]

    def _lie(self, share: float, name: str) -> bool:
        if self._random.random() >= share:
            return False
        self.told[name] += 1
        return True

    # -- amnesia ------------------------------------------------------------------------------------------

    async def _forget_now_and_then(self) -> None:
        look_s = 0.1
        while True:
            await asyncio.sleep(look_s)
            mean_s = self.lies.forget_s
            if mean_s is not None and self._lie(look_s / mean_s, "forgot everything"):
                self._forget()

    def _forget(self) -> None:
        """As a crash without persistence: connections, subscriptions, retained and delayed messages."""
        for handle in self._waiting:
            handle.cancel()
        self._waiting.clear()
        self._retained.clear()
        for client in list(self._clients.values()):
            client.writer.transport.abort()
        self._clients.clear()


def matches(wanted: str, topic: str) -> bool:
    """Whether a filter takes a topic."""
    parts, names = wanted.split("/"), topic.split("/")
    for index, part in enumerate(parts):
        if part == "#":
            return True
        if index >= len(names) or part not in ("+", names[index]):
            return False
    return len(parts) == len(names)


async def _packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    first = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > PACKET_BYTES_MAX:
        raise ValueError("a packet larger than any of ours")
    return first >> 4, first & 15, await reader.readexactly(length)


def _length(number: int) -> bytes:
    parts = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return bytes(parts)


def _skip_properties(body: bytes, at: int) -> int:
    length, shift = 0, 0
    while True:
        byte = body[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at + length


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("!H", body, at)
    end = at + 2 + length
    return body[at + 2 : end].decode(), end


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data

"""How the cloud comes to the broker: over TLS, by a certificate made for the occasion, through its own door.

Owns the TLS contexts. Does not own what is said, nor when to come again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt

from cloud.kit.authority import SERVER_NAME

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from datetime import datetime

    from cloud.config import MqttSettings
    from cloud.kit.authority import Authority, Pair

_WELCOME_S = 5.0
_CONNECT, _DISCONNECT, _WELCOME = 0x10, b"\xe0\0", b"\x20\x02\0\0"
CLOUD = "cloud"
"""What the cloud's certificates say, and by what the access rules know it."""


class BrokerContext(ssl.SSLContext):
    """Believes one root, and one name whatever the address: the broker may stand anywhere."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """As every context, for the broker's name."""
        return super().wrap_socket(sock, *arguments, **{**options, "server_hostname": SERVER_NAME})


def broker_context(root_pem: bytes, key_pem: bytes, chain_pem: bytes) -> BrokerContext:
    """A client's context with this key and chain."""
    context = BrokerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=root_pem.decode())
    # OpenSSL reads keys from files only; this one never reaches a disk.
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, key_pem + chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


@dataclass(frozen=True, slots=True)
class BrokerDoor:
    """The cloud's own door."""

    settings: MqttSettings
    authority: Authority
    now: Callable[[], datetime]

    def client(self, **options: Any) -> aiomqtt.Client:
        """A client for one connection."""
        version = aiomqtt.ProtocolVersion.V5 if self.settings.version == 5 else aiomqtt.ProtocolVersion.V311
        pair = self.authority.cloud_certificate(CLOUD, self.now())
        return aiomqtt.Client(
            self.settings.host,
            self.settings.port,
            protocol=version,
            tls_context=broker_context(self.authority.root.pem, pair.key_pem, pair.pem),
            **options,
        )


def gateway_context(authority: Authority, pair: Pair) -> BrokerContext:
    """A context for the gateways' door."""
    return broker_context(authority.root.pem, pair.key_pem, pair.pem + authority.issuer.pem)


async def is_let_in(host: str, port: int, context: BrokerContext, client_id: str) -> bool:
    """Come in by a door under this name and leave; whether the broker said welcome.

    Asked byte by byte (MQTT 3.1.1): a library would wait for its time-out where TLS 1.3 turns us away, which
    is only after the handshake.
    """
    try:
        async with asyncio.timeout(_WELCOME_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=SERVER_NAME
            )
            try:
                name = client_id.encode()
                rest = b"\0\x04MQTT\x04\x02\0\x3c" + len(name).to_bytes(2) + name
                writer.write(bytes((_CONNECT, len(rest))) + rest)
                answer = await reader.readexactly(4)
                writer.write(_DISCONNECT)
                await writer.drain()
                return answer == _WELCOME
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return False

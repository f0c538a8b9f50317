"""mosquitto's configuration, written whole: two doors, certificates at both, bounds on everything.

Gateways come in by a public listener, where a certificate's name is user and client id at once, so that
nobody can take another's place. The cloud has a door of its own on loopback, with several connections under
one name. Owns the text only, neither the files it names nor the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE_BYTES_MAX = 128 * 1024
"""A frame has at most 64 KiB compressed, a document part likewise, each with its envelope."""
_TEXT = """\
# Written by ReLoop: change it there, not here.
per_listener_settings false
allow_anonymous false
acl_file {folder}/acl
user {user}
persistence false
sys_interval 0
connection_messages false
log_dest stdout
log_type error
log_type warning
log_type notice

message_size_limit {size}
max_packet_size {packet}
max_inflight_messages 20
max_inflight_bytes 2097152
max_queued_messages 1000
max_queued_bytes 16777216
max_keepalive 120
persistent_client_expiration 1d
retain_available true

# gateways
listener {port} {address}
max_connections {connections}
max_qos 1
max_topic_alias 0
cafile {folder}/gateways-ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
crlfile {folder}/revoked.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true

# the cloud
listener {inside_port} 127.0.0.1
max_connections 64
max_qos 1
max_topic_alias 0
cafile {folder}/inside-ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the broker listens: `address` and `port` for gateways, `inside_port` on loopback for us."""

    address: str
    port: int
    inside_port: int
    connections_max: int = 10_000

    @property
    def near(self) -> str:
        """Where a process on this machine finds the gateways' door."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address, self.address)  # noqa: S104 - compared


def configuration(folder: Path, doors: Doors, user: str) -> str:
    """The configuration file; the certificates and the access rules are beside it in `folder`.

    `user` is whom mosquitto becomes if root starts it.
    """
    return _TEXT.format(
        folder=folder,
        user=user,
        address=doors.address,
        port=doors.port,
        inside_port=doors.inside_port,
        connections=doors.connections_max,
        size=MESSAGE_BYTES_MAX,
        packet=MESSAGE_BYTES_MAX + 1024,
    )

"""The generated configuration says everything that 2.0.11 would otherwise guess."""

from __future__ import annotations

from pathlib import Path

from cloud.kit.mosquitto import MESSAGE_BYTES_MAX, Doors, configuration
from protocol.documents import PART_BYTES_MAX
from protocol.frames import FRAME_BYTES_MAX

LINES = configuration(Path("/var/lib/broker"), Doors("0.0.0.0", 8883, 8884), "mosquitto").splitlines()  # noqa: S104 - the public door


def doors() -> list[list[str]]:
    """The lines of each listener, its own first."""
    starts = [number for number, line in enumerate(LINES) if line.startswith("listener ")]
    return [LINES[start:end] for start, end in zip(starts, [*starts[1:], len(LINES)], strict=True)]


def test_there_are_two_doors_each_declared_with_its_address() -> None:
    assert [door[0] for door in doors()] == ["listener 8883 0.0.0.0", "listener 8884 127.0.0.1"]


def test_nobody_is_anonymous_and_nothing_is_set_per_listener() -> None:
    assert {"allow_anonymous false", "per_listener_settings false"} <= set(LINES)
    assert "acl_file /var/lib/broker/acl" in LINES
    assert not any(line.startswith(("password_file", "port ", "bind_address")) for line in LINES)


def test_both_doors_want_a_certificate_and_believe_its_name() -> None:
    for door in doors():
        assert {"require_certificate true", "use_identity_as_username true", "tls_version tlsv1.2"} <= set(
            door
        )
        assert {line.split()[0] for line in door if line} >= {
            "cafile",
            "certfile",
            "keyfile",
            "max_connections",
        }


def test_gateways_have_their_name_as_client_id_and_a_revocation_list() -> None:
    gateways, cloud = doors()
    assert "use_username_as_clientid true" in gateways
    assert "crlfile /var/lib/broker/revoked.pem" in gateways
    assert "use_username_as_clientid true" not in cloud


def test_everything_that_grows_is_bounded_and_a_frame_and_a_part_pass() -> None:
    names = {line.split()[0] for line in LINES if line and not line.startswith("#")}
    bounds = {"message_size_limit", "max_packet_size", "max_keepalive", "max_queued_messages"}
    assert bounds | {"max_inflight_messages", "max_queued_bytes", "persistent_client_expiration"} <= names
    assert max(FRAME_BYTES_MAX, PART_BYTES_MAX + 4096) <= MESSAGE_BYTES_MAX

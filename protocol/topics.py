"""MQTT topics; the only place where topic strings are built or taken apart."""

from __future__ import annotations

import re
from enum import StrEnum

from protocol.errors import ProtocolError

_ROOT = "reloop/v1"
_GATEWAY = re.compile(r"[a-z0-9][a-z0-9-]{6,62}[a-z0-9]")


class Lane(StrEnum):
    """What travels on a gateway's topic of this name."""

    UP = "up"
    ACK = "ack"
    STATUS = "status"
    TELEMETRY = "telemetry"
    COMMAND = "command"
    RESULT = "result"


class TopicError(ProtocolError):
    """A gateway id or topic is not of the form the protocol allows."""

    code = "topic.malformed"


def check_gateway_id(gateway: str) -> str:
    """Return the id if it is 8–64 characters of `a-z`, `0-9` and inner `-`, else raise TopicError."""
    if not _GATEWAY.fullmatch(gateway):
        raise TopicError(f"gateway id {gateway!r} is not 8-64 characters of a-z, 0-9 and inner hyphens")
    return gateway


def topic(gateway: str, lane: Lane) -> str:
    """The topic of one gateway's lane."""
    return f"{_ROOT}/{check_gateway_id(gateway)}/{lane}"


def document_topic(gateway: str, name: str) -> str:
    """Where parts of document `name` (or `manifest`) reach this gateway."""
    return f"{_ROOT}/{check_gateway_id(gateway)}/doc/{name}"


def document_filter(gateway: str) -> str:
    """Subscription filter for all of a gateway's documents."""
    return f"{_ROOT}/{check_gateway_id(gateway)}/doc/+"


def lane_filter(lane: Lane) -> str:
    """Subscription filter for one lane of every gateway (the cloud's side)."""
    return f"{_ROOT}/+/{lane}"


def parse_topic(name: str) -> tuple[str, str]:
    """Split a topic into (gateway, rest), e.g. ("ktm-drop-01", "doc/catalog"). Raises TopicError."""
    prefix, _, rest = name.partition(f"{_ROOT}/")
    gateway, _, lane = rest.partition("/")
    if prefix or not lane:
        raise TopicError(f"{name!r} is not a topic of ours")
    return check_gateway_id(gateway), lane

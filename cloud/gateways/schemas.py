"""Gateways at the HTTP boundary."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Base64Bytes, Field

from cloud.kit.web.shapes import Given, Shown, Time

ID = r"^[a-z0-9][a-z0-9-]{6,62}[a-z0-9]$"


class GatewayGiven(Given):
    """A gateway to be."""

    id: str = Field(pattern=ID, examples=["ktm-patan-01"], description="8-64 of a-z, 0-9 and inner hyphens")
    drop_point: str = Field(examples=["ktm-patan"], description="code of an existing drop point")


class CodeShown(Shown):
    """A new one-time code. It is shown this once; only what checks it is kept."""

    gateway: str
    code: str = Field(examples=["7K3M-9QXT-2VAB-H4C0-PPZW-8D1E-RR"])
    expires_at: Time


class GatewayShown(Shown):
    """A gateway and how it is doing."""

    id: str
    drop_point: str
    drop_point_name: str
    state: Literal["created", "claimed", "revoked"]
    created_at: Time
    claimed_at: Time | None
    revoked_at: Time | None
    last_seen_at: Time | None
    acked_at: Time | None = Field(description="when records of it were last committed")
    acked: int = Field(description="records committed, over all epochs")
    held: int = Field(description="records in quarantine")
    open_alarms: int
    silence_s: float | None = Field(description="since it was last heard of; null if never")
    backlog: int | None = Field(description="records it last announced as not acknowledged")
    birth: dict[str, Any] | None = Field(description="what it last announced of itself")


class ClaimGiven(Given):
    """A claim: the one-time code and the public key born on the gateway, or an enrolment that holds both."""

    code: str = Field(min_length=1, max_length=64)
    public_key: Base64Bytes | None = Field(default=None, description="32 bytes, base64")
    csr: Base64Bytes | None = Field(
        default=None, description="with `public_key`: request for a TLS certificate, PKCS #10 in DER, base64"
    )
    enrolment: Base64Bytes | None = Field(default=None, description="signed enrolment, base64")


class BrokerShown(Shown):
    """Where the gateway speaks MQTT, and by what it knows the broker."""

    host: str
    port: int
    server_name: str = Field(description="what the broker's certificate says, whatever the host")
    root_certificate: str = Field(description="DER, base64: the only one to trust")


class AccessShown(Shown):
    """What a claimed gateway is given: `protocol.bundle.Access` as JSON. Bytes are base64."""

    gateway: str
    root_public_key: str = Field(description="32 bytes, base64: the one key taken on trust")
    https_url: str
    mqtt: BrokerShown | None
    documents: list[str] = Field(description="signed documents, base64, `keys` first")


class BundleShown(Shown):
    """A bundle file: `protocol.bundle.Bundle` as JSON."""

    reloop_bundle: int
    code: str
    access: AccessShown

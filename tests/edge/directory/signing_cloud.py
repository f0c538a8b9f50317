"""A cloud with its keys, and a clock that tests turn by hand."""

from __future__ import annotations

from protocol.cose import SigningKey
from protocol.documents import (
    CatalogBody,
    CloudKey,
    ConfigBody,
    KeysBody,
    KeyUse,
    Material,
    RevocationsBody,
    build_document,
)
from tests.edge.hand_clock import NOW_MS

DAY_S = 86_400


class Cloud:
    """Signs documents as the cloud would."""

    def __init__(self) -> None:
        self.root, self.document, self.card, self.ack = (
            SigningKey.from_seed(bytes([number]) * 32) for number in range(1, 5)
        )

    def keys(self, version: int = 1, generation: int = 1, not_after_s: int | None = None) -> bytes:
        end_s = not_after_s if not_after_s is not None else NOW_MS // 1000 + 400 * DAY_S
        pairs = ((KeyUse.DOCUMENT, self.document), (KeyUse.CARD, self.card), (KeyUse.ACK, self.ack))
        body = KeysBody([CloudKey(use, key.public, 0, end_s) for use, key in pairs])
        return build_document("keys", generation, version, NOW_MS, body, self.root)

    def catalog(
        self, version: int = 1, generation: int = 1, issued_ms: int = NOW_MS, rate: int = 25
    ) -> bytes:
        body = CatalogBody([Material("pet", "PET bottles", "पेट बोतल", "pet", rate, version)], 7 * DAY_S)
        return build_document("catalog", generation, version, issued_ms, body, self.document)

    def revocations(self, serials: bytes, version: int = 1) -> bytes:
        return build_document("revocations", 1, version, NOW_MS, RevocationsBody(serials), self.document)

    def config(
        self,
        version: int = 1,
        certificates: list[bytes] | None = None,
        gateway: str = "",
        *,
        closed: bool = False,
    ) -> bytes:
        body = ConfigBody("thamel", "Thamel", "", certificates or [], gateway, closed)
        return build_document("config", 1, version, NOW_MS, body, self.document)

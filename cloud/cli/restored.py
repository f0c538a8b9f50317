"""What a cloud does at its start if its database is older than what it gave out: it was restored.

Gateways send again what was lost of their journals. This brings back what only the cloud knew and signed:
catalogues, so that what was shown can be read, revocations, and whom the broker lets in; and it tells an
operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from protocol.cards import SERIAL_LENGTH
from protocol.cose import parse
from protocol.documents import ConfigBody, Name, RevocationsBody, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.composition import Services
    from cloud.documents.models import StoredDocument


async def recover(services: Services, connection: AsyncConnection) -> bool:
    """Look, and bring back what is missing; whether the database had gone back."""
    missing = await services.documents.recover(connection)
    if not missing:
        return False
    revoked = await services.citizens.revoke_again(connection, _revoked(missing))
    for gateway, certificate in _certificates(missing):
        await services.certificates.remember(connection, gateway, certificate)
    generation = await services.documents.raise_generation(connection)
    detail: dict[str, object] = {
        "documents": len(missing),
        "revoked": revoked,
        "generation": generation,
        "since": min(one.issued_at for one in missing).isoformat(),
    }
    await services.alarms.tell(connection, "cloud.restored", detail)
    structlog.get_logger().warning("cloud.restored", **detail)
    return True


def _certificates(documents: Sequence[StoredDocument]) -> Iterator[tuple[str, bytes]]:
    """Gateways' own certificates (DER) among what was lost: they are good, so they must be known."""
    for one in documents:
        if one.name == Name.CONFIG:
            document = read_document(parse(one.data).payload, Name.CONFIG, one.data)
            for certificate in document.body(ConfigBody).certificates[:1]:
                yield one.shelf.partition("/")[2], certificate


def _revoked(documents: Sequence[StoredDocument]) -> list[bytes]:
    """Serials that the newest of the lost revocations names."""
    lists = [one for one in documents if one.name == Name.REVOCATIONS]
    if not lists:
        return []
    newest = max(lists, key=lambda one: (one.generation, one.version))
    document = read_document(parse(newest.data).payload, Name.REVOCATIONS, newest.data)
    serials = document.body(RevocationsBody).serials
    return [serials[place : place + SERIAL_LENGTH] for place in range(0, len(serials), SERIAL_LENGTH)]

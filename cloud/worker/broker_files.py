"""What must stand in the broker's folder: whom it lets in, who is void, and who may speak where."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cloud.kit.authority import CANARIES, GATEWAY_LIFE
from cloud.kit.broker_door import CLOUD
from protocol.topics import Lane, document_filter, lane_filter, topic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography import x509

    from cloud.gateways.models import Void
    from cloud.kit.authority import Authority, Pair
    from cloud.kit.broker_folder import BrokerFolder

LIST_EVERY = timedelta(days=1)
SERVER_RENEW_BEFORE = timedelta(days=30)
_LISTED_FOR = GATEWAY_LIFE + timedelta(days=1)
_ANY = "any-gateway"  # stands in for the name until it becomes mosquitto's `%u`
_FROM_GATEWAY = (Lane.UP, Lane.STATUS, Lane.TELEMETRY, Lane.RESULT)
_TO_GATEWAY = (Lane.ACK, Lane.COMMAND)


def write_files(
    folder: BrokerFolder, authority: Authority, void: Iterable[Void], now: datetime, *, fresh: bool = False
) -> Pair | None:
    """Renew what changed, ran out or (`fresh`) is in doubt: then give the canary that the new list names.

    None if everything was in order. Raises OSError.
    """
    changed = [
        folder.replace("acl", access_rules(CLOUD).encode()),
        folder.replace("gateways-ca.pem", authority.trusted_pem),
        folder.replace("inside-ca.pem", authority.inside.pem),
        _renew_server(folder, authority, now),
    ]
    before = folder.revocations()
    wanted = {one.number: one.revoked_at for one in void} | _kept(before, now)
    if not any(changed) and not fresh and _good(before, wanted, now):
        return None
    canary = authority.canary_certificate(now)
    wanted[canary.certificate.serial_number] = now
    after = None if before is None else before.last_update_utc
    folder.replace("revoked.pem", authority.revocations(wanted, now, after))
    return canary


def _renew_server(folder: BrokerFolder, authority: Authority, now: datetime) -> bool:
    present = folder.server_certificate()
    ours = present is not None and present.issuer == authority.issuer.certificate.subject
    if present is not None and ours and present.not_valid_after_utc - now > SERVER_RENEW_BEFORE:
        return False
    key, chain = authority.server_certificate(now)
    folder.replace("server.key", key)
    return folder.replace("server.pem", chain)


def _kept(listed: x509.CertificateRevocationList | None, now: datetime) -> dict[int, datetime]:
    """What is listed stays until its certificate is dead anyhow, even if a restored database forgot it."""
    return {
        each.serial_number: each.revocation_date_utc
        for each in listed or ()
        if each.serial_number > CANARIES and each.revocation_date_utc > now - _LISTED_FOR
    }


def _good(listed: x509.CertificateRevocationList | None, wanted: dict[int, datetime], now: datetime) -> bool:
    if listed is None or now - listed.last_update_utc > LIST_EVERY:
        return False
    return wanted.keys() <= {each.serial_number for each in listed}


def access_rules(cloud: str) -> str:
    """mosquitto's ACL: every gateway speaks on its own topics only, `cloud` on the other end of all."""
    own = [f"pattern write {_own(topic(_ANY, lane))}" for lane in _FROM_GATEWAY]
    own += [f"pattern read {_own(topic(_ANY, lane))}" for lane in _TO_GATEWAY]
    own.append(f"pattern read {_own(document_filter(_ANY))}")
    all_documents = document_filter(_ANY).replace(_ANY, "+")
    rules = [f"user {cloud}"]
    rules += [f"topic read {lane_filter(lane)}" for lane in _FROM_GATEWAY]
    rules += [f"topic write {name}" for name in (*map(lane_filter, _TO_GATEWAY), all_documents)]
    return "\n".join([*rules, "", *own]) + "\n"


def _own(name: str) -> str:
    return name.replace(_ANY, "%u")

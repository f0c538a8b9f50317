"""Reads from Postgres what opening and deciding need: keys, catalogues, rates; remembers what never changes.

Owns one connection in autocommit. Keys and catalogues are found by digest, so a remembered one stays right.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from cloud.ingest.opening import Key
from cloud.ingest.views import CatalogView, RateHistory
from protocol.cose import key_id_of, parse
from protocol.documents import CatalogBody, KeysBody, KeyUse, Name, open_document
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from cloud.ingest.storage import Link
    from cloud.kit.keyring import Keyring
    from protocol.documents import CloudKey

_log = structlog.get_logger(__name__)
CATALOGS_MAX = 1000
KEYS_MAX = 100_000
SUCCESSORS_FRESH_S = 1.0
"""How long the list of catalogues is trusted to be complete: it decides a flag, never points."""


class Reference:
    """Reference data over one link. `keyring` holds today's keys; older ones were announced."""

    def __init__(self, link: Link[Any], keyring: Keyring) -> None:
        self._link = link
        self._keyring = keyring
        self._document_keys = {keyring.document.key_id: keyring.document.public}
        self._keys: dict[bytes, Key] = {}
        self._catalogs: dict[bytes, Mapping[str, int]] = {}
        self._superseded_ms: dict[bytes, int | None] = {}
        self._listed_s = float("-inf")

    async def keys(self, key_ids: Iterable[bytes]) -> Mapping[bytes, Key]:
        """Learn the keys with these ids; every key known so far. A key names its gateway for ever."""
        missing = [key_id for key_id in set(key_ids) if key_id not in self._keys]
        if missing:
            found = await self._link.read_keys(missing)
            if len(self._keys) > KEYS_MAX:
                self._keys.clear()
            for key_id, public_key, gateway in found:
                self._keys[key_id] = Key(gateway, public_key)
        return self._keys

    async def catalogs(self, digests: Iterable[bytes], now_s: float) -> Mapping[bytes, CatalogView]:
        """Those of these catalogues that this cloud once issued."""
        wanted = set(digests)
        if not wanted:
            return {}
        if now_s - self._listed_s > SUCCESSORS_FRESH_S or not wanted <= self._superseded_ms.keys():
            await self._list(now_s)
        views = {}
        for digest in wanted & self._superseded_ms.keys():
            rates = self._catalogs.get(digest) or await self._read(digest)
            if rates is not None:
                views[digest] = CatalogView(rates, self._superseded_ms[digest])
        return views

    async def rates(self) -> Mapping[str, RateHistory]:
        """Every material's rates as they stand now."""
        starts: dict[str, list[int]] = defaultdict(list)
        points: dict[str, list[int]] = defaultdict(list)
        for material, valid_from, points_per_kg in await self._link.read_rates():
            starts[material].append(int(valid_from.timestamp() * 1000))
            points[material].append(points_per_kg)
        return {material: RateHistory(starts[material], points[material]) for material in starts}

    async def _list(self, now_s: float) -> None:
        issued = sorted((row[1], row[2], row[0], row[3]) for row in await self._link.read_catalogs())
        successors = [int(row[3].timestamp() * 1000) for row in issued[1:]] + [None]
        self._superseded_ms = {row[2]: after for row, after in zip(issued, successors, strict=True)}
        self._listed_s = now_s

    async def _read(self, digest: bytes) -> Mapping[str, int] | None:
        """The rates of a catalogue; None, and a word in the log, if no key of ours ever signed it.

        Its weighings then wait in quarantine: one unreadable row must not stop everybody else's.
        """
        data = await self._link.read_catalog(digest) or b""
        try:
            body = open_document(data, Name.CATALOG, await self._keys_for(data)).body(CatalogBody)
        except ProtocolError as error:
            _log.warning("catalogue unreadable", digest=digest.hex(), code=error.code, error=str(error))
            return None
        if len(self._catalogs) >= CATALOGS_MAX:
            self._catalogs.clear()
        rates = self._catalogs[digest] = {each.code: each.points_per_kg for each in body.materials}
        return rates

    async def _keys_for(self, data: bytes) -> Callable[[bytes], bytes | None]:
        """Finds document keys by id; learns those ever announced if today's did not sign `data`."""
        if parse(data).key_id not in self._document_keys:
            root = self._keyring.root
            for keys in await self._link.read_key_documents():
                for each in _announced(keys, {root.key_id: root.public}):
                    if each.use is KeyUse.DOCUMENT:
                        self._document_keys[key_id_of(each.public_key)] = each.public_key
        return self._document_keys.get


def _announced(data: bytes, root: Mapping[bytes, bytes]) -> list[CloudKey]:
    """The keys that a keys document announces; none if this root did not sign it."""
    try:
        return open_document(data, Name.KEYS, root.get).body(KeysBody).keys
    except ProtocolError:
        return []

"""One world twice: ingest over a real Postgres, and ingest over the model, told the same in the same order.

After each round both must have answered the same and hold the same. A world has a database of its own.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import psycopg

from cloud.errors import LedgerError, NotFoundError
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.storage import UnfitError
from cloud.kit.database import connect
from cloud.ledger import service as ledger
from cloud.ledger.accounts import ISSUER, citizen_account, holding_account
from cloud.ledger.posting import lock_accounts, post
from cloud.ledger.transfers import NewTransfer, TransferCode
from protocol.documents import CatalogBody, Material, Name, build_document, document_digest
from tests.cloud.ingest.gateway import RATES, WALL_MS, serial_of
from tests.proof.histories.comparing import differences
from tests.proof.histories.side import Raw, Side, Stopped
from tests.proof.histories.site import CITIZENS, TAGS, Site, guest_hash
from tests.proof.simulation import store_ledger
from tests.proof.simulation.store import Model
from tests.proof.simulation.store_tables import Tables, TransferRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.kit.keyring import Keyring
    from cloud.ledger.models import Report
    from tests.proof.histories.databases import Database

GATEWAYS = 5
GUESTS = 12
FRAMES_MAX = 28
_BACKUP = "backup"
OUT_OF_RANGE = "out of range"
PG_EPOCH_MS = 946_684_800_000
_KNOWN_TAGS = TAGS[:2]
DROP_POINT = uuid.UUID(int=0xD << 96)


class Difference(Exception):  # noqa: N818 - a finding, not a failure of ours
    """Postgres and the model are not the same, or the ledger does not add up."""


class World:
    """Both sides and the drop points that send to them. Every step is drawn from `chance`."""

    def __init__(self, key: str, database: Database, keyring: Keyring) -> None:
        self.chance = random.Random(key)
        self._database = database
        self._keyring = keyring
        self._clock = Stopped()
        self._catalogs: list[bytes] = []
        self.model = Model(_no_time, random.Random(key))
        database.empty()
        self._open_sides()
        self.steps = self.restores = 0
        self.batches = self.stale = self.unfit = 0
        self._backup: Tables | None = None
        self.rich = False
        self._add_people()
        self._add_catalog()
        self.sites = [
            Site(f"drop-point-{number}", self.chance, self._catalogs, GUESTS) for number in range(GATEWAYS)
        ]
        for number, site in enumerate(self.sites):
            self._add_gateway(site, DROP_POINT if number == 0 else None)
        for _ in range(3):
            self._change_card()

    def _open_sides(self) -> None:
        self.admin = psycopg.connect(self._database.url, autocommit=True)
        self.postgres = Side(
            PostgresStorage(self._database.url), self._keyring, self._clock, random.Random(1)
        )
        self.imitation = Side(self.model, self._keyring, self._clock, random.Random(2))
        self._ledger: psycopg.AsyncConnection | None = None

    # -- what stands beforehand -----------------------------------------------------------------------------

    def _add_people(self) -> None:
        self._sql("INSERT INTO drop_points (id, code, name) VALUES (%s, 'd', 'd')", DROP_POINT)
        for number in range(CITIZENS - 2):  # the others come by their cards
            citizen, pseudonym = uuid.UUID(int=number + 1), serial_of(number)[:8]
            self._sql("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", citizen, pseudonym)
            self.model.add_citizen(citizen, pseudonym)
        for number, raw in enumerate(_KNOWN_TAGS):
            self._sql("INSERT INTO tags VALUES (%s, %s)", raw, uuid.UUID(int=number + 1))
            self.model.add_tag(raw, serial_of(number)[:8])

    def _add_gateway(self, site: Site, drop_point: uuid.UUID | None) -> None:
        key = site.journals[0].key
        self._sql(
            "INSERT INTO gateways (id, state, drop_point_id) VALUES (%s, 'claimed', %s)",
            site.name,
            drop_point,
        )
        self._sql(
            "INSERT INTO gateway_keys (key_id, gateway_id, public_key) VALUES (%s, %s, %s)",
            key.key_id, site.name, key.public,
        )  # fmt: skip
        self.model.add_gateway(site.name, key.key_id, key.public, drop_point=drop_point)

    def _add_catalog(self) -> None:
        """Issue a catalogue; each one but the first pays something else for paper."""
        version = len(self._catalogs) + 1
        rates = RATES | {"paper": RATES["paper"] + version - 1}
        issued_ms = WALL_MS - 86_400_000 + version * 60_000
        body = CatalogBody(
            [Material(each, each, each, each, rates[each], version) for each in rates], 2_592_000
        )
        data = build_document(Name.CATALOG, 1, version, issued_ms, body, self._keyring.document)
        digest, issued_at = document_digest(data), datetime.fromtimestamp(issued_ms / 1000, UTC)
        self._sql(
            "INSERT INTO documents VALUES ('catalog', 1, %s, %s, %s, %s)", version, digest, data, issued_at
        )
        self.model.add_catalog(digest, data, issued_at, 1, version)
        for code, rate in rates.items():
            self._pay_for(code, rate, issued_at, version)
        for code, material in (("BIN-PET", "pet"), ("BIN-GLASS", "glass")):
            self._sql(
                "INSERT INTO bins (code, material) VALUES (%s, %s) ON CONFLICT DO NOTHING", code, material
            )
            self.model.tables.bins[code] = material
        self._catalogs.append(digest)

    def _pay_for(self, material: str, rate: int, since: datetime, version: int = 1) -> None:
        self._sql(
            "INSERT INTO materials (code, name_en, name_ne) VALUES (%s, '', '') ON CONFLICT DO NOTHING",
            material,
        )
        self._sql("INSERT INTO rates VALUES (%s, %s, %s, %s)", material, version, rate, since)
        self.model.add_rate(material, since, rate)

    def _sql(self, statement: str, *values: Any) -> None:
        self.admin.execute(statement.encode(), values)

    # -- rounds ---------------------------------------------------------------------------------------------

    async def round(self) -> int:
        """Some steps, and the comparison after them; how many steps."""
        self._clock.ms += 7_000
        (since,) = self.admin.execute(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone() or (0,)
        (what,) = self.chance.choices(list(ROUNDS), [weight for _, weight in ROUNDS.values()])
        done = await ROUNDS[what][0](self)
        found = differences(self.admin, self.model.tables, since)
        if found:
            raise Difference(f"after {what}: " + "; ".join(found))
        self.steps += done
        return done

    async def deliver(self) -> int:
        """One batch of frames, from any of the gateways."""
        which = int(self.chance.random() < 0.2)
        through: dict[str, dict[int, int]] = {site.name: {} for site in self.sites}
        for (name, epoch), cursor in self.model.tables.cursors.items():
            through[name][epoch] = cursor.through
        count = self.chance.randint(1, self.chance.choice((3, FRAMES_MAX, FRAMES_MAX)))
        chosen = self.chance.choices(self.sites, k=count)
        frames = [site.frame(through[site.name]) for site in chosen]
        if self.chance.random() < 0.05:
            frames.append(b"rubbish")
        give_up = self.chance.random() < 0.05
        known, theirs = await self.postgres.deliver(which, frames, give_up=give_up)
        view, ours = await self.imitation.deliver(which, frames, give_up=give_up)
        if known != view:
            raise Difference(f"views differ: {_unlike(known, view)}")
        if theirs != ours:
            pairs = [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]
            raise Difference(f"answers differ, in Postgres and in the model: {pairs[:2]}")
        return len(frames)

    async def retry(self) -> int:
        """An operator tries held records again, perhaps once steel is worth something, or rejects one."""
        steel = any(row.material == "steel" for row in self.model.tables.rates.values())
        if not steel and self.chance.random() < 0.3:
            self._pay_for("steel", 1_000, datetime(2020, 1, 1, tzinfo=UTC))
        held = [
            uuid.UUID(bytes=key) for key, row in self.model.tables.quarantine.items() if row.state == "held"
        ]
        chosen = [each for each in held if self.chance.random() < 0.4]
        if chosen and self.chance.random() < 0.3:
            self._sql("UPDATE quarantine SET state = 'rejected' WHERE id = %s", chosen[0])
            self.model.reject(chosen[0])
        theirs = await self.postgres.ingests[0].retry(chosen)
        ours = await self.imitation.ingests[0].retry(chosen)
        if theirs != ours:
            raise Difference(f"retries differ: Postgres {theirs}, the model {ours}")
        return 1

    async def claim(self) -> int:
        """A citizen claims a guest's deposit, perhaps one that is claimed or not here yet."""
        claim_hash = guest_hash(self.chance.randrange(GUESTS))
        pseudonym, citizen = self._citizen()

        async def asked(connection: AsyncConnection) -> int:
            return (await ledger.claim(connection, claim_hash, citizen)).points

        await self._same(asked, lambda: self.model.claim(claim_hash, pseudonym))
        return 1

    async def inherit(self) -> int:
        """An operator gives somebody what an unknown tag or a revoked card holds."""
        key = self.chance.choice((b"tag:" + TAGS[-1], b"card:" + serial_of(self.chance.randrange(CITIZENS))))
        pseudonym, citizen = self._citizen()
        holding = holding_account(key)
        await self._same(
            lambda connection: ledger.release_holding(connection, holding, citizen),
            lambda: self.model.release_holding(holding, pseudonym),
        )
        return 1

    async def decide(self) -> int:
        """An operator decides on what forks left."""
        rows = self.model.tables.weighings.items()
        waiting = [uuid.UUID(bytes=key) for key, row in rows if row.pending and not row.voided]
        chosen = [each for each in waiting if self.chance.random() < 0.6]
        if self.chance.random() < 0.5:
            await self._same(
                lambda connection: ledger.release(connection, chosen), lambda: self.model.release(chosen)
            )
        else:
            await self._same(
                lambda connection: ledger.withdraw(connection, chosen), lambda: self.model.withdraw(chosen)
            )
        return 1

    async def spend(self) -> int:
        """Everybody spends nearly all that they have, so that later reversals leave debts."""
        for number in range(CITIZENS):
            pseudonym = serial_of(number)[:8]
            amount = self.model.balance("citizen", pseudonym) - self.chance.choice((0, 0, 500))
            if amount > 0:
                await self._pay(citizen_account(pseudonym), ISSUER, amount)
        return 1

    async def windfall(self) -> int:
        """Somebody comes to have nearly all that a column can hold: the next credits will not fit."""
        pseudonym, _ = self._citizen()
        account = citizen_account(pseudonym)
        amount = store_ledger.INT64_MAX - self.model.balance("citizen", pseudonym) - 9_000
        if account in self.model.tables.accounts and amount > 0 and not self.rich:
            self.rich = True
            await self._pay(ISSUER, account, amount)
        return 1

    async def _pay(self, debit: uuid.UUID, credit: uuid.UUID, amount: int) -> None:
        """As a marketplace will: points move by a transfer of its own."""
        source = uuid.UUID(bytes=self.chance.randbytes(16))

        async def asked(connection: AsyncConnection) -> int:
            raw = cast("Raw", connection).driver_connection
            paid = NewTransfer(debit, credit, amount, TransferCode.CLAIM, source)
            return len(await post(raw, [paid], await lock_accounts(raw, [debit, credit])))

        def done() -> int:
            draft = self.model.tables.draft()
            row = TransferRow(debit, credit, amount, store_ledger.CLAIM, source)
            store_ledger.transfer(draft, row)
            draft.keep()
            return 1

        await self._same(asked, done)

    async def change(self) -> int:
        """Cards and gateways are revoked and trusted again, catalogues and rates change."""
        match self.chance.randrange(4):
            case 0:
                self._change_card()
            case 1:
                site, revoked = self.chance.choice(self.sites), self.chance.random() < 0.4
                state = "revoked" if revoked else "claimed"
                self._sql("UPDATE gateways SET state = %s WHERE id = %s", state, site.name)
                self.model.revoke_gateway(site.name, revoked=revoked)
            case 2 if len(self._catalogs) < 4:
                self._add_catalog()
            case _:
                for site in self.sites:
                    self._sql("UPDATE gateways SET state = 'claimed' WHERE id = %s", site.name)
                    self.model.revoke_gateway(site.name, revoked=False)
        return 1

    def _change_card(self) -> None:
        pseudonym, citizen = self._citizen()
        serial = pseudonym + bytes((self.chance.randint(1, 2),))
        offset_ms = self.chance.choice((None, -3_600_000, 60_000, 400_000, 2_000_000))
        revoked_us = None if offset_ms is None else (WALL_MS + offset_ms - PG_EPOCH_MS) * 1000
        revoked_at = None if offset_ms is None else datetime.fromtimestamp((WALL_MS + offset_ms) / 1000, UTC)
        self._sql(
            "INSERT INTO cards VALUES (%s, %s, 0, now(), now(), %s, '')"
            " ON CONFLICT (serial) DO UPDATE SET revoked_at = excluded.revoked_at",
            serial, citizen, revoked_at,
        )  # fmt: skip
        self.model.revoke_card(serial, revoked_us)

    def _citizen(self) -> tuple[bytes, uuid.UUID]:
        """One of those known before anything arrived."""
        number = self.chance.randrange(CITIZENS - 2)
        return serial_of(number)[:8], uuid.UUID(int=number + 1)

    async def back_up(self) -> int:
        """Keep a backup, or go back to it."""
        if self._backup is None or self.chance.random() < 0.4:
            self._database.keep(_BACKUP)
            self._backup = self.model.snapshot()
            return 1
        await self._close_sides()
        self._database.bring_back(_BACKUP)
        self.model.restore(self._backup)
        # Catalogues of after the backup are gone; nothing says so to gateways that hold them.
        del self._catalogs[len(self.model.tables.catalogs) :]
        self.restores += 1
        self._open_sides()
        return 1

    # -- both sides -----------------------------------------------------------------------------------------

    async def _same(
        self, theirs: Callable[[AsyncConnection], Awaitable[int]], ours: Callable[[], int]
    ) -> None:
        """Do something on both sides; answers and refusals must be the same."""
        got, made = await self._theirs(theirs), _outcome(ours)
        if got != made:
            raise Difference(f"Postgres says {got}, the model {made}")

    async def _theirs(self, ask: Callable[[AsyncConnection], Awaitable[int]]) -> str:
        connection = await self._ledger_connection()
        try:
            got = str(await ask(cast("AsyncConnection", Raw(connection))))
        except (LedgerError, NotFoundError) as error:
            await connection.rollback()
            return error.code
        except psycopg.DataError:
            await connection.rollback()
            return OUT_OF_RANGE
        await connection.commit()
        return got

    async def _ledger_connection(self) -> psycopg.AsyncConnection:
        if self._ledger is None:
            self._ledger = await connect(self._database.url)
        return self._ledger

    async def verify(self) -> None:
        """Everything is the same on both sides, and on both the ledger adds up."""
        found = differences(self.admin, self.model.tables, None)
        if found:
            raise Difference("at the end: " + "; ".join(found))
        faults = self.model.faults()
        if not self.rich:  # no award made that windfall, and sums over it fit no column
            faults += [str(each) for each in (await self._report()).faults]
        if faults:
            raise Difference("the ledger does not add up: " + "; ".join(faults[:5]))

    async def _report(self) -> Report:
        connection = await self._ledger_connection()
        try:
            return await ledger.verify(cast("AsyncConnection", Raw(connection)))
        finally:
            await connection.rollback()

    async def _close_sides(self) -> None:
        for ingest in self.postgres.ingests:
            self.batches += ingest.counters.batches
            self.stale += ingest.counters.stale
            self.unfit += ingest.counters.failures
        await self.postgres.close()
        await self.imitation.close()
        self.admin.close()
        if self._ledger is not None:
            await self._ledger.close()

    async def close(self) -> None:
        """Leave nothing behind."""
        await self._close_sides()


def _unlike(theirs: Any, ours: Any) -> list[str]:
    """Which parts of two views differ, and how."""
    found = []
    for name in type(theirs).__slots__:
        left, right = getattr(theirs, name), getattr(ours, name)
        if left != right and isinstance(left, dict):
            keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
            found += [f"{name} {key}: {left.get(key)} and {right.get(key)}" for key in keys]
        elif left != right:
            found.append(f"{name}: {left} and {right}")
    return found


async def _no_time(_: float) -> None:
    """The model answers at once."""


def _outcome(ask: Callable[[], int]) -> str:
    try:
        return str(ask())
    except (LedgerError, NotFoundError) as error:
        return error.code
    except UnfitError:
        return OUT_OF_RANGE


ROUNDS: dict[str, tuple[Callable[[World], Awaitable[int]], float]] = {
    "frames": (World.deliver, 60),
    "a retry": (World.retry, 5),
    "a claim": (World.claim, 5),
    "an inheritance": (World.inherit, 2),
    "a decision": (World.decide, 5),
    "spending": (World.spend, 10),
    "a windfall": (World.windfall, 0.4),
    "a change": (World.change, 8),
    "a backup": (World.back_up, 3),
}

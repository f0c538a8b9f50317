"""The station: runs the one session of this kiosk against the real scale, scanner, journal and clock.

Owns who is served, time-outs, what happens around commits, and the screen. Does not own the rules of a visit
(`deposit`, `pickup`, `arming`). Holds no lock: state changes only between awaits, and an append in flight is
part of the session's state.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

import msgspec

from edge.devices.events import Attached, Detached, HealthChanged, Identified, Scan, ScanFault
from edge.errors import JournalError
from edge.station import deposit, pickup
from edge.station.arming import Plate, observed, rules_for
from edge.station.events import (
    Committed,
    Done,
    EpochChanged,
    Holder,
    NotCommitted,
    Observed,
    Person,
    TimedOut,
    Written,
)
from edge.station.identify import guest_holder
from edge.station.mailbox import Mailboxes
from edge.station.notes import Notes
from edge.station.ports import NOWHERE, Surroundings
from edge.station.presses import RECORDING, deposit_event, pickup_event
from edge.station.recovery import Moment, recover, resume
from edge.station.scans import ScanDesk
from edge.station.screen import Button, Message, Name, Screen
from edge.station.view import Idle, Picture, Session, render
from protocol.errors import RecordError
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from edge.clock import Clock
    from edge.config import ScaleSettings, StationSettings
    from edge.devices.events import DeviceEvent
    from edge.devices.readings import ScaleView
    from edge.directory import CatalogView, Directory
    from edge.journal import AsyncJournal
    from edge.station.events import Effects
    from edge.station.rebuild import Recovered
    from protocol.bodies import Body
    from protocol.documents import ConfigBody

TICK_S = 0.1
"""How often the scale is looked at: 10 Hz, what the page can show."""
HEARTBEAT_S = 0.4
"""A shown weight is published at least this often, so that the page can tell live from frozen."""
REFRESH_S = 1.0
"""How old the station's copy may be of what others know: catalogue, clock quality, room on the disk."""
MESSAGE_S = 8.0
"""How long a word to somebody who left stays on the idle screen."""
RECOVER_AGAIN_S = 2.0
"""How long to leave a journal alone that does not answer."""
MOVING_DIVISIONS = 5
"""A change of more divisions than this is a person at work, not wind or drift."""
MOVING_TIMEOUTS = 5
"""Movement alone keeps a visit open for at most this many idle time-outs."""

_STARTING = "station.starting"
_NOTHING_SAVED = frozenset({"journal.busy", "journal.full", "journal.failed", "journal.epoch"})
"""Codes that promise that nothing was saved; after any other the journal is read back."""


@dataclass(slots=True)
class _Known:
    """The station's short-lived copy of what others own."""

    catalog: CatalogView | None = None
    config: ConfigBody | None = None
    quality: ClockQuality = ClockQuality.UNKNOWN
    around: Surroundings = NOWHERE
    at_s: float = float("-inf")


class Station:
    """One kiosk's station.

    `scale` gives the scale's view now; `random(n)` n secret bytes; `intake` why nothing may be taken in
    (a code, None if all is well); `surroundings` what the rest of the agent knows. Call `run`.
    """

    def __init__(
        self,
        *,
        journal: AsyncJournal,
        directory: Directory,
        scale: Callable[[], ScaleView],
        clock: Clock,
        random: Callable[[int], bytes],
        settings: StationSettings,
        scale_settings: ScaleSettings | None,
        intake: Callable[[], str | None] = lambda: None,
        surroundings: Callable[[], Surroundings] = Surroundings,
    ) -> None:
        self._journal = journal
        self._directory = directory
        self._scale = scale
        self._clock = clock
        self._random = random
        self._settings = settings
        self._intake = intake
        self._surroundings = surroundings
        self._rules = rules_for(settings, scale_settings)
        self._desk = ScanDesk(directory, clock)
        self._notes = Notes(journal)
        self._known = _Known()
        self._view = scale()
        self._session: Session = Idle(Plate())
        self._epoch = journal.epoch
        self._suspended: str | None = _STARTING
        self._doubt: str | None = None
        self._recovered = False
        self._recover_at_s = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._touched_s = self._pressed_s = clock.monotonic()
        self._published_s = float("-inf")
        self._moved_from_g: int | None = None
        # Grows over restarts of the agent within one boot, faster than screens can be published.
        self._boxes = Mailboxes(Screen(clock.mono_ms(), Name.SUSPENDED))
        self._refresh(clock.monotonic())
        self._publish()

    # What others call

    @property
    def screen(self) -> Screen:
        """What the kiosk shows now."""
        return self._boxes.latest

    def subscribe(self) -> AsyncIterator[Screen]:
        """The present screen and every newer one; a slow reader skips. Raises StationError when crowded."""
        return self._boxes.subscribe()

    async def press(self, button: Button, value: str | None = None) -> Screen:
        """Somebody pressed `button`; returns the screen after it, and after its commit if it needs one.

        Cancelling the caller does not cancel the commit. Raises StationError for a value that means nothing;
        a button that does nothing now changes nothing.
        """
        return await self._finished(self._press(button, value))

    async def scanned(self, scan: Scan) -> Screen:
        """Something was scanned; returns the screen after it, and after its commit if it needs one."""
        return await self._finished(self._scan(scan))

    def take(self, event: DeviceEvent) -> None:
        """What drivers tell; never waits."""
        match event:
            case Scan():
                self._scan(event)
            case Attached() | Detached():
                self._notes.device(event)
            case Identified():
                self._name_scale(event.serial or event.model)
            case HealthChanged() | ScanFault():
                pass  # the scale's health is seen at every tick, and a code cut short is scanned again
            case _:
                assert_never(event)

    async def run(self) -> None:
        """Look at the scale and the clock until cancelled. Raises what an append raised unexpectedly."""
        while self._failure is None:
            self.tick()
            await self._clock.sleep(TICK_S)
        raise self._failure

    def tick(self) -> None:
        """One look at the scale, the time and the surroundings; never waits."""
        now_s = self._clock.monotonic()
        self._view = self._scale()
        if now_s - self._known.at_s >= REFRESH_S:
            self._refresh(now_s)
        if not self._recovered:
            self._start_recovery(now_s)
        else:
            self._look(now_s)
            self._expire(now_s)
            self._note(now_s)
        self._publish()

    async def settle(self) -> None:
        """Wait until nothing is on its way to the journal; call it before closing that."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # Presses and scans

    def _press(self, button: Button, value: str | None) -> asyncio.Task[None] | None:
        self._touch()
        self._check_epoch()
        self._view = self._scale()
        session, picture = self._session, self._picture()
        if self._suspended is not None and button in RECORDING:
            self._say(Message.NOT_SAVED)
            return None
        match session:
            case Idle():
                return self._press_idle(session, button)
            case deposit.Deposit():
                return self._in_deposit(session, deposit_event(button, value, picture))
            case pickup.Pickup():
                return self._in_pickup(session, pickup_event(button, value, picture))

    def _press_idle(self, idle: Idle, button: Button) -> asyncio.Task[None] | None:
        if button is Button.GUEST and idle.receipt is None and self._serves_deposits:
            return self._open(guest_holder(self._random))
        if button is Button.DONE:
            return self._enter(Idle(idle.plate))
        return None

    def _scan(self, scan: Scan) -> asyncio.Task[None] | None:
        if not self._desk.is_new(scan):
            return None
        self._touch()
        self._check_epoch()
        if scan.kind in {"card", "tag"}:
            self._leave_receipt()
        match self._session:
            case Idle():
                return self._identify(scan) if self._serves else None
            case deposit.Deposit() as visit:
                return self._in_deposit(visit, self._desk.in_deposit(scan) if visit.open else None)
            case pickup.Pickup() as handling:
                handing_over = handling.phase is pickup.Phase.HANDOVER
                return self._in_pickup(handling, self._desk.in_pickup(scan, handing_over))

    def _identify(self, scan: Scan) -> asyncio.Task[None] | None:
        visitor = self._desk.visitor(scan)
        match visitor:
            case Message():
                self._say(visitor)
                return None
            case Holder():
                return self._open(visitor) if self._serves_deposits else None
            case Person():
                return self._enter(*pickup.begin(self._rules, self._session.plate, visitor))

    def _open(self, holder: Holder) -> asyncio.Task[None] | None:
        return self._enter(*deposit.begin(self._rules, self._session.plate, holder))

    def _leave_receipt(self) -> None:
        """The next person need not press away what the last one left standing."""
        match self._session:
            case deposit.Deposit(phase=deposit.Phase.RECEIPT) | pickup.Pickup(phase=pickup.Phase.HANDED_OVER):
                self._both(Done())
            case Idle(receipt=receipt, plate=plate) if receipt is not None:
                self._enter(Idle(plate))
            case _:
                pass

    @property
    def _serves(self) -> bool:
        return self._known.around.claimed and self._suspended is None

    @property
    def _serves_deposits(self) -> bool:
        return self._serves and self._known.catalog is not None

    # The session and its commits

    def _in_deposit(
        self, state: deposit.Deposit, event: deposit.Event | Message | None
    ) -> asyncio.Task[None] | None:
        if isinstance(event, Message):
            self._say(event)
            return None
        return self._enter(*deposit.step(state, event)) if event else None

    def _in_pickup(
        self, state: pickup.Pickup, event: pickup.Event | Message | None
    ) -> asyncio.Task[None] | None:
        if isinstance(event, Message):
            self._say(event)
            return None
        return self._enter(*pickup.step(state, event)) if event else None

    def _both(
        self, event: Observed | TimedOut | EpochChanged | Committed | NotCommitted | Done
    ) -> asyncio.Task[None] | None:
        match self._session:
            case deposit.Deposit() as visit:
                return self._in_deposit(visit, event)
            case pickup.Pickup() as handling:
                return self._in_pickup(handling, event)
            case Idle() as idle:
                if isinstance(event, Observed):
                    self._session = replace(idle, plate=observed(idle.plate, event.view))
                return None

    def _enter(self, session: Session, effects: Effects = ()) -> asyncio.Task[None] | None:
        """Take the session's next state and start the append it asks for; it asks for one at a time."""
        if isinstance(self._session, Idle) and not isinstance(session, Idle):
            self._epoch = self._journal.epoch
        match session:
            case deposit.Deposit(phase=deposit.Phase.ENDED) | pickup.Pickup(phase=pickup.Phase.ENDED):
                session = Idle(session.plate, session.message)
            case _:
                pass
        self._session = session
        task = self._spawn(self._append(effects[0].bodies)) if effects else None
        self._publish()
        return task

    async def _append(self, wanted: tuple[Body, ...]) -> None:
        try:
            entries = await self._journal.append(*wanted, epoch=self._epoch)
        except (JournalError, RecordError) as error:
            if isinstance(error, JournalError) and error.code not in _NOTHING_SAVED:
                self._read_back(error.code)
            else:
                self._both(NotCommitted())
        else:
            written = (Written(entry.seq, str(entry.id), entry.record.wall_ms) for entry in entries)
            self._both(Committed(tuple(written)))
        self._touch()

    def _say(self, message: Message) -> None:
        """A word to the person; while an append runs there is nothing to say yet."""
        if isinstance(self._session, Idle) or self._session.pending is None:
            self._session = replace(self._session, message=message)
            self._publish()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    async def _finished(self, task: asyncio.Task[None] | None) -> Screen:
        if task is not None:
            await asyncio.shield(task)
        return self.screen

    # Restart and doubt

    def _read_back(self, code: str) -> None:
        """Nobody can tell whether a commit happened: show nothing as saved until the journal was read."""
        self._recovered, self._doubt, self._suspended = False, code, code
        self._recover_at_s = float("-inf")
        self._publish()

    def _start_recovery(self, now_s: float) -> None:
        if now_s - self._recover_at_s >= RECOVER_AGAIN_S:
            self._recover_at_s = float("inf")
            self._spawn(self._recover())

    async def _recover(self) -> None:
        try:
            recovered = await recover(self._journal, self._doubt)
        except JournalError as error:
            self._suspended = error.code
            self._recover_at_s = self._clock.monotonic()
            return
        self._notes.intake_was(suspended=recovered.suspended or self._doubt is not None)
        self._session, self._recovered, self._doubt = self._resumed(recovered), True, None
        self._suspended = self._intake()
        self._touch()
        self._publish()

    def _resumed(self, recovered: Recovered) -> Idle:
        session, config, clock = self._session, self._known.config, self._clock
        moment = Moment(self._journal.boot, clock.mono_ms(), clock.wall_ms())
        holder = session.holder if isinstance(session, deposit.Deposit) else None
        return resume(recovered, moment, holder, config.receipt_url if config else "")

    # Ticks

    def _refresh(self, now_s: float) -> None:
        known = self._known
        known.catalog, known.config = self._directory.catalog(), self._directory.config()
        known.around, known.quality = self._surroundings(), self._clock.quality()
        known.at_s = now_s
        if self._recovered:
            self._suspended = self._intake()

    def _look(self, now_s: float) -> None:
        self._both(Observed(self._view))
        self._watch_movement(now_s)
        self._check_epoch()

    def _check_epoch(self) -> None:
        if not isinstance(self._session, Idle) and self._journal.epoch != self._epoch:
            self._both(EpochChanged())

    def _watch_movement(self, now_s: float) -> None:
        """Somebody who fills a bag on the scale is there, even if they press nothing for a while."""
        reading = self._view.reading
        gross_g = reading.gross_g if reading is not None and self._view.health == "ok" else None
        if gross_g is None:
            return
        from_g = self._moved_from_g
        if from_g is None or abs(gross_g - from_g) > MOVING_DIVISIONS * self._rules.division_g:
            self._moved_from_g = gross_g
            if now_s - self._pressed_s < MOVING_TIMEOUTS * self._settings.idle_timeout_s:
                self._touched_s = now_s

    def _touch(self) -> None:
        self._touched_s = self._pressed_s = self._clock.monotonic()

    def _expire(self, now_s: float) -> None:
        quiet_s = now_s - self._touched_s
        match self._session:
            case Idle(receipt=None, message=None):
                return
            case Idle(receipt=None) as idle:
                if quiet_s >= MESSAGE_S:
                    self._enter(Idle(idle.plate))
            case Idle() as idle:
                if quiet_s >= self._settings.receipt_timeout_s:
                    self._enter(Idle(idle.plate))
            case deposit.Deposit() | pickup.Pickup() as session:
                limit_s = self._settings.idle_timeout_s if session.open else self._settings.receipt_timeout_s
                if quiet_s >= limit_s:
                    self._touched_s = now_s
                    self._both(TimedOut())

    def _note(self, now_s: float) -> None:
        """Journal what changed around us, within the bound of `watch`."""
        self._notes.intake(self._suspended)
        self._notes.scale(self._rules.scale, self._view)
        self._notes.write(now_s, self._spawn)

    def _name_scale(self, serial: str) -> None:
        """The scale told who it is: records from the next session on say so."""
        dialect = self._rules.scale.partition(":")[0]
        self._rules = replace(self._rules, scale=f"{dialect}:{serial}")

    # The screen

    def _picture(self) -> Picture:
        known = self._known
        return Picture(
            session=self._session,
            rules=self._rules,
            view=self._view,
            catalog=known.catalog,
            config=known.config,
            around=known.around,
            suspended=self._suspended,
            recovered=self._recovered,
            quality=known.quality,
            backlog=self._journal.head - self._journal.acked,
            gateway=self._journal.gateway,
            preset_tares_g=self._settings.preset_tares_g,
        )

    def _publish(self) -> None:
        now_s, latest = self._clock.monotonic(), self._boxes.latest
        screen = render(self._picture(), latest.version)
        beat = screen.weight is not None and now_s - self._published_s >= HEARTBEAT_S
        if screen != latest or beat:
            self._published_s = now_s
            self._boxes.put(msgspec.structs.replace(screen, version=latest.version + 1))

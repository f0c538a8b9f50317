"""When an MT-SICS scale is asked what. Pure: the port belongs to the scale driver, the grammar to `frames`.

        ┌─────────── answered ───────────┐
    WAITING ── period over: send SI ──► ASKED ── no answer by the deadline: WAITING, and ask again

On attach the serial number and the model are asked first, once each; a clone that does not know them
answers `ES` or not at all and is weighed with all the same.
"""

from typing import Final

from edge.devices.readings import FrameFault, Reading, Status
from edge.devices.scales.conversation import Identity
from edge.devices.scales.mt_sics import frames

ANSWER_DEADLINE_S: Final = 0.6
"""`SI` is answered at once; the longest line takes 0.13 s at 9600 baud."""


class Polling:
    """The conversation with an MT-SICS scale: one request at a time, each with a deadline."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._parser = frames.MtSicsParser()
        self._questions = [frames.request_serial(), frames.request_model()]
        self._identity = Identity()
        self._asked_identity = False
        self._asked_s: float | None = None
        self._next_s: float | None = None
        self.unanswered = 0

    @property
    def identity(self) -> Identity:
        """Serial number and model, as far as the scale told them."""
        return self._identity

    def due(self, now: float) -> bytes:
        """The next request, when the last one is answered or given up and the period is over."""
        if self._asked_s is not None:
            if now - self._asked_s < ANSWER_DEADLINE_S:
                return b""
            self.unanswered += 1
            self._asked_s = None
        if self._next_s is not None and now < self._next_s:
            return b""
        self._asked_s = now
        self._next_s = now + self._period_s
        self._asked_identity = bool(self._questions)
        return self._questions.pop(0) if self._questions else frames.request_immediate()

    def wait_s(self, now: float) -> float | None:
        """Seconds until the period or the deadline is over."""
        if self._asked_s is not None:
            return max(0.0, self._asked_s + ANSWER_DEADLINE_S - now)
        return max(0.0, (self._next_s or now) - now)

    def feed(self, data: bytes, now: float) -> list[Reading | FrameFault]:  # noqa: ARG002 - part of Conversation
        """Readings and faults; any complete line ends the wait for an answer."""
        items = self._parser.feed(data)
        answers = self._parser.take_answers()
        for answer in answers:
            self._learn(answer)
        if items or answers:
            self._asked_s = None
        if self._asked_identity:  # a clone that does not know the question is not out of order
            return [item for item in items if not _is_error(item)]
        return items

    def _learn(self, answer: frames.Answer) -> None:
        match answer.command, answer.status:
            case "I4", "A":
                self._identity = Identity(answer.text, self._identity.model)
            case "I2", "A":
                self._identity = Identity(self._identity.serial, answer.text)
            case _:
                pass


def _is_error(item: Reading | FrameFault) -> bool:
    return isinstance(item, Reading) and item.status is Status.ERROR

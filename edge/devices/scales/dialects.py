"""Which dialect name stands for which parser and conversation. Owns the names, no bytes.

    dialect          family   talks      at rest    out of range  checked by
    mt-sics          mt_sics  asked      flag       yes           width
    toledo           toledo   by itself  flag       yes           sum of 7 bits, if the scale sends it
    and              st_gs    by itself  flag       yes           width
    cas22 cas18      st_gs    by itself  flag       yes           width
    cas10            st_gs    by itself  computed   no            width
    kern             st_gs    by itself  flag       yes           width
    a9               yaohua   by itself  computed   no            XOR
    a9-command       yaohua   asked      computed   no            XOR
    yaohua-reversed  yaohua   by itself  computed   no            width
    a12e             yaohua   by itself  computed   yes           XOR
    a12e-clone       yaohua   by itself  computed   no            width

Where out of range is "no" the makers say that frames stop or repeat: silence shows as stale, a repeated last
value cannot be told from a load at rest, so the station holds every mass against the scale's maximum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.devices.readings import Parser
from edge.devices.scales.conversation import Conversation, Listening
from edge.devices.scales.mt_sics.driver import Polling
from edge.devices.scales.mt_sics.frames import MtSicsParser
from edge.devices.scales.st_gs import frames as st_gs
from edge.devices.scales.toledo.frames import ToledoParser
from edge.devices.scales.yaohua import frames as yaohua
from edge.devices.scales.yaohua.driver import Asking
from edge.devices.scales.yaohua.reversed_frames import ReversedParser
from edge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setup:
    """What the bytes alone do not tell and a site has to set up.

    `unit` for dialects that send none, `checksum` for Toledo's optional byte (None finds out), `address` and
    `period_s` for scales that are asked.
    """

    unit: str = "kg"
    checksum: bool | None = None
    address: str = "A"
    period_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Dialect:
    """A maker's wire format. `framing` is the usual one of its line."""

    name: str
    parser: Callable[[Setup], Parser]
    conversation: Callable[[Setup], Conversation] | None = None
    framing: str = "8N1"
    baud: int = 9600

    def converse(self, setup: Setup) -> Conversation:
        """A fresh conversation for a port that was just opened."""
        if self.conversation is not None:
            return self.conversation(setup)
        return Listening(self.parser(setup))


_ALL: Final = (
    Dialect("mt-sics", lambda _: MtSicsParser(), lambda setup: Polling(setup.period_s)),
    Dialect("toledo", lambda setup: ToledoParser(checksum=setup.checksum), framing="7E1"),
    Dialect("and", lambda _: st_gs.StGsParser(st_gs.decode_and), framing="7E1", baud=2400),
    Dialect("cas22", lambda _: st_gs.StGsParser(st_gs.decode_cas22)),
    Dialect("cas18", lambda _: st_gs.StGsParser(st_gs.decode_cas18)),
    Dialect("cas10", lambda setup: st_gs.StGsParser(st_gs.decode_cas10(setup.unit))),
    Dialect("kern", lambda _: st_gs.StGsParser(st_gs.decode_kern)),
    Dialect("a9", lambda setup: yaohua.A9Parser(setup.unit)),
    Dialect(
        "a9-command",
        lambda setup: yaohua.A9ReplyParser(setup.unit),
        lambda setup: Asking(setup.address, setup.unit, setup.period_s),
    ),
    Dialect("yaohua-reversed", lambda setup: ReversedParser(setup.unit)),
    Dialect("a12e", lambda _: yaohua.A12eParser()),
    Dialect("a12e-clone", lambda _: yaohua.A12eCloneParser()),
)

DIALECTS: Final[dict[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}


def dialect(name: str) -> Dialect:
    """The dialect called `name`. Raises ConfigError `config.dialect` naming those there are."""
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"no scale dialect {name!r}; there are {known}", code="config.dialect") from None

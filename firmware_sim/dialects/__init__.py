"""The wire formats a simulated scale can speak, by the names used in settings and on command lines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from firmware_sim.dialects.base import Adapter, Continuous, Turn
from firmware_sim.dialects.mt_sics import MtSics, ScaleIdentity
from firmware_sim.dialects.st_gs import encode_and, encode_cas10, encode_cas18, encode_cas22, encode_kern
from firmware_sim.dialects.toledo import ToledoEncoder
from firmware_sim.dialects.yaohua import encode_a9, encode_a12e, encode_a12e_clone, encode_reversed
from firmware_sim.errors import UnknownDialectError
from firmware_sim.indication import Indication

__all__ = ["DIALECTS", "Adapter", "DialectOptions", "ScaleIdentity", "Turn", "make_adapter"]

Encoder = Callable[[Indication], bytes]


@dataclass(frozen=True, slots=True)
class DialectOptions:
    """What can be set on the indicator's menu: line speed, Toledo checksum, who it says it is."""

    baud: int = 9600
    checksum: bool = True
    identity: ScaleIdentity = field(default_factory=ScaleIdentity)


def _continuous(encode: Encoder, options: DialectOptions) -> Adapter:
    return Continuous(encode, options.baud)


def _toledo(options: DialectOptions) -> Adapter:
    return Continuous(ToledoEncoder(options.checksum), options.baud)


def _mt_sics(options: DialectOptions) -> Adapter:
    return MtSics(options.identity)


DIALECTS: dict[str, Callable[[DialectOptions], Adapter]] = {
    "mt-sics": _mt_sics,
    "toledo": _toledo,
    "and": partial(_continuous, encode_and),
    "cas22": partial(_continuous, encode_cas22),
    "cas18": partial(_continuous, encode_cas18),
    "cas10": partial(_continuous, encode_cas10),
    "kern": partial(_continuous, encode_kern),
    "a9": partial(_continuous, encode_a9),
    "yaohua-reversed": partial(_continuous, encode_reversed),
    "a12e": partial(_continuous, encode_a12e),
    "a12e-clone": partial(_continuous, encode_a12e_clone),
}


def make_adapter(dialect: str, options: DialectOptions) -> Adapter:
    """The adapter for a dialect name; raises UnknownDialectError naming the ones there are."""
    if dialect not in DIALECTS:
        raise UnknownDialectError(f"no dialect {dialect!r}; choose one of: {', '.join(DIALECTS)}")
    return DIALECTS[dialect](options)

"""The faults a simulated device can have, by the names used in scenarios and on the control socket."""

from enum import StrEnum

from firmware_sim.errors import CommandError


class Fault(StrEnum):
    """One named fault; `replug` is the only one that passes by itself."""

    UNPLUG = "unplug"  # the port vanishes
    REPLUG = "replug"  # the port comes (back) under another terminal name
    HALF_FRAME = "half_frame"  # frames are cut short
    GARBAGE = "garbage"  # noise between the frames
    SECOND_BAG = "second_bag"  # another bag stands on the first
    FREEZE_VALUE = "freeze_value"  # live frames, dead number
    FREEZE_PORT = "freeze_port"  # port open, no bytes
    WRONG_BAUD = "wrong_baud"  # the indicator's menu says another speed
    STALE_FIRST_VALUE = "stale_first_value"  # the first value after a pause is the last weighing's
    LB = "lb"  # somebody pressed the unit key
    OVERLOAD = "overload"  # somebody stands on the plate
    POWER_CUT = "power_cut"  # the indicator is dead and forgets zero and tare


SCANNER_FAULTS = frozenset(
    {
        Fault.UNPLUG,
        Fault.REPLUG,
        Fault.HALF_FRAME,
        Fault.GARBAGE,
        Fault.FREEZE_PORT,
        Fault.WRONG_BAUD,
        Fault.POWER_CUT,
    }
)


def fault_named(name: str, allowed: frozenset[Fault] = frozenset(Fault)) -> Fault:
    """The fault of that name; CommandError lists the ones this device can have."""
    if name not in allowed:
        raise CommandError(f"no fault {name!r} here; choose one of: {', '.join(sorted(allowed))}")
    return Fault(name)

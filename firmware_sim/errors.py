"""Errors of the simulator: one root, each with a stable code and a message that says what to do."""


class SimulatorError(Exception):
    """Root of every error the simulator raises; `code` is stable, the message is for people."""

    code = "sim.failed"


class UnknownDialectError(SimulatorError):
    """A dialect name that no simulated scale speaks."""

    code = "sim.unknown_dialect"


class ProfileError(SimulatorError):
    """A scale or scanner was described with values that no such device could have."""

    code = "sim.bad_profile"


class LinkError(SimulatorError):
    """The symlink or the control socket could not be made at the path asked for."""

    code = "sim.bad_link"


class CommandError(SimulatorError):
    """A command on the control socket or the Python API made no sense; nothing was changed."""

    code = "sim.bad_command"


class ScenarioError(SimulatorError):
    """A scenario file is wrong; the message names file, line and key."""

    code = "scenario.invalid"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class KioskError(SimulatorError):
    """The kiosk could not be reached, or answered something that is no screen."""

    code = "sim.kiosk_unreachable"


class KioskAddressError(KioskError):
    """The address given for the kiosk is none."""

    code = "sim.bad_kiosk"

"""The one error root of the gateway. A code is stable for ever; a message says what was wrong and what to do.

`retry` tells whether the same call may succeed later with nobody's help (an unplugged scale, an absent
network) or never will (a wrong configuration).
"""

from typing import ClassVar


class EdgeError(Exception):
    """Something on this gateway could not be done.

    `code` is a stable dotted name such as `device.port.absent`; `str(error)` is for people.
    """

    code: str = "edge"
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(EdgeError):
    """The configuration cannot be used; the message names the file, the line and the remedy."""

    code = "config.invalid"


class DeviceError(EdgeError):
    """A scale or scanner cannot be talked to, or answered with something that is no answer."""

    code = "device"
    retry = True


class JournalError(EdgeError):
    """The journal could not be opened, read, verified or written."""

    code = "journal"


class DirectoryError(EdgeError):
    """The offline copy of materials, rates and revocations cannot be read or replaced."""

    code = "directory"


class StationError(EdgeError):
    """A deposit or a pickup cannot take the step it was asked for."""

    code = "station"


class SyncError(EdgeError):
    """A road to the cloud failed, or the cloud answered with something that cannot be applied."""

    code = "sync"
    retry = True

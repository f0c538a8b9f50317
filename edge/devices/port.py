"""A serial port that never blocks the event loop and says in types why it cannot be had or was lost.

Opens exclusively, throws away what was waiting from before (it would replay old weights) and runs 7-bit lines
as 8N1 with the parity bit masked, which is the same on the wire and also works on pseudo-terminals.
"""

import asyncio
import contextlib
import errno
import os
import select
import termios
from typing import Final, Self

import serial

from edge.errors import DeviceError

READ_BYTES: Final = 4096
"""Bytes taken at once: what a tty driver buffers."""

_LOW_SEVEN: Final = bytes(byte & 0x7F for byte in range(256))
_EVEN: Final = bytes(byte & 0x7F | (byte & 0x7F).bit_count() % 2 << 7 for byte in range(256))
_ODD: Final = bytes(byte ^ 0x80 for byte in _EVEN)
_SEVEN_BIT: Final = {"7E1": _EVEN, "7O1": _ODD, "7N2": _LOW_SEVEN}
_PARITY: Final = {"8N1": serial.PARITY_NONE, "8E1": serial.PARITY_EVEN, "8O1": serial.PARITY_ODD}
FRAMINGS: Final = (*_SEVEN_BIT, *_PARITY)


class PortError(DeviceError):
    """The port cannot be opened now: absent, in use, not permitted, or it refuses the line's settings."""

    code = "device.port"


class PortLostError(DeviceError):
    """The port was open and is gone: unplugged, hung up, or it takes no more bytes."""

    code = "device.port.lost"


_OPEN_ERRORS: Final = {
    errno.ENOENT: ("device.port.absent", "is not there: plug the device in"),
    errno.ENODEV: ("device.port.absent", "has no device behind it: plug the device in"),
    errno.ENXIO: ("device.port.absent", "has no device behind it: plug the device in"),
    errno.EIO: ("device.port.absent", "has hung up: plug the device in again"),
    errno.EACCES: ("device.port.denied", "may not be opened: add the service's user to group dialout"),
    errno.EPERM: ("device.port.denied", "may not be opened: add the service's user to group dialout"),
    errno.EBUSY: ("device.port.busy", "is used by another program: stop that one"),
    errno.EAGAIN: ("device.port.busy", "is used by another program: stop that one"),
    errno.ENOTTY: ("device.port.settings", "is no serial port: name another one in the configuration"),
}


class SerialPort:
    """An open port. Use from one task; `close` may be called more than once."""

    def __init__(self, line: serial.Serial, framing: str) -> None:
        self._line = line
        self._seven_bit = _SEVEN_BIT.get(framing)
        self._readable = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, path: str, *, baud: int, framing: str = "8N1") -> Self:
        """Open `path`, in a thread since USB adapters may keep us waiting. Raises PortError.

        `framing` is one of FRAMINGS.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(_open, path, baud, framing))
        try:
            line = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        return cls(line, framing)

    async def read(self, timeout_s: float) -> bytes:
        """The bytes there are, at least one; empty if none came within `timeout_s`. Raises PortLostError.

        When the time is over the port is looked at once more: perhaps the event loop was late, not the bytes.
        """
        descriptor = self._line.fd
        self._readable.clear()
        self._loop.add_reader(descriptor, self._readable.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._readable.wait()
        finally:
            self._loop.remove_reader(descriptor)
        return self._take(descriptor) if _is_readable(descriptor) else b""

    def write(self, data: bytes) -> None:
        """Send a request of a few bytes. Raises PortLostError if the port does not take all of it at once."""
        if self._seven_bit is not None:
            data = data.translate(self._seven_bit)
        try:
            written = os.write(self._line.fd, data)
        except OSError as error:
            raise PortLostError(f"{self._line.port} takes no request: {error.strerror}") from error
        if written != len(data):
            raise PortLostError(
                f"{self._line.port} took {written} of {len(data)} bytes", code="device.port.blocked"
            )

    def close(self) -> None:
        """Give the port back without waiting for bytes that cannot be sent any more."""
        if self._line.is_open:
            _discard_output(self._line.fd)
            self._line.close()

    def _take(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortLostError(f"{self._line.port} was unplugged: {error.strerror}") from error
        if not data:
            raise PortLostError(f"{self._line.port} was unplugged: end of stream")
        return data.translate(_LOW_SEVEN) if self._seven_bit is not None else data


def _is_readable(descriptor: int) -> bool:
    """Whether there are bytes or a hang-up. A tty without either answers a read as if it had ended."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _open(path: str, baud: int, framing: str) -> serial.Serial:
    try:
        line = serial.Serial(
            path, baud, parity=_PARITY.get(framing, serial.PARITY_NONE), timeout=0, exclusive=True
        )
        line.reset_input_buffer()
    except (OSError, termios.error) as error:  # SerialException is an OSError
        raise _open_error(path, error) from error
    except ValueError as error:
        raise PortError(f"{path}: {error}", code="device.port.settings") from error
    return line


def _open_error(path: str, error: Exception) -> PortError:
    known = _OPEN_ERRORS.get(_error_number(error))
    if known is None:
        return PortError(f"{path} cannot be opened: {error}", code="device.port.settings")
    code, advice = known
    return PortError(f"{path} {advice}", code=code)


def _error_number(error: BaseException) -> int:
    """The errno behind it; pyserial wraps some errors without passing theirs on, termios has it in `args`."""
    number = getattr(error, "errno", None) or next(iter(error.args), None)
    if isinstance(number, int):
        return number
    return _error_number(error.__context__) if error.__context__ is not None else 0


def _close_unwanted(opening: "asyncio.Future[serial.Serial]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _discard_output(descriptor: int) -> None:
    try:
        termios.tcflush(descriptor, termios.TCOFLUSH)
    except (OSError, termios.error):
        return  # the port is gone, and with it the bytes

"""Ends what a row has started when its run is ended from outside: SIGTERM unwinds as an error would.

Whatever a row starts it also stops, in `with` and `finally`; a signal's usual way, to end the process at
once, would leave agents and servers running.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from types import FrameType

END_S = 90.0
"""How long a worker may take to stop what it has started; then it is ended as it is."""

KILL_S = 10.0
"""How long what is left then may take to end by itself."""

_told = threading.Event()


class Ended(SystemExit):
    """Told to end; the code is that of a process ended by this signal."""


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """In here SIGTERM raises Ended, but once: what is stopping is not disturbed. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _told.set()
    raise Ended(128 + number)


def heed(parent: Connection) -> None:
    """A worker's: end when told to, or as soon as `parent`'s other end is closed, also by a parent's death.

    A Ctrl-C at the terminal reaches workers, too: they leave it to their parent, which closes its end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_follow, args=(parent,), name="follow-parent", daemon=True).start()


@contextlib.contextmanager
def ending_here() -> Iterator[None]:
    """Round a worker's task: when it was told to end and has stopped what it had started, the worker is over.

    A pool's worker would send the error to its parent, which may be gone, and take the next task.
    """
    try:
        yield
    finally:
        if _told.is_set():
            _leave()


def _follow(parent: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)  # to this thread: another would not wake it from a system call
    time.sleep(END_S)
    _leave()


def _leave() -> None:
    """End this worker, and first what it should have stopped itself."""
    atexit._run_exitfuncs()
    left = psutil.Process().children(recursive=True)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    for each in psutil.wait_procs(left, timeout=KILL_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    os._exit(128 + signal.SIGTERM)

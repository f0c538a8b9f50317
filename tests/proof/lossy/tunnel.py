"""The near end of a link that loses packets: programs started behind it reach us over that link alone.

Owns the namespaces' life. Whether they can be had at all is asked with `possible`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

_PROGRAM = Path(__file__).with_name("namespaces.py")
_PATIENCE_S = 20.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def possible() -> str:
    """Why there can be no such link on this machine; empty if there can."""
    for name, package in (("nft", "nftables"), ("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(name, path=_PATH) is None:
            return f"{name} is missing: apt-get install {package}"
    done = subprocess.run(["unshare", "-Urn", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


class Tunnel:
    """Loses `percent` of the packets each way. `sockets` listen at its far end, in the order of `ports`."""

    def __init__(self, percent: int, ports: list[int]) -> None:
        ours, theirs = socket.socketpair()
        self._control = ours
        self.sockets: list[socket.socket] = []
        ours.settimeout(_PATIENCE_S)
        with theirs:
            arguments = [str(theirs.fileno()), str(percent), *map(str, ports)]
            self._child = subprocess.Popen(
                ["unshare", "-Urn", "--", sys.executable, str(_PROGRAM), *arguments],
                pass_fds=[theirs.fileno()],
            )
        try:
            data, descriptors, _, _ = socket.recv_fds(ours, 64, len(ports))
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise RuntimeError("the namespaces did not come up; their message is above")
        self._near = int(data)
        self.sockets = [socket.socket(fileno=one) for one in descriptors]

    def behind(self, command: list[str]) -> list[str]:
        """The command as it runs at the near end; its files stay ours."""
        return ["nsenter", "-t", str(self._near), "-U", "-n", "--preserve-credentials", *command]

    def counted(self) -> tuple[int, int]:
        """Packets that arrived at either end so far, and how many of them were lost."""
        self._control.sendall(b"?")
        with self._control.makefile("rb") as lines:
            arrived, lost = json.loads(lines.readline())
        return arrived, lost

    def close(self) -> None:
        """Take it down, with all that is in it."""
        self._control.close()
        for listener in self.sockets:
            listener.close()
        try:
            self._child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

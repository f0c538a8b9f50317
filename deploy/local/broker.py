"""The MQTT broker: mosquitto where it is installed, else the embedded amqtt for the demo.

Owns their configuration: loopback only, nobody anonymous, nothing persistent that anyone relies on.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from typing import TYPE_CHECKING

from deploy.local.processes import Process, listening

if TYPE_CHECKING:
    from pathlib import Path

_MESSAGE_BYTES_MAX = 128 * 1024
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

_MOSQUITTO = """\
listener {port} 127.0.0.1
user {user}
pid_file {folder}/broker.pid
allow_anonymous false
password_file {auth}/passwd
acl_file {auth}/acl
persistence false
retain_available true
message_size_limit {size}
max_inflight_messages 20
max_queued_messages 1000
log_dest stdout
log_type error
log_type warning
log_type notice
"""


class Broker:
    """A broker on a port, with its files in `folder`; `auth` is where the cloud keeps its access files."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.auth = folder / "auth"
        self.pid_file = folder / "broker.pid"
        self._folder = folder
        self._mosquitto = shutil.which("mosquitto", path=_PATH)
        self.mqtt_version = 5 if self._mosquitto else 4
        """5, or 4 for MQTT 3.1.1, which is all that amqtt speaks."""
        self.process = Process("broker", self._command(), folder / "broker.log")

    def start(self) -> None:
        """Start and wait until it listens."""
        self._write_files()
        self.process.start()
        self.process.await_ready(lambda: listening(self.port))
        self.pid_file.write_text(f"{self.process.pid}\n")

    def _command(self) -> list[str]:
        if self._mosquitto is not None:
            return [self._mosquitto, "-c", str(self._folder / "mosquitto.conf")]
        return [sys.executable, "-m", "deploy.local.amqtt_broker", str(self.port)]

    def _write_files(self) -> None:
        self.auth.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for name in ("passwd", "acl"):
            (self.auth / name).touch(0o600)
        (self._folder / "mosquitto.conf").write_text(
            _MOSQUITTO.format(
                port=self.port,
                user=getpass.getuser(),
                folder=self._folder,
                auth=self.auth,
                size=_MESSAGE_BYTES_MAX,
            )
        )

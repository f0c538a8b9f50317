"""The MQTT broker: mosquitto, on the configuration and certificates that the cloud's command writes for it.

Owns where it listens on loopback and its process. Does not own what is configured.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from deploy.local.processes import Process, StartError, free_port, listening, program

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURE_S = 60.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class Broker:
    """A broker with its files in `folder`, for the cloud whose data and keys are in `data_dir`.

    Gateways come in at `port`, the cloud at `inside_port`; `auth` is the folder that the cloud keeps.
    """

    mqtt_version = 5

    def __init__(self, folder: Path, port: int, data_dir: Path) -> None:
        self.port = port
        self.inside_port = free_port()
        self.auth = folder / "auth"
        self.pid_file = folder / "broker.pid"
        self._data_dir = data_dir
        mosquitto = shutil.which("mosquitto", path=_PATH) or "mosquitto"
        command = [mosquitto, "-c", str(self.auth / "mosquitto.conf")]
        self.process = Process("broker", command, folder / "broker.log")

    def start(self) -> None:
        """Start and wait until it listens."""
        self.configure()
        self.process.start()
        self.process.await_ready(lambda: listening(self.port) and listening(self.inside_port))
        self.pid_file.write_text(f"{self.process.pid}\n")

    def configure(self) -> None:
        """Have its folder written. Raises StartError."""
        self.auth.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                *(program("reloop-cloud"), "broker", "configure"),
                *("--folder", str(self.auth)),
                *("--address", "127.0.0.1"),
                *("--port", str(self.port)),
                *("--inside-port", str(self.inside_port)),
                *("--user", getpass.getuser()),
            ],
            env={**os.environ, "RELOOP_DATA_DIR": str(self._data_dir)},
            capture_output=True,
            text=True,
            timeout=_CONFIGURE_S,
            check=False,
        )
        if done.returncode != 0:
            raise StartError(f"the broker cannot be configured:\n{done.stderr}")

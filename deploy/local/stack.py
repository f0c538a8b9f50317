"""A cloud, a broker and any number of drop points, in one folder, by their command lines."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.local.broker import Broker
from deploy.local.link import Link, Links
from deploy.local.processes import Process, free_port, listening, program
from deploy.local.sockets import ask

_COMMAND_S = 120.0


class CommandError(RuntimeError):
    """One of our commands ended with an error; the message is what it printed."""


def command(name: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run one of our commands to its end; returns what it printed. Raises CommandError."""
    done = subprocess.run(
        [program(name), *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"{name} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


class Cloud:
    """The cloud and its embedded Postgres, `reloop-cloud all`, beside a broker of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker(folder / "broker", free_port(), folder / "cloud")
        self.http_port = free_port()
        self.environment = {
            "RELOOP_DATA_DIR": str(folder / "cloud"),
            "RELOOP_HTTP_HOST": "127.0.0.1",
            "RELOOP_HTTP_PORT": str(self.http_port),
            "RELOOP_MQTT_URL": f"mqtts://127.0.0.1:{self.broker.inside_port}",
            "RELOOP_MQTT_PUBLIC_URL": f"mqtts://127.0.0.1:{self.broker.port}",
            "RELOOP_MQTT_VERSION": str(self.broker.mqtt_version),
            "RELOOP_BROKER_DIR": str(self.broker.auth),
            "RELOOP_BROKER_PID_FILE": str(self.broker.pid_file),
        }
        self.process = Process(
            "cloud", [program("reloop-cloud"), "all"], folder / "cloud.log", self.environment
        )

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start broker and cloud; returns when the API says it is ready."""
        self.broker.start()
        self.start_cloud()

    def start_cloud(self) -> None:
        """Start the cloud's process alone, beside a broker that runs."""
        self.process.start()
        self.process.await_ready(self._ready, timeout_s=120.0)

    def stop(self) -> None:
        """Stop both."""
        self.process.stop()
        self.broker.process.stop()

    def run(self, *arguments: str) -> str:
        """Run a `reloop-cloud` command beside it."""
        return command("reloop-cloud", *arguments, environment=self.environment)

    @property
    def operator_token(self) -> str:
        """The operator's token, as the first run kept it for its own machine."""
        return (self.folder / "cloud" / "operator-token").read_text().strip()

    def api(self) -> httpx.Client:
        """A client of the API with the operator's token."""
        headers = {"authorization": f"Bearer {self.operator_token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30.0)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


@dataclass(slots=True)
class Devices:
    """Where a site's devices are: serial ports and the scale's dialect."""

    dialect: str = "mt-sics"
    scale: Path | None = None
    scanner: Path | None = None


@dataclass(slots=True)
class Site:
    """One drop point: an agent, its folder, its link to the cloud."""

    name: str
    folder: Path
    devices: Devices
    https_port: int
    mqtt_port: int
    mqtt_version: int = 5
    roads: tuple[str, ...] = ("mqtt", "https")
    link: Link | None = None
    spread_s: float = 2.0
    settings: dict[str, Any] = field(default_factory=dict)
    kiosk_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    agent: Process = field(init=False)

    def __post_init__(self) -> None:
        self.agent = Process(
            f"agent {self.name}",
            [program("reloop-edge"), "run", "--config", str(self.config)],
            self.folder / "agent.log",
        )

    @property
    def config(self) -> Path:
        """The agent's configuration file."""
        return self.folder / "edge.toml"

    @property
    def kiosk_url(self) -> str:
        """The kiosk's address."""
        return f"http://127.0.0.1:{self.kiosk_port}"

    def write_config(self) -> None:
        """Write the TOML file the agent reads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._toml())

    def start(self) -> None:
        """Start the agent; returns when its kiosk listens and it answers for itself."""
        self.agent.start()
        self.agent.await_ready(lambda: listening(self.kiosk_port) and self._answers())

    def edge(self, *arguments: str) -> str:
        """Run a `reloop-edge` command with this site's configuration."""
        return command("reloop-edge", *arguments, "--config", str(self.config))

    def _answers(self) -> bool:
        try:
            return bool(self.status())
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """What the agent says of itself. Raises OSError if it does not run."""
        report: dict[str, Any] = ask(self.folder / "data" / "agent.sock", {"command": "status"})["result"]
        return report

    def records(self) -> list[dict[str, Any]]:
        """The journal's export, a dict for each record."""
        lines = self.edge("journal", "export", "--jsonl").splitlines()
        return [json.loads(line) for line in lines]

    def _toml(self) -> str:
        lines = [
            f'data_dir = "{self.folder / "data"}"',
            *self._section("kiosk", port=self.kiosk_port),
            *self._section("health", port=self.health_port),
            *self._section(
                "cloud",
                https_url=f"http://127.0.0.1:{self.https_port}",
                mqtt_host="127.0.0.1",
                mqtt_port=self.mqtt_port,
                mqtt_version=self.mqtt_version,
                roads=list(self.roads),
                spread_s=self.spread_s,
            ),
        ]
        for name, values in self.settings.items():
            lines += self._section(name, **values)
        if self.devices.scale is not None:
            lines += self._section("scale", dialect=self.devices.dialect, port=str(self.devices.scale))
        if self.devices.scanner is not None:
            lines += ["[[scanners]]", f"port = {json.dumps(str(self.devices.scanner))}"]
        return "\n".join(lines) + "\n"

    def _section(self, name: str, **values: object) -> list[str]:
        return [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]


class Stack:
    """Everything together. Use as a context manager: leaving it stops every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = Cloud(folder)
        self.sites: list[Site] = []
        self._links = Links()

    def __enter__(self) -> Stack:
        try:
            self.cloud.start()
        except BaseException:  # whoever is interrupted now has no stack to close
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop agents first, so that they say goodbye, then the cloud."""
        for site in self.sites:
            site.agent.stop()
        self.cloud.stop()
        self._links.close()

    def add_site(self, name: str, devices: Devices, **options: Any) -> Site:
        """A drop point behind a link of its own; not claimed, not started."""
        link, ports = self._links.add(name, self.cloud.http_port, self.cloud.broker.port)
        version = self.cloud.broker.mqtt_version
        site = Site(
            name, self.folder / name, devices, ports[0], ports[1], mqtt_version=version, link=link, **options
        )
        site.write_config()
        self.sites.append(site)
        return site

    def claim(self, site: Site) -> None:
        """Claim it online with a one-time code."""
        created = json.loads(self.cloud.run("gateway", "create", site.name, "--json"))
        site.edge("claim", created["code"])

    def claim_offline(self, site: Site) -> None:
        """Claim it with a bundle file: it has never seen the cloud."""
        bundle = site.folder / "site.bundle"
        self.cloud.run("gateway", "bundle", site.name, "--output", str(bundle))
        site.edge("claim", "--bundle", str(bundle))

    def cut(self, site: Site) -> None:
        """Cut its link."""
        self._links.cut(site.name)

    def restore(self, site: Site) -> None:
        """Restore its link."""
        self._links.restore(site.name)

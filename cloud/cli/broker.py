"""`reloop-cloud broker …`: everything mosquitto needs, written into one folder."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloud.cli.console import fail, settings
from cloud.config import INSIDE_PORT, PUBLIC_PORT
from cloud.errors import CloudError, ConfigError
from cloud.kit.authority import Authority
from cloud.kit.broker_folder import BrokerFolder
from cloud.kit.clock import SystemClock, utc
from cloud.kit.mosquitto import Doors, configuration
from cloud.worker.broker_files import write_files

app = typer.Typer(
    no_args_is_help=True,
    help="The MQTT broker: mosquitto 2, which lets in by certificate only.\n\n"
    "`broker configure` writes its folder; the cloud's worker keeps it up to date from then on.",
)


@app.command()
def configure(  # noqa: PLR0917 - options, given by name
    folder: Annotated[
        Path, typer.Option("--folder", help="Where to write; RELOOP_BROKER_DIR names the same.")
    ],
    address: Annotated[str, typer.Option("--address", help="Where gateways come in.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The gateways' port.")] = PUBLIC_PORT,
    inside_port: Annotated[
        int, typer.Option("--inside-port", min=1, max=65535, help="The cloud's port, on loopback.")
    ] = INSIDE_PORT,
    user: Annotated[
        str | None, typer.Option("--user", help="Whom mosquitto becomes if root starts it. Default: you.")
    ] = None,
    connections_max: Annotated[
        int, typer.Option("--max-connections", min=1, help="Of gateways at once; more are turned away.")
    ] = 10_000,
) -> None:
    """Write mosquitto.conf, certificates, access rules and the revocation list. Needs no database.

    Makes the certificate authority in RELOOP_DATA_DIR if there is none. Running it again keeps the
    revocation list and a server certificate that is still good. Let mosquitto have more open files than
    connections (systemd: LimitNOFILE), and give its process id in RELOOP_BROKER_PID_FILE.

    Example: reloop-cloud broker configure --folder /etc/reloop/broker --user mosquitto

    then: mosquitto -c /etc/reloop/broker/mosquitto.conf
    """
    doors = Doors(address, port, inside_port, connections_max)
    try:
        _configure(folder.absolute(), doors, user or getpass.getuser())
    except CloudError as error:
        fail(error.code, str(error))
    except OSError as error:
        fail("broker.folder", f"{folder} cannot be written ({error})")
    typer.echo(f"Wrote {folder}. Now run:\n  mosquitto -c {folder.absolute()}/mosquitto.conf", err=True)
    variables = f"RELOOP_BROKER_DIR={folder.absolute()} RELOOP_MQTT_URL=mqtts://127.0.0.1:{inside_port}"
    typer.echo(f"and the cloud with:\n  {variables}", err=True)


def _configure(path: Path, doors: Doors, user: str) -> None:
    now = utc(SystemClock().wall_ms())
    given = settings()
    given.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    given.keys_dir.mkdir(mode=0o700, exist_ok=True)
    authority = Authority.load_or_create(given.authority_dir, now)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _share(path, user)
    folder = BrokerFolder(path, None)
    with folder.locked() as mine:
        if not mine:
            raise ConfigError("another process writes this folder now; try again", code="broker.busy")
        folder.replace("doors.json", msgspec.json.encode(doors))
        folder.replace("mosquitto.conf", configuration(path, doors, user).encode())
        write_files(folder, authority, [], now, fresh=True)


def _share(path: Path, user: str) -> None:
    """Let the broker's user read what we write, by its group. Raises ConfigError."""
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise ConfigError(
            f"there is no user {user!r}; install mosquitto, or name another with --user"
        ) from error
    if account.pw_uid == os.geteuid():
        return
    try:
        os.chown(path, -1, account.pw_gid)
    except PermissionError as error:
        group = grp.getgrgid(account.pw_gid).gr_name
        raise ConfigError(
            f"you cannot share {path} with {user}; join the group {group}, or be root"
        ) from error
    path.chmod(0o2750)

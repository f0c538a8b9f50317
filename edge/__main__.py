"""`reloop-edge`: run a gateway, claim it, look after its journal, carry its outbox on a stick."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from edge.clock import SystemClock
from edge.config import Settings, load_settings
from edge.control import Request, ask_agent
from edge.errors import EdgeError
from edge.identity import claim_by_bundle, claim_by_code
from edge.lock import FolderLock
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from edge.core import Core

DEFAULT_CONFIG = Path("/etc/reloop/edge.toml")

app = typer.Typer(
    help="The gateway's agent: every weighing is saved here first, and credited once the cloud hears of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
journal_app = typer.Typer(help="Look after the journal.", no_args_is_help=True)
courier_app = typer.Typer(
    help="Carry the outbox on a stick or a phone when there is no network, and bring the answer back.",
    no_args_is_help=True,
)
app.add_typer(journal_app, name="journal")
app.add_typer(courier_app, name="courier")

Config = Annotated[Path, typer.Option("--config", "-c", envvar="RELOOP_EDGE_CONFIG", help="The TOML file.")]
_errors = Console(stderr=True)


@app.command()
def run(config: Config = DEFAULT_CONFIG, verbose: bool = False) -> None:
    """Run the agent until SIGTERM. Exit code 0 after a clean stop."""
    settings = load_settings(config)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Wait to be claimed if need be, then be a gateway; the lock is held only then."""
    from edge.agent import Agent
    from edge.core import open_core
    from edge.identity import load_identity

    clock, stop = SystemClock(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    if load_identity(settings.data_dir) is None:
        from edge.unclaimed import await_claim

        if not await await_claim(settings, clock, stop):
            return
    with FolderLock(settings.data_dir):
        core = open_core(settings, clock)
        try:
            await Agent(core).run(stop)
        finally:
            await core.close()


@app.command()
def claim(
    code: Annotated[str, typer.Argument(help="One-time code from `reloop-cloud gateway create`.")] = "",
    config: Config = DEFAULT_CONFIG,
    bundle: Annotated[Path | None, typer.Option(help="Bundle file, for a site without network.")] = None,
    cloud: Annotated[str, typer.Option(help="The cloud's address, if the configuration has none.")] = "",
) -> None:
    """Make this gateway one of the cloud's. The private key is born here and stays here.

    Online:   reloop-edge claim 7K3M-9QXT-... --cloud https://reloop.example
    Offline:  reloop-edge claim --bundle drop-point-12.bundle
    """
    settings = load_settings(config)
    folder = settings.data_dir
    if bundle is not None:
        access = claim_by_bundle(folder, bundle, secrets.token_bytes)
    elif code:
        access = claim_by_code(folder, cloud or settings.cloud.https_url, code, secrets.token_bytes)
    else:
        raise typer.BadParameter("give the one-time code, or --bundle FILE")
    _apply_documents(settings, access.documents)
    typer.echo(f"this gateway is {access.gateway}; start it with: reloop-edge run --config {config}")


@app.command()
def status(config: Config = DEFAULT_CONFIG, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """What the running agent is doing. Exit code 3 if none runs."""
    settings = load_settings(config)
    answer = ask_agent(settings.data_dir, Request("status"))
    if answer is None:
        _fail("agent.absent", f"no agent runs with {config}; start it with: reloop-edge run", 3)
    elif as_json:
        typer.echo(json.dumps(answer))
    else:
        for name, value in answer.items():
            typer.echo(f"{name:16} {value}")


@journal_app.command("verify")
def journal_verify(config: Config = DEFAULT_CONFIG) -> None:
    """Walk the whole chain of every epoch. Exit code 1 if anything does not add up.

    May run beside the agent: it only reads.
    """
    from edge.journal.verify import verify_directory

    settings = load_settings(config)
    with Progress(console=_errors, transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        report = verify_directory(
            settings.data_dir / "journal", lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(msgspec.json.encode(report).decode())
    if not report.ok:
        _fail("journal.broken", f"{len(report.faults)} faults; keep the files and tell the operator", 1)


@journal_app.command("export")
def journal_export(
    config: Config = DEFAULT_CONFIG,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object a line (the only form so far).")
    ] = True,
) -> None:
    """Print every record of every epoch, one JSON line each. May run beside the agent."""
    from edge.journal.export import export_directory

    if not jsonl:
        raise typer.BadParameter("only --jsonl is known")
    for line in export_directory(load_settings(config).data_dir / "journal"):
        typer.echo(json.dumps(line, ensure_ascii=False))


@courier_app.command("export")
def courier_export(file: Path, config: Config = DEFAULT_CONFIG) -> None:
    """Write everything the cloud has not acknowledged into FILE. Works beside a running agent.

    Hand FILE to somebody with network: `reloop-cloud courier import FILE --answer ANSWER`.
    """
    from edge.sync.courier import export_courier

    async def alone(core: Core) -> object:
        with Progress(console=_errors, transient=True) as bar:
            task = bar.add_task("writing", total=None)
            return await export_courier(
                core.wiring, file, lambda done, total: bar.update(task, completed=done, total=total)
            )

    _courier("courier.export", file, config, alone)


@courier_app.command("import")
def courier_import(file: Path, config: Config = DEFAULT_CONFIG) -> None:
    """Apply the cloud's answer FILE: documents and acks. Works beside a running agent."""
    from edge.sync.courier import import_courier

    async def alone(core: Core) -> object:
        return await import_courier(core.wiring, file)

    _courier("courier.import", file, config, alone)


def _courier(
    command: str, file: Path, config: Path, alone: Callable[[Core], Coroutine[object, object, object]]
) -> None:
    settings = load_settings(config)
    answer: Any = ask_agent(settings.data_dir, Request(command, str(file.absolute())))
    if answer is None:
        answer = msgspec.to_builtins(_with_core(settings, alone))
    typer.echo(json.dumps(answer))


def _with_core(settings: Settings, work: Callable[[Core], Coroutine[object, object, object]]) -> object:
    """Open the journal ourselves: no agent runs, and the lock keeps one from starting meanwhile."""
    from edge.core import open_core

    async def opened() -> object:
        core = open_core(settings, SystemClock())
        try:
            return await work(core)
        finally:
            await core.close()

    with FolderLock(settings.data_dir):
        return asyncio.run(opened())


def _apply_documents(settings: Settings, documents: list[bytes]) -> None:
    async def apply(core: Core) -> object:
        from protocol.bundle import peek_name

        for data in sorted(documents, key=lambda one: peek_name(one) != "keys"):
            await core.documents.apply(peek_name(data), data)
        return None

    _with_core(settings, apply)


def _fail(code: str, message: str, exit_code: int) -> None:
    _errors.print(f"[bold red]{code}[/]: {message}", highlight=False, soft_wrap=True)
    raise SystemExit(exit_code)


def main() -> None:
    """Entry point: an error of ours is one line with its code, and exit code 1."""
    try:
        app()
    except (EdgeError, ProtocolError) as error:
        _fail(error.code, str(error), 1)


if __name__ == "__main__":
    main()

"""`reloop-edge`: run a gateway, claim it, look after its journal, carry its outbox on a stick."""

from __future__ import annotations

import asyncio
import contextlib
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
from rich.markup import escape
from rich.progress import Progress

from edge.clock import SystemClock
from edge.config import Settings, load_settings
from edge.control import ControlError, Request, ask_agent
from edge.errors import EdgeError
from edge.identity import claim_by_bundle, claim_by_code
from edge.lock import FolderLock, LockedError
from edge.staging import carried_in, carry_out
from protocol.errors import DocumentError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from edge.core import Core
    from protocol.bundle import Access

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
_CLAIM_S = 30.0
_QUIET = ("httpx", "httpcore")
"""Libraries that would write a line for every request on the SD card."""


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell also what the libraries do.")] = False,
) -> None:
    """Run the agent until SIGTERM. Exit code 0 after a clean stop."""
    settings = load_settings(config)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Wait to be claimed if need be, then be a gateway; the lock is held only then."""
    from edge.agent import Agent
    from edge.core import open_core
    from edge.identity import load_identity

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    if load_identity(settings.data_dir) is None:
        from edge.health.notify import Notifier
        from edge.unclaimed import await_claim

        if not await await_claim(settings, Notifier(), stop):
            return
        await _until_claimed(settings)
    with FolderLock(settings.data_dir):
        core = open_core(settings, SystemClock())
        try:
            await Agent(core).run(stop)
        finally:
            await core.close()


async def _until_claimed(settings: Settings) -> None:
    """The claim holds the folder until its documents are in: give it time, it needs no restart of ours."""
    clock = SystemClock()
    deadline_s = clock.monotonic() + _CLAIM_S
    while clock.monotonic() < deadline_s:
        with contextlib.suppress(LockedError), FolderLock(settings.data_dir):
            return
        await clock.sleep(0.1)


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
    if bool(code) == (bundle is not None):
        raise typer.BadParameter("give the one-time code, or --bundle FILE; one of the two")
    with FolderLock(settings.data_dir):
        access = _claimed(settings, code, bundle, cloud)
        asyncio.run(_opened(settings, lambda core: _apply_documents(core, access.documents)))
    typer.echo(f"this gateway is {access.gateway}; start it with: reloop-edge run --config {config}")


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on one line.")] = False,
) -> None:
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

    folder = _journal_of(load_settings(config))
    with Progress(console=_errors, transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        report = verify_directory(folder, lambda done, total: bar.update(task, completed=done, total=total))
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
    for line in export_directory(_journal_of(load_settings(config))):
        typer.echo(json.dumps(line, ensure_ascii=False))


@courier_app.command("export")
def courier_export(
    file: Annotated[Path, typer.Argument(help="What to write; an older file of that name is replaced.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
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
def courier_import(
    file: Annotated[Path, typer.Argument(help="The answer that the cloud wrote for this gateway.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Apply the cloud's answer FILE: documents and acks. Works beside a running agent; may be repeated."""
    from edge.sync.courier import import_courier

    async def alone(core: Core) -> object:
        return await import_courier(core.wiring, file)

    _courier("courier.import", file, config, alone)


def _courier(
    command: str, file: Path, config: Path, alone: Callable[[Core], Coroutine[object, object, object]]
) -> None:
    settings = load_settings(config)
    if ask_agent(settings.data_dir, Request("status")) is None:
        with FolderLock(settings.data_dir):
            answer: Any = msgspec.to_builtins(asyncio.run(_opened(settings, alone)))
    else:
        answer = _by_agent(settings, command, file.absolute())
    typer.echo(json.dumps(answer))


def _by_agent(settings: Settings, command: str, file: Path) -> dict[str, Any]:
    """Through the data folder: the service may be confined to it, and is its owner."""
    staged = settings.data_dir / f"{command}.rlc"
    request = Request(command, str(staged))
    if command == "courier.import":
        with carried_in(file, staged):
            answer = ask_agent(settings.data_dir, request)
    else:
        answer = ask_agent(settings.data_dir, request)
    if answer is None:
        raise ControlError("the agent ended just now; try again", code="control.gone")
    if command == "courier.export":
        carry_out(staged, file)
    return answer


async def _opened(settings: Settings, work: Callable[[Core], Coroutine[object, object, object]]) -> object:
    """Open the journal ourselves: no agent runs, and the lock keeps one from starting meanwhile."""
    from edge.core import open_core

    core = open_core(settings, SystemClock())
    try:
        return await work(core)
    finally:
        await core.close()


def _claimed(settings: Settings, code: str, bundle: Path | None, cloud: str) -> Access:
    if bundle is not None:
        return claim_by_bundle(settings.data_dir, bundle, secrets.token_bytes)
    from edge.sync.trust import Trust

    url = cloud or settings.cloud.https_url
    tls = None
    if url.startswith("https:"):  # no cloud has signed a time for us yet
        tls = Trust(settings.cloud.ca_file, SystemClock(), lambda: None).context()
    return claim_by_code(settings.data_dir, url, code, secrets.token_bytes, tls=tls)


async def _apply_documents(core: Core, documents: list[bytes]) -> None:
    """What the claim brought; one that is older than what is held already changes nothing."""
    from protocol.bundle import peek_name

    for data in sorted(documents, key=lambda one: peek_name(one) != "keys"):
        try:
            await core.documents.apply(peek_name(data), data)
        except DocumentError as error:
            if error.code != "document.older":
                raise


def _journal_of(settings: Settings) -> Path:
    folder = settings.data_dir / "journal"
    if not folder.is_dir():
        _fail("journal.absent", f"there is no journal in {folder}; is `data_dir` right, did it ever run?", 1)
    return folder


def _fail(code: str, message: str, exit_code: int) -> None:
    # Escaped: messages name sections such as [cloud], which rich would take for its own markup.
    _errors.print(f"[bold red]{code}[/]: {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(exit_code)


def main() -> None:
    """Entry point: an error of ours is one line with its code, and exit code 1."""
    try:
        app()
    except (EdgeError, ProtocolError) as error:
        _fail(error.code, str(error), 1)


if __name__ == "__main__":
    main()

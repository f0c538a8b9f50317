"""How commands speak: results on stdout, everything else on stderr, errors with their code, exit codes."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cloud.cli.runtime import Runtime, opened
from cloud.config import Settings
from cloud.errors import CloudError
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

OUT = Console()
ERR = Console(stderr=True)
ResultT = TypeVar("ResultT")


def run(act: Callable[[Runtime], Awaitable[ResultT]]) -> ResultT:
    """Open the cloud, do `act`, close it. Errors end the command with code 1 and their own code."""

    async def whole() -> ResultT:
        async with opened(settings()) as runtime:
            welcome(runtime)
            return await act(runtime)

    try:
        return asyncio.run(whole())
    except (CloudError, ProtocolError) as error:
        fail(error.code, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def settings() -> Settings:
    """The settings of the environment. Ends the command if they cannot be used."""
    try:
        return Settings.from_environment(os.environ)
    except CloudError as error:
        fail(error.code, str(error))


def fail(code: str, message: str) -> NoReturn:
    """Say what was wrong and end with code 1."""
    ERR.print(f"[bold red]error[/] {code}: ", end="")
    ERR.print(message, markup=False, highlight=False)
    raise typer.Exit(1)


def say(message: str) -> None:
    """A word to the person at the terminal, beside the result."""
    ERR.print(message, highlight=False)


def welcome(runtime: Runtime) -> None:
    """At the first run: the operator's token, this once."""
    if runtime.token is None:
        return
    say("[bold]This is the first run.[/] The operator's token, shown this once:")
    ERR.print(f"  {runtime.token}", highlight=False, markup=False, soft_wrap=True)
    say(f"It is also kept in {runtime.settings.data_dir}/operator-token, readable by you only.")


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on stdout."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    OUT.print(table)

"""`reloop-cloud fork …`: what a forked journal left pending is credited, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloud.cli.console import fail, print_json, print_table, run, say
from cloud.ledger import service as ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.cli.runtime import Runtime
    from cloud.ledger.models import Fork

app = typer.Typer(
    no_args_is_help=True,
    help="Forked journals: two gateways wrote under one name, after a copied or restored card.\n\n"
    "Both sides go on in new epochs. What they carry out of the forked one is credited as pending until you"
    " release it, or withdraw it for good.",
)
Gateway = Annotated[str, typer.Argument(help="The gateway's id.")]
Epoch = Annotated[int, typer.Argument(help="The forked epoch, as `fork list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, one line for each.")]


@app.command("list")
def list_forks(json: Json = False) -> None:
    """Show what waits, by gateway and epoch."""

    async def act(runtime: Runtime) -> list[Fork]:
        async with runtime.engine.begin() as connection:
            return await ledger.forks(connection)

    forks = run(act)
    if json:
        for one in forks:
            print_json(one)
        return
    rows = ((one.gateway, one.epoch, one.count, one.points, one.net_g) for one in forks)
    print_table("Pending after forks", ("gateway", "epoch", "weighings", "points", "grams"), rows)


@app.command()
def release(gateway: Gateway, epoch: Epoch, json: Json = False) -> None:
    """Credit everything that waits of this epoch. Look at it first: GET /v1/weighings?gateway=…"""
    _decide(gateway, epoch, ledger.release, "released", json)


@app.command()
def withdraw(gateway: Gateway, epoch: Epoch, json: Json = False) -> None:
    """Never credit what waits of this epoch. It stays on record."""
    _decide(gateway, epoch, ledger.withdraw, "withdrawn", json)


def _decide(
    gateway: str,
    epoch: int,
    how: Callable[[AsyncConnection, Sequence[UUID]], Awaitable[int]],
    done: str,
    json: bool,
) -> None:
    async def act(runtime: Runtime) -> list[Fork]:
        async with runtime.engine.begin() as connection:
            waiting = await ledger.forks(connection, gateway, epoch)
            for one in waiting:
                await how(connection, one.weighings)
            return waiting

    waiting = run(act)
    if not waiting:
        fail("fork.nothing", f"nothing waits of {gateway} in epoch {epoch}; see `reloop-cloud fork list`")
    if json:
        print_json({"gateway": gateway, "epoch": epoch, "weighings": waiting[0].count, "state": done})
        return
    say(f"{waiting[0].count} weighings, {waiting[0].points} points of {gateway} are {done}.")

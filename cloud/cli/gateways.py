"""`reloop-cloud gateway …`: create, bundle, revoke, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud.cli.console import fail, print_json, print_table, run, say
from cloud.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from cloud.cli.runtime import Runtime
    from cloud.gateways.models import Gateway

app = typer.Typer(
    no_args_is_help=True,
    help="Gateways: the computers at drop points.\n\n"
    "A gateway is created here, then claimed on site: online with its one-time code"
    " (`reloop-edge claim CODE`), or offline with a bundle file (`reloop-edge claim --bundle FILE`).",
)
Name = Annotated[str, typer.Argument(help="Gateway id: 8-64 of a-z, 0-9 and inner hyphens.")]
Site = Annotated[
    str | None,
    typer.Option("--drop-point", help="Code of its drop point; made if new. Default: as the gateway."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer as one line of JSON.")]


@app.command()
def create(
    name: Name,
    drop_point: Site = None,
    new_code: Annotated[
        bool, typer.Option("--new-code", help="Give a gateway that exists a new code; the old one is void.")
    ] = False,
    json: Json = False,
) -> None:
    """Create a gateway and print its one-time code. The code is valid for 7 days, once.

    Example: reloop-cloud gateway create ktm-patan-01 --drop-point ktm-patan
    """

    async def act(runtime: Runtime) -> tuple[str, datetime]:
        gateways = runtime.services.gateways
        async with runtime.engine.begin() as connection:
            if new_code:
                return await gateways.new_code(connection, name)
            site = await runtime.services.drop_points.ensure(connection, drop_point or name)
            return await gateways.create(connection, name, site.code)

    code, expires_at = run(act)
    if json:
        print_json({"gateway": name, "code": code, "expires_at": expires_at})
        return
    say(f"Gateway [bold]{name}[/]; on site run: reloop-edge claim CODE. Valid until {expires_at:%Y-%m-%d}.")
    print(code)


@app.command()
def bundle(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; must not exist.")],
    drop_point: Site = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a bundle file for a site that has never been online; creates the gateway if it is new.

    The file holds a one-time secret: carry it like a key, delete it afterwards.
    Earlier codes and bundles of this gateway become void.

    Example: reloop-cloud gateway bundle ktm-patan-01 --output patan.bundle
    """
    if output.exists() and not force:
        fail("bundle.exists", f"{output} exists; choose another name or add --force")

    async def act(runtime: Runtime) -> bytes:
        gateways = runtime.services.gateways
        async with runtime.engine.begin() as connection:
            try:
                await gateways.find(connection, name)
            except NotFoundError:
                site = await runtime.services.drop_points.ensure(connection, drop_point or name)
                await gateways.create(connection, name, site.code)
            return await gateways.bundle(connection, name)

    data = run(act)
    _write_private(output, data)
    say(f"Wrote {output} ({len(data)} bytes). On site run: reloop-edge claim --bundle {output.name}")


@app.command()
def revoke(name: Name, json: Json = False) -> None:
    """Void a gateway's keys at once, its certificates within a minute. What it delivered stays credited."""

    async def act(runtime: Runtime) -> Gateway:
        async with runtime.engine.begin() as connection:
            revoked = await runtime.services.gateways.revoke(connection, name)
        if not await runtime.gateways_changed():
            say("The broker does not answer; the worker throws the gateway out when it is there again.")
        return revoked

    gateway = run(act)
    if json:
        print_json({"gateway": gateway.id, "state": gateway.state, "revoked_at": gateway.revoked_at})
        return
    say(f"Gateway [bold]{gateway.id}[/] is revoked since {gateway.revoked_at:%Y-%m-%d %H:%M:%S} UTC.")


@app.command()
def reinstate(name: Name, json: Json = False) -> None:
    """Take a revocation back. What the gateway holds, and signed in the meantime, is credited when it comes.

    Do so only if its card and key were never in other hands: else leave it revoked and create another.
    """

    async def act(runtime: Runtime) -> Gateway:
        async with runtime.engine.begin() as connection:
            reinstated = await runtime.services.gateways.reinstate(connection, name)
        await runtime.gateways_changed()
        return reinstated

    gateway = run(act)
    if json:
        print_json({"gateway": gateway.id, "state": gateway.state})
        return
    say(f"Gateway [bold]{gateway.id}[/] is {gateway.state} again; it opens when it next asks over HTTPS.")


@app.command("list")
def list_gateways(json: Json = False) -> None:
    """All gateways with their silence and what they delivered."""

    async def act(runtime: Runtime) -> list[Gateway]:
        return await all_gateways(runtime)

    gateways = run(act)
    if json:
        print_json(gateways)
        return
    print_table(
        "Gateways",
        ("gateway", "drop point", "state", "last seen", "last commit", "records", "held", "alarms"),
        (
            (
                one.id,
                one.drop_point,
                one.state,
                _short(one.last_seen_at),
                _short(one.acked_at),
                one.acked,
                one.held,
                one.open_alarms,
            )
            for one in gateways
        ),
    )


async def all_gateways(runtime: Runtime) -> list[Gateway]:
    """Every gateway, page by page."""
    found: list[Gateway] = []
    page_size = 500
    async with runtime.engine.begin() as connection:
        while True:
            after = found[-1].id if found else ""
            page = await runtime.services.gateways.page(connection, after, page_size)
            found += page[:page_size]
            if len(page) <= page_size:
                return found


def _short(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(data)

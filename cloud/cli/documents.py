"""`reloop-cloud documents …`: what gateways are given, and what to do after a restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloud.cli.console import print_json, print_table, run, say

if TYPE_CHECKING:
    from cloud.cli.runtime import Runtime
    from cloud.documents.models import StoredDocument

app = typer.Typer(
    no_args_is_help=True,
    help="Signed documents: keys, catalog, revocations, config and manifest.\n\n"
    "They are published by themselves when something changes.",
)
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, one line for each document.")]


@app.command("list")
def list_documents(
    gateway: Annotated[str, typer.Argument(help="The gateway that is to have them.")], json: Json = False
) -> None:
    """Show what a gateway is offered now. Compare with `reloop-edge status` on site."""

    async def act(runtime: Runtime) -> list[StoredDocument]:
        async with runtime.engine.begin() as connection:
            return await runtime.services.documents.offered(connection, gateway)

    documents = run(act)
    if json:
        for one in documents:
            print_json(
                {
                    "name": one.name,
                    "generation": one.generation,
                    "version": one.version,
                    "digest": one.digest.hex(),
                    "issued_at": one.issued_at,
                }
            )
        return
    print_table(
        f"Documents for {gateway}",
        ("name", "generation", "version", "digest", "bytes", "issued"),
        (
            (one.name, one.generation, one.version, one.digest.hex()[:16], len(one.data), one.issued_at)
            for one in documents
        ),
    )


@app.command("raise-generation")
def raise_generation() -> None:
    """After restoring the database from a backup: issue everything anew, above all that was given out.

    A cloud does this by itself at its start, if the files under `documents` in its data folder are those of
    before the restore. Do it by hand if they went back together with the database: else gateways would go on
    holding documents that this database has never seen.
    """

    async def act(runtime: Runtime) -> int:
        async with runtime.engine.begin() as connection:
            return await runtime.services.documents.raise_generation(connection)

    say(f"Documents are now of generation {run(act)}; gateways take them as they connect.")

"""`reloop-cloud quarantine …`: the exit of the quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cloud.cli.console import fail, print_json, print_table, run, say
from cloud.cli.intake import intake

if TYPE_CHECKING:
    from cloud.cli.runtime import Runtime
    from cloud.quarantine.models import HeldRecord

app = typer.Typer(
    no_args_is_help=True,
    help="Records that were delivered and could not be applied.\n\n"
    "None is lost: each waits here with its reason until it is retried (after an upgrade or a correction)"
    " or rejected for good.",
)
Record = Annotated[UUID, typer.Argument(help="The record's id, as `quarantine list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, one line for each record.")]
_PAGE = 500


@app.command("list")
def list_records(
    state: Annotated[str, typer.Option(help="held, retried, rejected or all.")] = "held",
    json: Json = False,
) -> None:
    """Show records that could not be applied, those held longest first."""
    if state not in {"held", "retried", "rejected", "all"}:
        fail("quarantine.state", f"no state {state!r}; there are held, retried, rejected and all")

    async def act(runtime: Runtime) -> list[HeldRecord]:
        return await held_records(runtime, None if state == "all" else state)

    records = run(act)
    if json:
        for one in records:
            print_json(one)
        return
    print_table(
        f"Quarantine ({state})",
        ("record", "gateway", "seq", "code", "message", "state", "since"),
        (
            (one.id, one.gateway, one.seq, one.code, one.message, one.state, f"{one.held_at:%Y-%m-%d %H:%M}")
            for one in records
        ),
    )


@app.command()
def retry(
    record: Annotated[UUID | None, typer.Argument(help="The record's id.")] = None,
    all_held: Annotated[bool, typer.Option("--all", help="Retry every held record.")] = False,
    json: Json = False,
) -> None:
    """Try to apply a held record again, or all of them. Ends with 1 if any is still held."""
    if (record is None) == (not all_held):
        fail("quarantine.which", "name one record, or say --all")

    async def act(runtime: Runtime) -> dict[UUID, str | None]:
        if record is not None:
            async with runtime.engine.begin() as connection:
                await runtime.services.quarantine.held(connection, record)
        wanted = [record] if record else [one.id for one in await held_records(runtime, "held")]
        async with intake(runtime) as ingest:
            return await ingest.retry(wanted)

    outcome = run(act)
    still = {one: code for one, code in outcome.items() if code is not None}
    if json:
        for one, code in outcome.items():
            print_json({"id": one, "applied": code is None, "code": code})
    else:
        say(f"{len(outcome) - len(still)} applied, {len(still)} still held")
        for one, code in still.items():
            say(f"  {one} {code}")
    raise typer.Exit(1 if still else 0)


@app.command()
def reject(
    record: Record,
    reason: Annotated[str, typer.Option(help="Why it is never to be applied; kept for ever.")],
) -> None:
    """Decide that a held record is never applied. It stays on record with your reason."""
    if len(reason.strip()) < 3:
        fail("quarantine.reason", "say why, in at least three characters: the reason is kept for ever")

    async def act(runtime: Runtime) -> HeldRecord:
        async with runtime.engine.begin() as connection:
            return await runtime.services.quarantine.reject(
                connection, record, reason.strip(), "operator:cli"
            )

    rejected = run(act)
    say(f"Record {rejected.id} of {rejected.gateway} is rejected: {rejected.reason}")


async def held_records(runtime: Runtime, state: str | None) -> list[HeldRecord]:
    """Every record in this state (None: any), page by page."""
    found: list[HeldRecord] = []
    async with runtime.engine.begin() as connection:
        while True:
            after = (found[-1].held_at.isoformat(), found[-1].id) if found else None
            page = await runtime.services.quarantine.page(connection, state, after, _PAGE)
            found += page[:_PAGE]
            if len(page) <= _PAGE:
                return found

"""`reloop-cloud export | ledger | status`: looking at what there is, changing nothing."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from sqlalchemy import text

from cloud.cli.console import ERR, OUT, print_json, print_table, run, say
from cloud.cli.gateways import all_gateways
from cloud.ledger import service as ledger
from cloud.weighings.schemas import export_line

if TYPE_CHECKING:
    from typing import TextIO

    from cloud.cli.runtime import Runtime
    from cloud.ledger.models import Report

export_app = typer.Typer(no_args_is_help=True, help="Everything as lines of JSON, to compare or to keep.")
Gateway = Annotated[str | None, typer.Option("--gateway", help="Only of this gateway.")]


@export_app.command("weighings")
def export_weighings(
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line (the only form).")] = True,
    gateway: Gateway = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; without it: stdout.")] = None,
) -> None:
    """Every committed weighing, in the order of gateway, epoch and seq.

    Each line has id, gateway, epoch, seq, kind, net_g, material, citizen, holder, points, recorded_at (as the
    clock said), happened_at (as it was, as far as is known) and the evidence. Example: reloop-cloud export
    weighings --jsonl | jq -s 'map(.points) | add'
    """
    del jsonl

    async def act(runtime: Runtime) -> None:
        if output is None:
            await _export(runtime, gateway, sys.stdout)
            return
        with output.open("w", encoding="utf-8") as stream:
            await _export(runtime, gateway, stream)

    run(act)


async def _export(runtime: Runtime, gateway: str | None, stream: TextIO) -> None:
    weighings = runtime.services.weighings
    async with runtime.engine.begin() as connection:
        total = await weighings.count(connection, gateway)
        with Progress(console=ERR, transient=True, disable=stream is sys.stdout) as progress:
            bar = progress.add_task("exporting", total=total)
            async for weighing in weighings.export(connection, gateway):
                stream.write(export_line(weighing) + "\n")
                progress.advance(bar)
    stream.flush()


def status(json: Annotated[bool, typer.Option("--json", help="Answer as one line of JSON.")] = False) -> None:
    """How everything stands: gateways, what was committed and credited, what waits for a person."""

    async def act(runtime: Runtime) -> dict[str, Any]:
        gateways = await all_gateways(runtime)
        async with runtime.engine.begin() as connection:
            row = (await connection.execute(text(_TOTALS))).mappings().one()
            refusals = (await connection.execute(text(_REFUSALS))).mappings().all()
        return {
            "schema": runtime.schema,
            **{name: int(value) for name, value in row.items()},
            "gateways": [
                {
                    "gateway": one.id,
                    "state": one.state,
                    "acked": one.acked,
                    "held": one.held,
                    "alarms": one.open_alarms,
                    "last_seen_at": one.last_seen_at,
                    "acked_at": one.acked_at,
                }
                for one in gateways
            ],
            "refusals": [dict(one) for one in refusals],
        }

    report = run(act)
    if json:
        print_json(report)
        return
    totals = {name: value for name, value in report.items() if name not in {"gateways", "refusals"}}
    print_table("Totals", ("what", "how many"), totals.items())
    columns = ("gateway", "state", "acked", "held", "alarms", "last_seen_at", "acked_at")
    print_table("Gateways", columns, ([one[name] for name in columns] for one in report["gateways"]))
    if report["refusals"]:
        refused = ("gateway", "road", "code", "count", "last_at")
        rows = ([one[name] or None for name in refused] for one in report["refusals"])
        print_table("Refused deliveries of 7 days (-: no gateway is proven)", refused, rows)
    if totals["quarantined"] or totals["alarms"]:
        OUT.print("Look at: reloop-cloud quarantine list, and GET /v1/alarms?open=true")


_REFUSALS = """
select gateway_id as gateway, road, code, sum(count)::bigint as count, max(last_at) as last_at
  from refusals where hour > now() - interval '7 days'
 group by 1, 2, 3 order by max(last_at) desc limit 100
"""
_TOTALS = """
select (select count(*) from records) as records,
       (select count(*) from weighings) as weighings,
       (select coalesce(sum(net_g), 0) from weighings where voided_by is null) as net_g,
       (select coalesce(sum(points), 0) from weighings where voided_by is null) as points,
       (select count(*) from quarantine where state = 'held') as quarantined,
       (select count(*) from alarms where resolved_at is null) as alarms,
       (select coalesce(sum(count), 0) from refusals) as refused,
       (select count(*) from gaps) as gaps,
       (select count(*) from citizens) as citizens
"""


ledger_app = typer.Typer(no_args_is_help=True, help="The ledger: do all points add up?")


@ledger_app.callback()
def ledger_commands() -> None:
    """The ledger: do all points add up?"""


@ledger_app.command("verify")
def verify_ledger() -> None:
    """Check that every transfer balances, every balance is the sum of its transfers, every award fits.

    Prints one line of JSON with `ok`; ends with 1 if anything does not add up.
    """

    async def act(runtime: Runtime) -> Report:
        async with runtime.engine.begin() as connection:
            return await ledger.verify(connection)

    report = run(act)
    print_json({"ok": report.ok, **dataclasses.asdict(report)})
    for fault in report.faults[:20]:
        say(f"[red]{fault.check}[/] {fault.id}: {fault.detail}")
    raise typer.Exit(0 if report.ok else 1)

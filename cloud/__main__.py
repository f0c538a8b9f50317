"""`reloop-cloud`: run the cloud, look after its gateways, see that every kilo and point is accounted for."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud.cli import broker, courier, documents, forks, gateways, quarantine, reports
from cloud.cli.console import run, say
from cloud.cli.runtime import Runtime

app = typer.Typer(
    name="reloop-cloud",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The cloud of ReLoop.\n\n"
    "`reloop-cloud all` runs everything in one process, with a Postgres of its own under ./reloop-data unless"
    " RELOOP_DATABASE_URL names another. The other commands work beside it.\n\n"
    "Settings are environment variables: RELOOP_DATA_DIR, RELOOP_DATABASE_URL, RELOOP_MQTT_URL"
    " (mqtts://127.0.0.1:8884), RELOOP_MQTT_VERSION, RELOOP_HTTP_HOST, RELOOP_HTTP_PORT, RELOOP_PUBLIC_URL,"
    " RELOOP_MQTT_PUBLIC_URL (mqtts://host:8883), RELOOP_BROKER_DIR, RELOOP_BROKER_PID_FILE.\n\n"
    "Every command ends with 0 if all is well, 1 with an error code if not, 2 if it was called wrongly.",
)
Modules = Annotated[
    str | None,
    typer.Option(
        "--modules",
        help="Serve only these modules of the API, separated by commas: gateways, documents, drop_points,"
        " materials, citizens, weighings, custody, quarantine, alarms, ingest, retry, me, ledger.",
    ),
]
app.add_typer(gateways.app, name="gateway")
app.add_typer(broker.app, name="broker")
app.add_typer(courier.app, name="courier")
app.add_typer(documents.app, name="documents")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(forks.app, name="fork")
app.add_typer(reports.export_app, name="export")
app.add_typer(reports.ledger_app, name="ledger")
app.command("status")(reports.status)


@app.command("all")
def run_all(modules: Modules = None) -> None:
    """Run everything in one process: API, ingest over MQTT, documents, housekeeping.

    The first run makes the database, the keys, the first materials and the operator's token, which it
    prints once. SIGTERM ends it cleanly.
    """
    from cloud.cli.serve import Roles, modules_of, serve

    serve(Roles(api=True, ingest=True, worker=True, modules=modules_of(modules)))


@app.command()
def api(modules: Modules = None) -> None:
    """Run the API alone; it takes in frames over HTTPS as well."""
    from cloud.cli.serve import Roles, modules_of, serve

    serve(Roles(api=True, modules=modules_of(modules)))


@app.command()
def ingest() -> None:
    """Run the ingest alone: frames from MQTT into the database, acks back after the commit."""
    from cloud.cli.console import fail, settings
    from cloud.cli.serve import Roles, serve

    if settings().mqtt is None:
        fail("config.invalid", "there is nothing to listen to; set RELOOP_MQTT_URL")
    serve(Roles(ingest=True))


@app.command()
def worker() -> None:
    """Run the worker alone: documents to gateways, the broker's folder, housekeeping."""
    from cloud.cli.serve import Roles, serve

    serve(Roles(worker=True))


@app.command()
def migrate() -> None:
    """Bring the database to this version's schema; makes it if there is none. All steps or none."""

    async def act(runtime: Runtime) -> str:
        return runtime.schema

    say(f"The schema is at version {run(act)}.")


@app.command()
def openapi() -> None:
    """Print the API's description (OpenAPI 3.1) as JSON; needs no database.

    The kept copy is cloud/api/openapi.json; after a change of the API write it anew with
    `reloop-cloud openapi > cloud/api/openapi.json` and look at what changed.
    """
    from cloud.api.app import bare_app
    from cloud.api.openapi import as_text

    typer.echo(as_text(bare_app()), nl=False)


def main() -> None:
    """Entry point of `reloop-cloud`."""
    app()


if __name__ == "__main__":
    main()

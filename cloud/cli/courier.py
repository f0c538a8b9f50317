"""`reloop-cloud courier …`: the third road, files carried by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from cloud.cli.console import ERR, fail, print_json, run, say
from cloud.cli.intake import intake
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.errors import CourierError

if TYPE_CHECKING:
    from cloud.api.delivery import Intake
    from cloud.cli.runtime import Runtime

app = typer.Typer(
    no_args_is_help=True,
    help="Courier files: when a site has no network, its records travel on a stick or a phone.\n\n"
    "On site: reloop-edge courier export FILE. Here: reloop-cloud courier import FILE --answer ANSWER."
    " Back on site: reloop-edge courier import ANSWER, which frees the gateway's outbox.",
)


@dataclass(slots=True)
class Outcome:
    """What came of a courier file. `refused` counts by code; `cut` says why reading ended early."""

    gateway: str = ""
    items: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    cut: str | None = None
    acks: list[bytes] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """What scripts read."""
        return {
            "gateway": self.gateway,
            "items": self.items,
            "accepted": self.accepted,
            "refused": self.refused,
            "cut": self.cut,
        }


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Courier file that `reloop-edge courier export` wrote.")],
    answer: Annotated[Path, typer.Option("--answer", "-a", help="Answer file to write, for the way back.")],
    json: Annotated[bool, typer.Option("--json", help="Answer as one line of JSON.")] = False,
) -> None:
    """Take in a courier file; write the answer that frees the gateway's outbox.

    Importing a file twice is harmless: what was taken in before is acknowledged again. A file that was
    cut short is good up to the cut. Ends with 1 if anything was refused or the file was cut.
    """
    if not file.is_file():
        fail("courier.absent", f"{file} is not a file")
    size = file.stat().st_size

    async def act(runtime: Runtime) -> Outcome:
        with file.open("rb") as stream:
            async with intake(runtime) as ingest:
                outcome = await _take_in(stream, size, ingest)
        await _write_answer(runtime, outcome, answer)
        return outcome

    outcome = run(act)
    if json:
        print_json(outcome.as_json())
    else:
        _tell(outcome, answer)
    raise typer.Exit(1 if outcome.refused or outcome.cut else 0)


async def _take_in(stream: IO[bytes], size: int, ingest: Intake) -> Outcome:
    outcome = Outcome()
    with Progress(console=ERR, transient=True) as progress:
        bar = progress.add_task("taking in", total=size)
        outcome.gateway = read_header(stream, Direction.UP).gateway
        try:
            for item, data in read_items(stream):
                await _submit(ingest, outcome, item, data)
                progress.update(bar, completed=stream.tell())
        except CourierError as error:
            outcome.cut = str(error)
    return outcome


async def _submit(ingest: Intake, outcome: Outcome, item: Item, data: bytes) -> None:
    outcome.items += 1
    if item not in {Item.FRAME, Item.ENROLMENT}:
        code = "courier.item"
    else:
        reply = await ingest.submit(data, "courier", outcome.gateway)
        code = reply.code if reply.ack is None and reply.code is not None else ""
        if reply.ack is not None:
            outcome.acks.append(reply.ack)
    if code:
        outcome.refused[code] = outcome.refused.get(code, 0) + 1
    else:
        outcome.accepted += 1


async def _write_answer(runtime: Runtime, outcome: Outcome, answer: Path) -> None:
    async with runtime.engine.begin() as connection:
        documents = await runtime.services.documents.offered(connection, outcome.gateway)
    beside = answer.with_name(answer.name + ".part")
    with beside.open("wb") as stream:
        write_header(stream, Header(Direction.DOWN, outcome.gateway, runtime.clock.wall_ms()))
        for document in documents:
            write_item(stream, Item.DOCUMENT, document.data)
        for ack in outcome.acks:
            write_item(stream, Item.ACK, ack)
    beside.replace(answer)


def _tell(outcome: Outcome, answer: Path) -> None:
    say(f"{outcome.gateway}: {outcome.accepted} of {outcome.items} items taken in; answer in {answer}")
    for code, count in sorted(outcome.refused.items()):
        say(f"  refused {count}: {code}")
    if outcome.cut:
        say(f"  {outcome.cut}; export again on site for what follows the cut")

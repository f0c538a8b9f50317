"""Citizens, collectors and bins for a demo: made in the cloud by its API, handed to the simulated people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

_ALIASES = ("Asha", "Bikash", "Chameli", "Dipak", "Gita", "Hari", "Kamala", "Laxmi", "Maya", "Niraj")


@dataclass(frozen=True, slots=True)
class PeopleFiles:
    """Files with one text a line, as `reloop-sim site` reads them."""

    cards: Path
    collectors: Path
    bins: Path

    def arguments(self) -> list[str]:
        """Options that hand these files to the simulator."""
        return [
            *("--cards", str(self.cards)),
            *("--collectors", str(self.collectors)),
            *("--bins", str(self.bins)),
        ]


def make_people(api: httpx.Client, folder: Path, citizens: int) -> PeopleFiles:
    """Register citizens, two collectors and a steward, and a few bins; write their texts to files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = PeopleFiles(folder / "cards.txt", folder / "collectors.txt", folder / "bins.txt")
    cards = [_card(api, f"{_ALIASES[number % 10]} {number + 1}", "citizen") for number in range(citizens)]
    files.cards.write_text("\n".join(cards) + "\n")
    roles = ("collector", "steward", "collector")
    collectors = [_card(api, f"{role.title()} {number}", role) for number, role in enumerate(roles, 1)]
    files.collectors.write_text("\n".join(collectors) + "\n")
    files.bins.write_text("".join(f"RLB1:BIN-{number:03}\n" for number in range(1, 9)))
    return files


def _card(api: httpx.Client, alias: str, role: str) -> str:
    citizen = api.post("/v1/citizens", json={"alias": alias}).raise_for_status().json()
    card = api.post(f"/v1/citizens/{citizen['id']}/cards", json={"role": role}).raise_for_status().json()
    text: str = card["text"]
    return text

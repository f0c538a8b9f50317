"""Turns a screen into HTML in one language. Owns the order of notices; templates own the rest.

Live weights are not rendered: the page paints them from the stream, so there is one painter only.
"""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edge.kiosk.files import FALLBACK_PICTURE, build_of, load_files, picture_names
from edge.kiosk.qr import qr_svg
from edge.kiosk.words import Language, Words, load_words
from edge.station.screen import Line, Notice, Screen, Tile

TEMPLATES = Path(__file__).with_name("templates")
NOTICES_SHOWN_MAX = 3
TILES_PER_PAGE = 8
MATERIALS_MAX = 256
AUTONOMY_H_SHOWN = 30 * 24
"""More room than a month's is no news."""
RATES_AGE_S_SHOWN = 3600
PROBLEMS = (
    Notice.CLOSED,
    Notice.SCALE_FAULT,
    Notice.SCALE_ABSENT,
    Notice.SCALE_STALE,
    Notice.SCANNER_ABSENT,
    Notice.DISK_LOW,
    Notice.CATALOG_NONE,
    Notice.CATALOG_OLD,
)
"""What hinders people, worst first. The network and the clock hinder nobody: they stand in the header."""

WEIGH_STATES = (
    "ready",
    "moving",
    "stable",
    "light",
    "overload",
    "underload",
    "error",
    "no_fresh",
    "absent",
    "fault",
    "not_armed",
    "not_armed_more",
)
"""What the page may say about the live weight; it judges, the words come from here."""


class Pages:
    """Renders for all languages; `default` is the kiosk's own language."""

    def __init__(self, default: Language) -> None:
        self._default = default
        self._words = load_words()
        self._pictures = picture_names()
        self._build = build_of(load_files())
        self._tiles: dict[str, Tile] = {}
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, screen: Screen, language: Language) -> str:
        """The whole document, with `screen` in it."""
        return self._render("page.html", screen, language)

    def screen(self, screen: Screen, language: Language) -> str:
        """The regions of `screen` only."""
        return self._render("screen.html", screen, language)

    def _render(self, template: str, screen: Screen, language: Language) -> str:
        words = self._words[language]
        self._remember(screen.tiles)
        return self._templates.get_template(template).render(
            s=screen,
            w=words,
            languages=self._words,
            default_language=self._default,
            problems=[notice for notice in PROBLEMS if notice in screen.notices],
            problems_max=NOTICES_SHOWN_MAX,
            tiles_per_page=TILES_PER_PAGE,
            rates_age=_rates_age(screen, words),
            build=self._build,
            status=_status(screen, words),
            live_words=json.dumps({state: words(f"weigh.{state}") for state in WEIGH_STATES}),
            picture=self._picture,
            name_of=lambda tile: _name(tile, language),
            name_of_line=lambda line: self._name_of_line(line, language),
            qr=lambda text: Markup(qr_svg(text, words("receipt.qr"))),  # noqa: S704 - segno escapes its title
        )

    def _remember(self, tiles: tuple[Tile, ...]) -> None:
        """Keep the names of the materials offered last: a receipt names materials but offers none."""
        if tiles:
            self._tiles = {tile.code: tile for tile in tiles[:MATERIALS_MAX]}

    def _name_of_line(self, line: Line, language: Language) -> str:
        tile = self._tiles.get(line.material)
        return line.material if tile is None else _name(tile, language)

    def _picture(self, tile: Tile) -> str:
        name = tile.picture if tile.picture in self._pictures else FALLBACK_PICTURE
        return f"/pictures/{name}.svg"


def _name(tile: Tile, language: Language) -> str:
    return tile.name_ne if language is Language.NE else tile.name_en


def _rates_age(screen: Screen, words: Words) -> str:
    age_s = screen.catalog_age_s
    if age_s is None or age_s < RATES_AGE_S_SHOWN:
        return ""
    return words("choose.rates_age", age=words.age(age_s))


def _status(screen: Screen, words: Words) -> str:
    """Say in one line how this drop point stands to the network, for whoever looks after it."""
    online = "online"
    if Notice.NEVER_ONLINE in screen.notices:
        online = "never_online"
    elif Notice.OFFLINE in screen.notices:
        online = "offline"
    parts = [words(f"status.{online}")]
    if screen.backlog:
        parts.append(words("status.backlog", n=words.number(screen.backlog)))
    if screen.autonomy_h is not None and screen.autonomy_h < AUTONOMY_H_SHOWN:
        parts.append(words("status.autonomy", age=words.age(screen.autonomy_h * 3600)))
    if Notice.CLOCK_UNSURE in screen.notices:
        parts.append(words("status.clock_unsure"))
    return " · ".join(parts)

"""Nothing the station can say is without words, in either language."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge.errors import ConfigError
from edge.kiosk.rendering import Pages
from edge.kiosk.words import WORDS_FILE, Language, load_words
from edge.station.screen import Message, Name, Notice
from tests.edge.kiosk.gallery import GUEST_RECEIPT, SCREENS, idle, saved

if TYPE_CHECKING:
    from pathlib import Path

WORDS = load_words()
HEADER_NOTICES = {Notice.OFFLINE, Notice.NEVER_ONLINE, Notice.CLOCK_UNSURE}


@pytest.mark.parametrize("language", Language)
def test_every_message_and_notice_has_words(language: Language) -> None:
    words = WORDS[language]
    for message in Message:
        assert words(f"message.{message}")
    for notice in set(Notice) - HEADER_NOTICES:
        assert words(f"notice.{notice}")


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("name", Name)
def test_every_screen_renders_with_every_message(name: Name, language: Language) -> None:
    pages = Pages(Language.NE)
    for message in (None, *Message):
        screen = msgspec.structs.replace(
            saved(), name=name, message=message, bin="KTM-1", receipt=GUEST_RECEIPT
        )
        assert f'data-name="{name}"' in pages.page(screen, language)


@pytest.mark.parametrize("notice", Notice)
def test_every_notice_is_visible_on_the_idle_screen(notice: Notice) -> None:
    pages = Pages(Language.EN)
    assert pages.screen(idle(notices=(notice,)), Language.EN) != pages.screen(idle(), Language.EN)


@pytest.mark.parametrize("language", Language)
def test_whom_to_ask_is_said_where_the_operator_closed_it(language: Language) -> None:
    page = Pages(Language.NE).screen(SCREENS["closed"], language)
    assert WORDS[language]("suspended.closed") in page
    assert WORDS[language]("suspended.other") not in page


@pytest.mark.parametrize("wall_ms", [-(2**62), -62_135_596_800_001, 253_402_300_740_000, 2**62])
def test_a_receipt_is_not_lost_to_a_clock_beyond_the_calendar(wall_ms: int) -> None:
    receipt = msgspec.structs.replace(GUEST_RECEIPT, wall_ms=wall_ms)
    for name in (Name.RECEIPT, Name.HANDED_OVER):
        page = Pages(Language.NE).page(
            msgspec.structs.replace(saved(), name=name, receipt=receipt), Language.EN
        )
        assert f'data-name="{name}"' in page
    assert len(WORDS[Language.EN].moment(wall_ms)) in {1, len("1970-01-01 05:45")}


def test_both_languages_fill_the_same_places() -> None:
    texts = json.loads(WORDS_FILE.read_text())
    for key, text in texts["en"].items():
        assert _places(text) == _places(texts["ne"][key]), key


def test_every_phrase_is_used_somewhere() -> None:
    sources = [
        path.read_text()
        for folder in (".", "templates")
        for path in (WORDS_FILE.parent / folder).iterdir()
        if path.suffix in {".html", ".py"}
    ]
    composed = ("message.", "notice.", "weigh.", "how.", "status.")
    for key in json.loads(WORDS_FILE.read_text())["en"]:
        used = any(f'"{key}"' in text or f"'{key}'" in text for text in sources)
        assert used or key.startswith(composed), key


def test_a_phrase_missing_in_one_language_stops_the_start(tmp_path: Path) -> None:
    texts = json.loads(WORDS_FILE.read_text())
    del texts["ne"]["button.confirm"]
    path = tmp_path / "words.json"
    path.write_text(json.dumps(texts))
    with pytest.raises(ConfigError, match=r"ne words for button\.confirm"):
        load_words(path)


@pytest.mark.parametrize(
    ("mass_g", "english", "nepali"),
    [
        (0, "0.000 kg", "०.००० कि.ग्रा."),
        (1235, "1.235 kg", "१.२३५ कि.ग्रा."),
        (-50, "−0.050 kg", "−०.०५० कि.ग्रा."),
    ],
)
def test_masses_are_written_in_each_languages_digits(mass_g: int, english: str, nepali: str) -> None:
    assert (WORDS[Language.EN].mass(mass_g), WORDS[Language.NE].mass(mass_g)) == (english, nepali)


@pytest.mark.parametrize(
    ("age_s", "words"),
    [(-5, "0 min"), (3599, "59 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 days")],
)
def test_ages_are_written_in_their_largest_unit(age_s: float, words: str) -> None:
    assert WORDS[Language.EN].age(age_s) == words


def test_times_are_nepals() -> None:
    assert WORDS[Language.EN].moment(0) == "1970-01-01 05:45"


def test_screens_of_the_gallery_cover_every_name() -> None:
    assert {screen.name for screen in SCREENS.values()} == set(Name)


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

"""Every word the page says, in both languages, and how it writes numbers, masses and times.

The words are in words.json. Does not choose what is said.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path

import msgspec

from edge.errors import ConfigError

WORDS_FILE = Path(__file__).with_name("words.json")
LATIN_DIGITS = "0123456789"
NEPAL_TIME = dt.timezone(dt.timedelta(hours=5, minutes=45), "NPT")
"""Nepal keeps one offset all year (since 1986), so no zone database is needed on the gateway."""


class Language(StrEnum):
    """The languages of the page."""

    NE = "ne"
    EN = "en"


class Words:
    """The words of one language. Unknown keys are a programmer's error and raise KeyError."""

    def __init__(self, language: Language, words: dict[str, str]) -> None:
        self.language = language
        self.digits = words["digits"]
        self._words = words
        self._table = str.maketrans(LATIN_DIGITS, self.digits)

    def __call__(self, key: str, **values: object) -> str:
        """Return the phrase for `key`, with its {placeholders} filled in."""
        return self._words[key].format(**values)

    def number(self, value: int) -> str:
        """Write an integer in this language's digits."""
        return str(value).replace("-", "−").translate(self._table)

    def mass(self, mass_g: int) -> str:
        """Write grams as kilograms with three decimals and the unit."""
        sign = "−" if mass_g < 0 else ""
        text = f"{sign}{abs(mass_g) // 1000}.{abs(mass_g) % 1000:03d}".translate(self._table)
        return f"{text} {self('unit.kg')}"

    def grams(self, mass_g: int) -> str:
        """Write a small mass in grams with the unit."""
        return f"{self.number(mass_g)} {self('unit.g')}"

    def moment(self, wall_ms: int) -> str:
        """Write a UTC time in milliseconds as Nepal's date and time; a dash for what no calendar has."""
        try:
            moment = dt.datetime.fromtimestamp(wall_ms / 1000, tz=NEPAL_TIME)
        except (OverflowError, ValueError, OSError):
            return "–"
        return moment.strftime("%Y-%m-%d %H:%M").translate(self._table)

    def age(self, seconds: float) -> str:
        """Write an age in its largest whole unit, from minutes to days."""
        minutes = max(0, int(seconds)) // 60
        if minutes < 60:
            return self("age.minutes", n=self.number(minutes))
        if minutes < 48 * 60:
            return self("age.hours", n=self.number(minutes // 60))
        return self("age.days", n=self.number(minutes // (24 * 60)))


def load_words(path: Path = WORDS_FILE) -> dict[Language, Words]:
    """Read all languages; raises ConfigError if one of them lacks a phrase that another has."""
    texts = msgspec.json.decode(path.read_bytes(), type=dict[Language, dict[str, str]])
    keys = {key for words in texts.values() for key in words}
    for language in Language:
        missing = sorted(keys - texts.get(language, {}).keys())
        if missing:
            raise ConfigError(f"{path} has no {language} words for {', '.join(missing)}", code="kiosk.words")
    return {language: Words(language, words) for language, words in texts.items()}

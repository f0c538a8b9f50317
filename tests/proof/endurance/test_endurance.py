from __future__ import annotations

import uuid

import pytest

from tests.proof.endurance.filling import percentile_us
from tests.proof.endurance.judging import Book, compare

ONE, TWO, THREE = (uuid.UUID(int=number) for number in (1, 2, 3))
RECORDED: Book = {ONE: (500, 25), TWO: (700, 35)}


def test_equal_books_are_sound() -> None:
    assert compare(RECORDED, dict(RECORDED)) == []


@pytest.mark.parametrize(
    ("credited", "what"),
    [
        ({ONE: (500, 25)}, "lost"),
        ({**RECORDED, THREE: (1, 0)}, "credited that nobody recorded"),
        ({**RECORDED, TWO: (700, 36)}, "credited otherwise than recorded"),
    ],
)
def test_every_difference_is_found(credited: Book, what: str) -> None:
    (found,) = compare(RECORDED, credited)
    assert f"1 weighings are {what}" in found


def test_a_percentile_is_a_value_that_was_measured() -> None:
    seconds = [number / 1e6 for number in range(1, 101)]
    assert percentile_us(seconds, 0.99) == 100
    assert percentile_us(seconds, 0.5) == 51
    assert percentile_us(seconds, 1.0) == 100

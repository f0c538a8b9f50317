"""Reads a clean QR picture back, straight from ISO/IEC 18004, so that cards are checked by what is printed.

Only what our cards use: alphanumeric and byte segments, no damage (error codewords are skipped). The block
structure comes from the tables of the encoder's library; everything else is read from the picture.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

from segno import consts

if TYPE_CHECKING:
    from collections.abc import Callable

Matrix = list[list[bool]]
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)


def matrix_of_png(data: bytes, scale: int, border: int) -> Matrix:
    """Dark modules of a one-bit PNG with `scale` pixels a module."""
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    assert (depth, width) == (1, height)
    rows = _rows(zlib.decompress(b"".join(_chunks(data, b"IDAT"))), (width + 7) // 8)
    zero_is_dark = _zero_is_dark(data, color)
    size = width // scale - 2 * border

    def dark(row: int, column: int) -> bool:
        y, x = (row + border) * scale + scale // 2, (column + border) * scale + scale // 2
        bit = rows[y][x // 8] >> (7 - x % 8) & 1
        return (bit == 0) == zero_is_dark

    return [[dark(row, column) for column in range(size)] for row in range(size)]


def matrix_of_svg(text: str, border: int) -> Matrix:
    """Dark modules of an SVG that strokes runs of modules: `M x y.5 h n m dx dy h n …`."""
    box = re.search(r'width="(\d+)"', text)
    scale = re.search(r"scale\((\d+)\)", text)
    assert box is not None
    assert scale is not None
    size = int(box[1]) // int(scale[1]) - 2 * border
    cells = [[False] * size for _ in range(size)]
    path = re.search(r' d="([^"]+)"', text)
    assert path is not None
    x, y = 0.0, 0.0
    for command, arguments in re.findall(r"([Mmh])([^Mmh]*)", path[1]):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", arguments)]
        match command:
            case "M":
                x, y = numbers
            case "m":
                x, y = x + numbers[0], y + numbers[1]
            case _:
                for column in range(int(x), int(x + numbers[0])):
                    cells[int(y) - border][column - border] = True
                x += numbers[0]
    return cells


def decode(cells: Matrix) -> str:
    """The text in a QR's modules."""
    size = len(cells)
    version = (size - 17) // 4
    error, mask = _format(cells)
    bits = _bits(cells, version, _MASKS[mask])
    words = [int("".join(map(str, bits[start : start + 8])), 2) for start in range(0, len(bits) - 7, 8)]
    return _segments(_data_words(words, version, error), version)


def _format(cells: Matrix) -> tuple[int, int]:
    places = [(8, column) for column in (0, 1, 2, 3, 4, 5, 7)] + [(8, 8)]
    places += [(row, 8) for row in (7, 5, 4, 3, 2, 1, 0)]
    value = int("".join(str(int(cells[row][column])) for row, column in places), 2) ^ 0b101010000010010
    level = {0b01: consts.ERROR_LEVEL_L, 0b00: consts.ERROR_LEVEL_M}.get(value >> 13)
    assert level is not None, "cards are printed at level L or M"
    return level, value >> 10 & 0b111


def _bits(cells: Matrix, version: int, mask: Callable[[int, int], bool]) -> list[int]:
    size = len(cells)
    bits = []
    column, upward = size - 1, True
    while column > 0:
        column -= column == 6
        for row in range(size - 1, -1, -1) if upward else range(size):
            bits += [
                int(cells[row][place] != mask(row, place))
                for place in (column, column - 1)
                if not _reserved(row, place, size, version)
            ]
        column, upward = column - 2, not upward
    return bits


def _reserved(row: int, column: int, size: int, version: int) -> bool:
    finder = (row < 9 and column < 9) or (row < 9 and column >= size - 8) or (row >= size - 8 and column < 9)
    if finder or 6 in (row, column):
        return True
    if version >= 7 and ((row < 6 and column >= size - 11) or (column < 6 and row >= size - 11)):
        return True
    return any(abs(row - y) <= 2 and abs(column - x) <= 2 for y, x in _alignments(version, size))


def _alignments(version: int, size: int) -> list[tuple[int, int]]:
    if version == 1:
        return []
    places = consts.ALIGNMENT_POS[version - 2]
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    return [(y, x) for y in places for x in places if (y, x) not in corners]


def _data_words(words: list[int], version: int, error: int) -> list[int]:
    table: Any = consts.ECC[version]
    lengths = [block.num_data for block in table[error] for _ in range(block.num_blocks)]
    blocks: list[list[int]] = [[] for _ in lengths]
    source = iter(words)
    for index in range(max(lengths)):
        for block, length in zip(blocks, lengths, strict=True):
            if index < length:
                block.append(next(source))
    return [word for block in blocks for word in block]


def _segments(words: list[int], version: int) -> str:
    stream = "".join(f"{word:08b}" for word in words)
    position, out = 0, ""

    def take(count: int) -> int:
        nonlocal position
        position += count
        return int(stream[position - count : position] or "0", 2)

    while position + 4 <= len(stream) and (mode := take(4)):
        match mode:
            case 0b0010:
                count = take(9 if version < 10 else 11)
                for _ in range(count // 2):
                    pair = take(11)
                    out += _ALPHANUMERIC[pair // 45] + _ALPHANUMERIC[pair % 45]
                out += _ALPHANUMERIC[take(6)] if count % 2 else ""
            case 0b0100:
                count = take(8 if version < 10 else 16)
                out += bytes(take(8) for _ in range(count)).decode()
            case _:
                raise AssertionError(f"mode {mode:04b} is not used on cards")
    return out


def _rows(raw: bytes, stride: int) -> list[bytes]:
    rows: list[bytes] = []
    for start in range(0, len(raw), stride + 1):
        row = raw[start + 1 : start + 1 + stride]
        above = rows[-1] if rows else bytes(stride)
        match raw[start]:
            case 0:
                rows.append(row)
            case 2:
                rows.append(bytes((one + up) & 0xFF for one, up in zip(row, above, strict=True)))
            case other:
                raise AssertionError(f"row filter {other} is not read here")
    return rows


def _zero_is_dark(data: bytes, color: int) -> bool:
    if color == 0:
        return True
    palette = next(iter(_chunks(data, b"PLTE")))
    return palette[:3] == b"\0\0\0"


def _chunks(data: bytes, wanted: bytes) -> list[bytes]:
    position, found = 8, []
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        if data[position + 4 : position + 8] == wanted:
            found.append(data[position + 8 : position + 8 + length])
        position += 12 + length
    return found

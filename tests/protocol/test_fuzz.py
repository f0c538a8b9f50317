"""What the fuzzed decoders are begun from is valid; and no single flipped bit passes for what was sent."""

from __future__ import annotations

import pytest

from protocol.errors import ProtocolError, RecordError
from protocol.records import decode_record
from tests.proof.fuzz.targets import TARGETS

NO_WHOLE_MESSAGE = {"access"} | {name for name in TARGETS if name.startswith(("scale", "edge", "env"))}
FRAME = TARGETS["frame"].valid
RECORD = TARGETS["record"].valid


@pytest.mark.parametrize("name", sorted(set(TARGETS) - NO_WHOLE_MESSAGE))
def test_the_undamaged_message_is_taken(name: str) -> None:
    TARGETS[name].decode(TARGETS[name].valid)


@pytest.mark.parametrize("position", range(0, len(FRAME), 7))
def test_one_flipped_bit_in_a_frame_is_refused(position: int) -> None:
    data = bytearray(FRAME)
    data[position] ^= 1 << (position % 8)
    with pytest.raises(ProtocolError):
        TARGETS["frame"].decode(bytes(data))


def test_a_record_of_any_flipped_bit_is_another_record_or_none() -> None:
    whole = decode_record(RECORD)
    for position in range(len(RECORD) * 8):
        data = bytearray(RECORD)
        data[position // 8] ^= 1 << (position % 8)
        try:
            changed = decode_record(bytes(data))
        except RecordError:
            continue
        assert changed != whole

"""What the rows on the journal's disk depend on.

The journal names few of the protocol's and of the gateway's files: they are named one by one, so that the
rows still stand when the link or the kiosk changes.
"""

from __future__ import annotations

COVERS = (
    "edge/journal",
    "edge/config.py",
    "edge/errors.py",
    "protocol/bodies.py",
    "protocol/cbor.py",
    "protocol/cose.py",
    "protocol/errors.py",
    "protocol/frames.py",
    "protocol/records.py",
    "protocol/topics.py",
    "protocol/__init__.py",
    "tests/edge/hand_clock.py",
    "tests/edge/journal/site.py",
    "tests/proof/disk",
)

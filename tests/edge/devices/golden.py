"""Golden frames of every dialect: bytes from makers' manuals and captured logs, and what they mean.

The bytes are data, not made by our code; `meaning` is written by hand.
"""

from dataclasses import dataclass

from edge.devices.readings import Status


@dataclass(frozen=True)
class Golden:
    dialect: str
    frame: bytes
    status: Status
    gross_g: int | None = None
    net_g: int | None = None
    tare_g: int | None = None
    stable: bool | None = None
    unit: str = ""
    division_g: int | None = None
    lead: bytes = b""
    """What must have been on the line before, for the one form that is believed only after a run."""


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


STABLE, MOTION, OVER, UNDER, ERROR = (
    Status.STABLE,
    Status.MOTION,
    Status.OVERLOAD,
    Status.UNDERLOAD,
    Status.ERROR,
)

GOLDEN = [
    Golden("mt-sics", b"S S     100.00 g\r\n", STABLE, 100, stable=True, unit="g", division_g=1),
    Golden("mt-sics", b"S D     100.00 g\r\n", MOTION, 100, stable=False, unit="g", division_g=1),
    Golden("mt-sics", b"S S      -0.25 kg\r\n", STABLE, -250, stable=True, unit="kg", division_g=10),
    Golden("mt-sics", b"S I\r\n", ERROR),
    Golden("mt-sics", b"S +\r\n", OVER),
    Golden("mt-sics", b"S -\r\n", UNDER),
    Golden("mt-sics", b"S S Error 12b\r\n", ERROR),
    Golden("mt-sics", b"ES\r\n", ERROR),
    Golden("mt-sics", b"ET\r\n", ERROR),
    Golden("mt-sics", b"EL\r\n", ERROR),
    Golden(
        "toledo",
        _hex("02 2c 30 20 20 20 31 32 33 34 20 20 20 20 20 30 0d 1b"),
        STABLE,
        12_340,
        stable=True,
        unit="kg",
        division_g=10,
    ),
    Golden(
        "toledo",
        _hex("02 2c 31 20 20 20 31 32 33 34 20 20 20 32 35 30 0d 73"),
        STABLE,
        14_840,
        net_g=12_340,
        tare_g=2_500,
        stable=True,
        unit="kg",
        division_g=10,
    ),
    Golden(
        "toledo",
        _hex("02 3c 38 20 20 20 31 32 35 30 20 20 20 20 20 30 0d 05"),
        MOTION,
        12_500,
        stable=False,
        unit="kg",
        division_g=50,
    ),
    Golden(
        "toledo",
        _hex("02 2c 32 20 20 20 20 20 32 30 20 20 20 20 20 30 0d 41"),
        STABLE,
        -200,
        stable=True,
        unit="kg",
        division_g=10,
    ),
    Golden("and", b"ST,+0001.234 kg\r\n", STABLE, 1_234, stable=True, unit="kg", division_g=1),
    Golden("and", b"US,+0001.234 kg\r\n", MOTION, 1_234, stable=False, unit="kg", division_g=1),
    Golden("and", b"ST,OK,+0001.234 kg\r\n", STABLE, 1_234, stable=True, unit="kg", division_g=1),
    Golden("and", b"ST,+00000.00  g\r\n", STABLE, 0, stable=True, unit="g", division_g=1),
    Golden("and", b"OL,+9999999E+19\r\n", OVER),
    Golden("and", b"OL,-9999999E+19\r\n", UNDER),
    Golden("and", b"QT,+00000012 PC\r\n", ERROR),
    Golden("cas22", b"ST,GS,1\xe4,000013.5 kg\r\n", STABLE, 13_500, stable=True, unit="kg", division_g=100),
    Golden("cas22", b"US,GS,1\xa4,000013.5 kg\r\n", MOTION, 13_500, stable=False, unit="kg", division_g=100),
    Golden(
        "cas22",
        b"ST,NT,=\xc2,000013.5 kg\r\n",
        STABLE,
        net_g=13_500,
        stable=True,
        unit="kg",
        division_g=100,
    ),
    Golden("cas22", b"OL,GS,1\xa4,         kg\r\n", OVER),
    Golden("cas22", b"ERR03\r\n", ERROR),
    Golden("cas18", b"ST,GS,000013.5kg\r\n", STABLE, 13_500, stable=True, unit="kg", division_g=100),
    Golden("cas18", b"US,NT,  -001.5kg\r\n", MOTION, net_g=-1_500, stable=False, unit="kg", division_g=100),
    Golden("cas10", b"000013.5\r\n", MOTION, 13_500, unit="kg", division_g=100),
    Golden("kern", b"ST,GS,+01234567  oz\r\n", STABLE, 34_999_386, stable=True, unit="oz", division_g=29),
    Golden("kern", b"ST,NT,+0012.345  kg\r\n", STABLE, net_g=12_345, stable=True, unit="kg", division_g=1),
    Golden("kern", b"ST,TR,+0002.500  kg\r\n", MOTION, tare_g=2_500, unit="kg", division_g=1),
    Golden("kern", b"OL,GS,+            \r\n", OVER),
    Golden("a9", b"\x02+003290013\x03", MOTION, 3_290_000, unit="kg", division_g=1_000),
    Golden(
        "a9-command",
        _hex("02 41 42 2b 30 30 33 32 39 30 33 31 33 03"),
        MOTION,
        3_290,
        unit="kg",
        division_g=1,
    ),
    Golden("yaohua-reversed", b"=000.3000", MOTION, 3_000, unit="kg", division_g=1),
    Golden("yaohua-reversed", b"=00.1000-", MOTION, -1_000, unit="kg", division_g=10),
    Golden("yaohua-reversed", b"543.210=", MOTION, 12_345, unit="kg", division_g=1, lead=b"543.210=" * 5),
    Golden("a12e", b"WG004.139kg3D\r\n", MOTION, 4_139, unit="kg", division_g=1),
    Golden("a12e", b"         OL23\r\n", OVER),
    Golden("a12e", b"         LO23\r\n", UNDER),
    Golden("a12e-clone", b"ww0003.17kg", MOTION, 3_170, unit="kg", division_g=10),
    Golden("a12e-clone", b"wn-003.17kg", MOTION, net_g=-3_170, unit="kg", division_g=10),
    Golden("a12e-clone", b"wt000.000kg", MOTION, tare_g=0, unit="kg", division_g=1),
    Golden("a12e-clone", b"ww0003.17lb", MOTION, 1_438, unit="lb", division_g=5),
]

"""A card's text as a picture that scanners and phones read."""

from __future__ import annotations

import io

import segno

_BORDER_MODULES = 4  # ISO/IEC 18004's quiet zone
_PNG_SCALE = 8


def card_qr(text: str, kind: str) -> bytes:
    """The QR of `text` as `png` or `svg` bytes, error level M: printed cards get scratched."""
    qr = segno.make_qr(text, error="m")
    out = io.BytesIO()
    if kind == "png":
        qr.save(out, kind="png", scale=_PNG_SCALE, border=_BORDER_MODULES)
    else:
        qr.save(out, kind="svg", scale=4, border=_BORDER_MODULES, xmldecl=False, title="ReLoop")
    return out.getvalue()

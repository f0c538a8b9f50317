"""A text as a QR picture that scanners and phones read."""

from __future__ import annotations

import io

import segno

BORDER_MODULES = 4
"""ISO/IEC 18004's quiet zone."""
PNG_SCALE = 8


def qr_picture(text: str, kind: str) -> bytes:
    """The QR of `text` as `png` or `svg` bytes, error level M: printed codes get scratched."""
    qr = segno.make_qr(text, error="m")
    out = io.BytesIO()
    if kind == "png":
        qr.save(out, kind="png", scale=PNG_SCALE, border=BORDER_MODULES)
    else:
        qr.save(out, kind="svg", scale=4, border=BORDER_MODULES, xmldecl=False, title="ReLoop")
    return out.getvalue()

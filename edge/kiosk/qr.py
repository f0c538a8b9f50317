"""A receipt's QR as inline SVG, made here so that the page needs no library and no second request."""

import segno


def qr_svg(text: str, label: str) -> str:
    """Return an `<svg>` with a quiet zone of four modules (ISO/IEC 18004), sized by the style sheet.

    Level M survives smudges and sun glare on a street screen without making modules too small.
    """
    code = segno.make(text, error="m", micro=False, boost_error=False)
    svg: str = code.svg_inline(
        border=4, omitsize=True, svgclass="qr", lineclass=None, dark="#000", light="#fff", title=label
    )
    return svg

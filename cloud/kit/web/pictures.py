"""QR pictures as answers."""

from __future__ import annotations

from typing import Any, Literal

from starlette.responses import Response

from cloud.kit.qr import qr_picture

Kind = Literal["png", "svg"]
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}, "image/svg+xml": {}}}}


def qr_response(text: str, kind: Kind) -> Response:
    """The QR of `text`, to print."""
    media_type = "image/png" if kind == "png" else "image/svg+xml"
    return Response(qr_picture(text, kind), media_type=media_type)

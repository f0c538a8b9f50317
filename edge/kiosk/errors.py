"""What the kiosk's HTTP interface refuses, each with a stable code and its HTTP status."""

from edge.errors import EdgeError


class KioskError(EdgeError):
    """A request the kiosk does not take."""

    code = "kiosk"
    status = 400

    def __init__(self, message: str, *, code: str, status: int = 400) -> None:
        super().__init__(message, code=code)
        self.status = status


class PortTakenError(EdgeError):
    """The kiosk's address cannot be listened on."""

    code = "kiosk.port.taken"

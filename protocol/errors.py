"""The one error root of the protocol. A code is stable for ever; a message says what was wrong."""


class ProtocolError(Exception):
    """Something that arrived, or was about to be sent, does not keep to the protocol.

    `code` is a stable dotted name such as `frame.signature`; `str(error)` is for people.
    """

    code = "protocol"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class EnvelopeError(ProtocolError):
    """A COSE envelope is malformed, of another type, or its signature does not verify."""

    code = "envelope.malformed"


class SignatureError(EnvelopeError):
    """The signature does not verify under the key it names."""

    code = "envelope.signature"


class RecordError(ProtocolError):
    """One record cannot be read or built; the records around it are not affected."""

    code = "record.malformed"


class FrameError(ProtocolError):
    """A frame is malformed, too large, or its chain does not add up."""

    code = "frame.malformed"


class AckError(ProtocolError):
    """An ack is malformed or not meant for this gateway."""

    code = "ack.malformed"


class DocumentError(ProtocolError):
    """A downlink document, part or manifest cannot be used."""

    code = "document.malformed"


class CardError(ProtocolError):
    """A member card cannot be accepted: malformed, forged, expired or revoked."""

    code = "card.malformed"


class CodeError(ProtocolError):
    """A typed-in code (guest claim, gateway claim, bin) is malformed."""

    code = "code.malformed"


class CourierError(ProtocolError):
    """A courier file is malformed or of another version."""

    code = "courier.malformed"

"""What can be wrong with a citizen, a card or a tag."""

from cloud.errors import ConflictError, NotFoundError


class CitizenNotFoundError(NotFoundError):
    """There is no citizen of this id."""

    code = "citizen.not_found"


class CardNotFoundError(NotFoundError):
    """There is no card of this serial."""

    code = "card.not_found"


class CardsExhaustedError(ConflictError):
    """All issue numbers of this pseudonym are used."""

    code = "card.exhausted"


class TagTakenError(ConflictError):
    """The tag belongs to another citizen."""

    code = "tag.taken"

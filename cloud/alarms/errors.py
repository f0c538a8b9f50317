"""What can be wrong with asking for an alarm."""

from cloud.errors import NotFoundError


class AlarmNotFoundError(NotFoundError):
    """There is no alarm of this id."""

    code = "alarm.not_found"

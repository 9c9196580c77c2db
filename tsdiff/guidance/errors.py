"""What guidance complains of."""


class GuidanceError(ValueError):
    """No sample can have what is asked for."""


class GuidanceWarning(UserWarning):
    """What is asked for is so unlikely that few samples carry the forecast, or none has it."""

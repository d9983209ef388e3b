"""Errors of the shared state."""

from sidetask.core.errors.base import SidetaskError


class StateValueError(SidetaskError, ValueError):
    """A value cannot be kept in the shared state, or is not of the type that was asked for."""

    def __init__(self, key: str, value_type: str, why: str) -> None:
        super().__init__(key, value_type, why)
        self.key = key
        self.value_type = value_type
        """The name of the value's Python type."""
        self.why = why

    def __str__(self) -> str:
        return f"{self.key!r} holds {self.value_type}: {self.why}"


class StateConflictError(SidetaskError):
    """The key changed since it was read."""

    def __init__(self, key: str, expected: int, version: int) -> None:
        super().__init__(key, expected, version)
        self.key = key
        self.expected = expected
        self.version = version
        """The version it has; 0: there is no such key."""

    def __str__(self) -> str:
        return (
            f"{self.key!r} is at version {self.version}, not {self.expected}: "
            "read it again and decide anew, or use modify()"
        )


class StateTimeoutError(SidetaskError, TimeoutError):
    """What was waited for in the state did not come in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} did not come within {self.seconds:g} s"


class StateClosedError(SidetaskError):
    """The state is closed, or the fork was committed or discarded."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: fork again, or open the conversation anew"

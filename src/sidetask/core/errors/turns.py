"""Errors that end a turn. Its history is valid, and the next turn may start."""

from typing import ClassVar

from sidetask.core.errors.base import SidetaskError


class TurnError(SidetaskError):
    """A turn did not reach its end. Its history is valid and the next turn may start."""


class TurnCancelledError(TurnError):
    """The turn was interrupted or cancelled."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the turn was cancelled: {self.reason}"


class StepLimitError(TurnError):
    """The turn asked the model more often than `max_steps` allows."""

    def __init__(self, max_steps: int) -> None:
        super().__init__(max_steps)
        self.max_steps = max_steps

    def __str__(self) -> str:
        return f"the turn used its {self.max_steps} model calls: raise max_steps, or split the work"


class BudgetExceededError(TurnError):
    """A budget of the turn, of its conversation, or of what invoked it is spent."""

    def __init__(self, spent: str) -> None:
        super().__init__(spent)
        self.spent = spent
        """The limit that was reached, in words: `5 of 5 steps`."""

    def __str__(self) -> str:
        return f"the budget is spent ({self.spent}): raise it, or start anew"


class DoomLoopError(TurnError):
    """The model repeated itself, was told, and went on."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names
        """The tools of the row that repeats; one name: the same call."""

    def __str__(self) -> str:
        row = ", ".join(self.names)
        return (
            f"the model went on calling {row} with the same arguments: see what it is missing, or"
            " give a tool that may repeat TaskPolicy(repeatable=True)"
        )


class OutputError(TurnError):
    """The model did not produce the structured output that `output_type` asks for."""


class ModelError(TurnError):
    """The model could not answer. Subclasses say whether trying again makes sense."""

    retryable: ClassVar[bool] = False
    """The same request may succeed: later, or with another model."""


class RateLimitedError(ModelError):
    """The provider asks to come back later: a rate limit of the API key was reached."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after
        """Seconds the provider asked to wait; None: it did not say."""

    def __str__(self) -> str:
        wait = "" if self.retry_after is None else f"; try again in {self.retry_after:g} s"
        return f"{self.message}{wait}"


class QuotaExceededError(ModelError):
    """The gate of the API key stays closed for longer than a call may wait; nothing was sent."""

    retryable = True

    def __init__(self, key: str, retry_after: float) -> None:
        super().__init__(key, retry_after)
        self.key = key
        """A digest of the API key."""
        self.retry_after = retry_after
        """Seconds until the gate opens."""

    def __str__(self) -> str:
        return (
            f"the rate limit of this API key opens in {self.retry_after:g} s: try again then, "
            "use another key, or raise the quota's max_wait"
        )


class ModelUnavailableError(ModelError):
    """The provider failed or could not be reached. A retry may help."""

    retryable = True


class AuthenticationError(ModelError):
    """The provider refused the API key, or the key may not use this model."""


class ContextWindowExceededError(ModelError):
    """The conversation is longer than the model can read: shorten it, or use another model."""


class ModelStalledError(ModelError):
    """Nothing came from the model within the timeout. A retry may help."""

    retryable = True

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"nothing came from the model for {self.seconds:g} s: try again, or raise model_timeout"
        )


class IncompleteResponseError(ModelError):
    """The model's stream ended in the middle. Half a tool call is never run."""

    retryable = True


class SafetyError(ModelError):
    """The provider refused to answer for safety reasons."""

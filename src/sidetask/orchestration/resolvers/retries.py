"""Trying again: which errors are worth it, and how long to wait.

The waits are stamina's: from a tenth of a second on, each about twice the last one, with jitter,
up to 5 s. An error that says how long to wait is obeyed instead.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from sidetask.core.errors import (
    AllFailedError,
    ModelError,
    QuotaExceededError,
    RateLimitedError,
)

T = TypeVar("T")

ErrorTypes: TypeAlias = type[Exception] | tuple[type[Exception], ...]

LONGEST = 60.0
"""Seconds. Who is told to wait for longer does not wait, and does not try again."""


def may_help(error: BaseException) -> bool:
    """Whether trying again may help: the model's error says so, or it is the network's or a
    timeout; of a race or a fallback, if that holds for one of its branches."""
    match error:
        case ModelError():
            return error.retryable
        case AllFailedError():
            return any(may_help(each) for _, each in error.failures)
        case _:
            return isinstance(error, ConnectionError | TimeoutError)


async def retried(
    work: Callable[[], Awaitable[T]], retries: int, on: ErrorTypes | None = None
) -> T:
    """Run `work`, and again up to `retries` times after an error of the types `on`; without
    them, after one that `may_help` accepts. The last error is raised as it is."""
    if not retries:
        return await work()
    from stamina import retry_context  # noqa: PLC0415 - for whoever asks for retries

    def judge(error: Exception) -> bool | float:
        worth = may_help(error) if on is None else isinstance(error, on)
        if not worth or not isinstance(error, RateLimitedError | QuotaExceededError):
            return worth
        if error.retry_after is None:
            return True
        return error.retry_after if error.retry_after <= LONGEST else False

    async for attempt in retry_context(on=judge, attempts=retries + 1, timeout=None):
        with attempt:
            return await work()
    raise AssertionError("stamina gives a result or raises")

"""pydantic-ai's errors as ours. Classified by their type, never by searching their text."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx2
from pydantic_ai import exceptions as theirs

from sidetask.core.errors import (
    AuthenticationError,
    ContextWindowExceededError,
    IncompleteResponseError,
    ModelError,
    ModelUnavailableError,
    RateLimitedError,
    SafetyError,
)

UNAVAILABLE = (
    theirs.ModelUnavailableError,
    theirs.ModelServerError,
    theirs.ModelConnectionError,
    theirs.ModelRequestTimeout,
    httpx2.TransportError,
)


class Progress:
    """Whether anything of a reply was handed on: afterwards a lost connection is a cut reply."""

    __slots__ = ("delivered",)

    def __init__(self) -> None:
        self.delivered = False


@contextmanager
def mapped(name: str, progress: Progress) -> Generator[None]:
    """Raise what a provider raises inside as a `ModelError` of ours."""
    try:
        yield
    except (theirs.AgentRunError, theirs.UserError, httpx2.HTTPError) as error:
        raise as_ours(error, name, progress) from error


def as_ours(error: Exception, name: str, progress: Progress) -> ModelError:
    """The error of ours that asks the caller for the same reaction."""
    text = f"{name}: {_text(error)}"
    match error:
        case theirs.ModelRateLimitError():
            return RateLimitedError(text, error.retry_after)
        case theirs.ModelAuthenticationError():
            return AuthenticationError(text)
        case theirs.ModelContextWindowExceededError():
            return ContextWindowExceededError(text)
        case theirs.ModelConnectionError() | httpx2.TransportError() if progress.delivered:
            return IncompleteResponseError(f"{name}: the connection broke off: {_text(error)}")
        case _ if isinstance(error, UNAVAILABLE):
            return ModelUnavailableError(text)
        case theirs.ContentFilterError():
            return SafetyError(text)
        case _:
            return ModelError(text)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__

"""A model that replies what is on a tape, to whoever asks the same."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from sidetask.core import errors
from sidetask.core.errors import ModelError, TapeMismatchError
from sidetask.core.errors.checks import check_positive
from sidetask.core.usage import Price
from sidetask.models.base import Chunk, ModelRequest
from sidetask.models.tape.comparing import differences
from sidetask.models.tape.format import (
    RecordedCall,
    RecordedError,
    digest_of_request,
    read_tape,
)


class TapeModel:
    """Plays a tape: each request gets the reply that was recorded for it.

    Among equal requests the order is that of the tape; between different ones it is free, so that
    agents side by side may ask in any order. A request that is not on the tape, or was played
    already, raises `TapeMismatchError`, which says what differs. With `strict=False` it gets the
    next reply that was not played, whatever it was the answer to. With `speed` chunks come when
    they came then (1.0), twice as fast (2.0), ...; without it at once.

    A reply that was cut off, or left by its reader, ends there, which is an
    `IncompleteResponseError` for whoever reads on. Errors are raised again.

    Raises:
        TapeError: There is no such file, or it is no tape.
        ConfigurationError: The speed is not above 0.
    """

    def __init__(
        self, path: str | Path, *, strict: bool = True, speed: float | None = None
    ) -> None:
        if speed is not None:
            check_positive("a tape's speed", speed)
        self.calls = read_tape(path)
        """What is on the tape."""
        first = self.calls[0] if self.calls else None
        self.name = "tape" if first is None else first.model
        self.quota_key = f"tape {path}"
        # What a model is known to hold and to cost decides what else it is asked.
        self.context_window: int | None = None if first is None else first.context_window
        self.price: Price | None = None if first is None else first.price
        self._strict = strict
        self._speed = speed
        self._left = dict(enumerate(self.calls, 1))

    @property
    def left(self) -> int:
        """How many replies were not played."""
        return len(self._left)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:
        recorded = self._find(request)
        if not recorded.chunks and recorded.error is not None:
            await self._wait(recorded.seconds)
            raise _raised(recorded.error)
        async with aclosing(self._play(recorded)) as chunks:
            yield chunks

    def _find(self, request: ModelRequest) -> RecordedCall:
        digest = digest_of_request(request)
        same = [number for number, call in self._left.items() if call.digest == digest]
        if same:
            return self._left.pop(same[0])
        if not self._left:
            told = f"it has {len(self.calls)} replies, and all were played"
            raise TapeMismatchError(len(self.calls) + 1, [told])
        number, nearest = next(iter(self._left.items()))
        if self._strict:
            raise TapeMismatchError(number, differences(nearest.request, request))
        return self._left.pop(number)

    async def _play(self, recorded: RecordedCall) -> AsyncGenerator[Chunk]:
        before = 0.0
        for after, chunk in recorded.chunks:
            await self._wait(after - before)
            before = after
            yield chunk
        if recorded.error is not None:
            await self._wait(recorded.seconds - before)
            raise _raised(recorded.error)

    async def _wait(self, seconds: float) -> None:
        if self._speed is not None and seconds > 0:
            await asyncio.sleep(seconds / self._speed)


def _raised(recorded: RecordedError) -> ModelError:
    """The error that was recorded, as the class that it was if that is one of ours."""
    match recorded.type:
        case "RateLimitedError":
            return errors.RateLimitedError(recorded.text, recorded.retry_after)
        case "ModelUnavailableError":
            return errors.ModelUnavailableError(recorded.text)
        case "AuthenticationError":
            return errors.AuthenticationError(recorded.text)
        case "ContextWindowExceededError":
            return errors.ContextWindowExceededError(recorded.text)
        case "IncompleteResponseError":
            return errors.IncompleteResponseError(recorded.text)
        case "SafetyError":
            return errors.SafetyError(recorded.text)
        case "ModelError":
            return ModelError(recorded.text)
        case _:
            return ModelError(f"{recorded.type}: {recorded.text}")

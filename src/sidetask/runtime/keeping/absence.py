"""A store that takes nothing now, as the turns of one conversation have found it."""

import asyncio
from collections.abc import Awaitable, Callable

from sidetask.core.errors import StoreError, StoreUnavailableError
from sidetask.core.messages import Message
from sidetask.tasks.aio.telling import PAUSE


class Absence:
    """Whether the last turn failed for want of a store, and waiting for its return."""

    __slots__ = ("_stored", "lasts")

    def __init__(self, stored: Callable[[], Awaitable[None]]) -> None:
        self._stored = stored
        self.lasts = False

    def note(self, error: BaseException | None) -> None:
        """How a turn has ended."""
        self.lasts = isinstance(error, StoreUnavailableError)

    async def wait_over(self, is_in_a_hurry: Callable[[], bool]) -> None:
        """Wait until the store takes again, or, when it does not, until somebody is in a hurry."""
        while self.lasts:
            try:
                await self._stored()
                self.lasts = False
            except StoreUnavailableError:
                if is_in_a_hurry():
                    return
                await asyncio.sleep(PAUSE)
            except StoreError:  # the next turn tells what else is wrong
                self.lasts = False


def is_among(message: Message, history: list[Message]) -> bool:
    """Whether this very message was said."""
    return any(each is message for each in reversed(history))

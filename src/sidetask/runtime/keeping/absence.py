"""A store that takes nothing now: waiting for its return, and what was said before."""

import asyncio
from collections.abc import Awaitable, Callable

from sidetask.core.errors import StoreError, StoreUnavailableError
from sidetask.core.messages import Message
from sidetask.tasks.aio.telling import PAUSE


async def store_is_back(
    stored: Callable[[], Awaitable[None]], is_in_a_hurry: Callable[[], bool]
) -> bool:
    """Wait until the store takes again; False: it does not yet, and somebody is in a hurry."""
    while True:
        try:
            await stored()
        except StoreUnavailableError:
            if is_in_a_hurry():
                return False
            await asyncio.sleep(PAUSE)
        except StoreError:  # the next turn tells what else is wrong
            return True
        else:
            return True


def is_among(message: Message, history: list[Message]) -> bool:
    """Whether this very message was said."""
    return any(each is message for each in reversed(history))

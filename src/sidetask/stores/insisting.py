"""Asking a store that may be away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidetask.core.errors import StoreUnavailableError

T = TypeVar("T")

PAUSES = (0.1, 5.0)
"""Seconds between two tries, at first and at most."""


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until it answers, however long it is away. What `ask` does may happen twice."""
    pause = PAUSES[0]
    while True:
        try:
            return await ask()
        except StoreUnavailableError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

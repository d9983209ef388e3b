"""Waiting for something to change: who sleeps, and how they are woken.

A wake-up is a hint. Who wakes looks again, and sleeps on if it was for somebody else.
"""

import asyncio
from typing import TypeAlias

Sleepers: TypeAlias = "list[asyncio.Future[None]]"


async def sleep_among(sleepers: Sleepers) -> None:
    """Sleep until the next `wake_all`. Who gives up leaves nothing behind."""
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sleepers.append(sleeper)
    try:
        await sleeper
    except BaseException:  # the one boundary: a wait that is given up, however
        if sleeper in sleepers:
            sleepers.remove(sleeper)
        raise


def wake_all(sleepers: Sleepers) -> None:
    """Wake everybody, in the order in which they went to sleep."""
    if not sleepers:  # the usual case
        return
    woken = sleepers.copy()
    sleepers.clear()
    for sleeper in woken:
        if not sleeper.done():
            sleeper.set_result(None)

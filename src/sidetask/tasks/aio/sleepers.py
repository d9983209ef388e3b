"""Waiting for something to change: who sleeps, and how they are woken.

A wake-up is a hint. Who wakes looks again, and sleeps on if it was for somebody else.
"""

import asyncio
from typing import TypeAlias

Sleepers: TypeAlias = "list[asyncio.Future[None]]"


async def sleep_among(*places: Sleepers) -> None:
    """Sleep until the next `wake_all` of any of these. Nothing is left behind."""
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for sleepers in places:
        sleepers.append(sleeper)
    try:
        await sleeper
    finally:
        for sleepers in places:
            if sleeper in sleepers:
                sleepers.remove(sleeper)


def wake_all(sleepers: Sleepers) -> None:
    """Wake everybody, in the order in which they went to sleep."""
    if not sleepers:  # the usual case
        return
    woken = sleepers.copy()
    sleepers.clear()
    for sleeper in woken:
        if not sleeper.done():
            sleeper.set_result(None)

"""Waiting for something to change: who sleeps, and how they are woken.

A wake-up is a hint. Who wakes looks again, and sleeps on if it was for somebody else.
"""

import asyncio
from typing import TypeAlias

Sleepers: TypeAlias = list[asyncio.Future[None]]

NOBODY: Sleepers = []
"""Sleeps where hardly anybody ever does: of many such places, one for which somebody comes gets a
list of its own."""


async def sleep_among(sleepers: Sleepers, others: Sleepers | None = None) -> None:
    """Sleep until the next `wake_all` of these, or of the others. Nothing is left behind."""
    assert sleepers is not NOBODY, "whoever sleeps there makes a list of its own first"
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sleepers.append(sleeper)
    if others is not None:
        others.append(sleeper)
    try:
        await sleeper
    finally:
        if sleeper in sleepers:
            sleepers.remove(sleeper)
        if others is not None and sleeper in others:
            others.remove(sleeper)


def wake_all(sleepers: Sleepers) -> None:
    """Wake everybody, in the order in which they went to sleep."""
    if not sleepers:  # the usual case
        return
    woken = sleepers.copy()
    sleepers.clear()
    for sleeper in woken:
        if not sleeper.done():
            sleeper.set_result(None)

"""Work that misbehaves, for tests of what has to live with it."""

import asyncio
from contextlib import suppress


async def ignores_cancellation(seconds: float) -> None:
    """The body of a tool that works for `seconds` and swallows every cancellation meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        with suppress(asyncio.CancelledError):  # the fault itself
            await asyncio.sleep(end - loop.time())

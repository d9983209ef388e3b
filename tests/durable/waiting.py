"""Waiting for what other processes, other threads or a database do: none of them sets an event."""

import asyncio
from collections.abc import Callable

from tests.durable.limits import HANG


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG):
        while not happened():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)

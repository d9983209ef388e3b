"""Waiting for what another process has written: hints take a moment, and no test waits longer."""

import asyncio
from collections.abc import Callable

from sidetask.testing import VirtualClock, virtual_backend
from tests.limits import HANG


def backend_for(url: str, clock: VirtualClock) -> object:
    """A server's hints come in real time; those of a file when the clock says so."""
    return "asyncio" if url.startswith("postgres") else virtual_backend(clock)


async def until(check: Callable[[], object]) -> None:
    """Return as soon as it is true."""
    async with asyncio.timeout(HANG):
        while not check():  # noqa: ASYNC110 - nobody sets an event when a store has been read
            await asyncio.sleep(0.05)

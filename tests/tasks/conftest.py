"""The bench that the manager's tests stand at."""

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest

from sidetask.testing import VirtualClock
from tests.tasks.harness import LIMIT, Bench


@pytest.fixture
def bench(clock: VirtualClock) -> Bench:
    return Bench(clock)


@pytest.fixture(autouse=True)
def no_work_outlives_its_test(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("close_what_was_opened")


@pytest.fixture
async def close_what_was_opened() -> AsyncIterator[None]:
    """Not even abandoned work."""
    Bench.opened.clear()
    yield
    for bench in Bench.opened:
        await bench.handle.close(grace=0)
    if Bench.opened:
        await asyncio.sleep(LIMIT)

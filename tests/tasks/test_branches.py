"""Work side by side that ends with its block."""

import asyncio

import pytest

from sidetask.tasks.aio.branches import Branches
from sidetask.testing import VirtualClock, ignores_cancellation


async def sleeper(seconds: float, said: str = "done", log: list[str] | None = None) -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        if log is not None:
            log.append(said)
    return said


async def failing(seconds: float) -> str:
    await asyncio.sleep(seconds)
    raise ValueError("no luck")


async def test_ends_are_told_in_their_order_each_once() -> None:
    async with Branches[str]() as branches:
        for seconds in (3, 1, 2):
            branches.start(sleeper(seconds, str(seconds)), name="sleeper")
        assert len(branches) == 3
        ends = [(await branches.next_ended()).result() for _ in range(3)]
        assert len(branches) == 0
    assert ends == ["1", "2", "3"]


async def test_leaving_the_block_cancels_and_awaits_what_runs(clock: VirtualClock) -> None:
    async def cleaning() -> str:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(5)
        return ""

    branches = Branches[str]()

    async def block() -> None:
        async with branches:
            branches.start(cleaning(), name="cleaning")
            branches.start(failing(1), name="failing")
            (await branches.next_ended()).result()

    with pytest.raises(ValueError, match="no luck"):
        await block()
    assert (len(branches), clock.time()) == (0, 6)


async def test_a_branch_that_is_cancelled_before_it_began_holds_nobody() -> None:
    log: list[str] = []
    async with Branches[str]() as branches:
        branches.start(sleeper(1, log=log), name="never begun")
    assert (len(branches), log) == (0, [])


async def test_cancelling_the_caller_ends_the_branches_first() -> None:
    log: list[str] = []

    async def block() -> None:
        async with Branches[str]() as branches:
            branches.start(sleeper(100, "first", log), name="first")
            branches.start(sleeper(100, "second", log), name="second")
            await branches.next_ended()

    task = asyncio.create_task(block())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task})
    assert (task.cancelled(), log) == (True, ["first", "second"])


async def test_a_cancellation_while_branches_are_awaited_is_kept(clock: VirtualClock) -> None:
    async def stubborn() -> str:
        await ignores_cancellation(10)
        return "late"

    async def block() -> None:
        async with Branches[str]() as branches:
            branches.start(stubborn(), name="stubborn")
            await asyncio.sleep(1)
            raise ValueError("no luck")

    task = asyncio.create_task(block())
    await asyncio.sleep(2)
    task.cancel()
    await asyncio.sleep(2)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert (task.cancelled(), clock.time()) == (True, 10)


async def test_a_branch_that_failed_unheard_is_no_complaint_of_asyncio() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with Branches[str]() as branches:
        branches.start(failing(1), name="failing")
        await asyncio.sleep(2)
    del branches
    await asyncio.sleep(0)
    assert told == []

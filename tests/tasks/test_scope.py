"""A block that is cut: by a token, by silence, by a word; and never by mistake."""

import asyncio
from contextlib import suppress

import pytest

from sidetask.tasks.aio.scope import Cuttable
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.testing import VirtualClock


async def test_a_block_that_ends_by_itself_was_cut_by_nothing() -> None:
    async with Cuttable(CancelToken(), 1) as scope:
        await asyncio.sleep(0.5)
    assert scope.cut_by is None
    await asyncio.sleep(10)


async def test_a_cancelled_token_ends_the_block_and_what_follows_goes_on() -> None:
    token = CancelToken()
    asyncio.get_running_loop().call_later(1, token.cancel)
    async with Cuttable(token, None) as scope:
        await asyncio.sleep(1000)
    assert scope.cut_by == "token"
    await asyncio.sleep(1)


async def test_a_token_that_was_cancelled_before_ends_the_block_at_its_first_wait() -> None:
    token = CancelToken()
    token.cancel()
    passed: list[int] = []
    async with Cuttable(token, None) as scope:
        passed.append(1)
        await asyncio.sleep(0)
        passed.append(2)
    assert (scope.cut_by, passed) == ("token", [1])


async def test_silence_ends_the_block_and_every_touch_puts_it_off(clock: VirtualClock) -> None:
    async with Cuttable(CancelToken(), 10) as scope:
        for _ in range(5):
            await asyncio.sleep(9)
            scope.touch()
        await asyncio.sleep(1000)
    assert (scope.cut_by, clock.time()) == ("silence", 55)


async def test_the_first_reason_stands() -> None:
    async with Cuttable(CancelToken(), 1) as scope:
        scope.cut("this")
        scope.cut("that")
        await asyncio.sleep(1000)
    assert scope.cut_by == "this"
    scope.cut("later")
    assert scope.cut_by == "this"


async def test_a_cut_that_the_block_did_not_wait_for_is_not_felt_after_it() -> None:
    async with Cuttable(CancelToken(), None) as scope:
        scope.cut("this")
    await asyncio.sleep(1)
    task = asyncio.current_task()
    assert (scope.cut_by, task and task.cancelling()) == ("this", 0)


async def test_an_error_that_a_cut_becomes_passes_through() -> None:
    async def work() -> None:
        async with Cuttable(CancelToken(), 1):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                raise OSError("aborted") from None

    with pytest.raises(OSError, match="aborted"):
        await work()
    await asyncio.sleep(1)


async def test_a_cancellation_from_outside_passes_through() -> None:
    scopes: list[Cuttable] = []

    async def work() -> None:
        async with Cuttable(CancelToken(), None) as scope:
            scopes.append(scope)
            await asyncio.sleep(1000)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert scopes[0].cut_by is None


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_cancellation_from_outside_is_not_lost_beside_a_cut(swallowed: bool) -> None:
    scopes: list[Cuttable] = []

    async def work() -> None:
        async with Cuttable(CancelToken(), None) as scope:
            scopes.append(scope)
            with suppress(asyncio.CancelledError if swallowed else OSError):
                await asyncio.sleep(1000)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    scopes[0].cut("this")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancelled_error_that_nobody_asked_for_stays_inside() -> None:
    async with Cuttable(CancelToken(), None) as scope:
        raise asyncio.CancelledError
    assert scope.cut_by == "inside"


async def test_a_cancellation_on_its_way_does_not_enter_the_block() -> None:
    entered: list[Cuttable] = []

    async def work() -> None:
        own = asyncio.current_task()
        assert own is not None
        own.cancel()  # as a signal's handler does, in the middle of a step
        async with Cuttable(CancelToken(), None) as scope:
            entered.append(scope)

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    assert task.cancelled()
    assert entered == []


async def test_a_task_that_goes_on_after_a_cancellation_has_blocks_as_any_other() -> None:
    async def work() -> str | None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        async with Cuttable(CancelToken(), None) as scope:
            raise asyncio.CancelledError
        return scope.cut_by

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    assert await task == "inside"


async def test_a_million_touches_cost_no_timer_each() -> None:
    async with Cuttable(CancelToken(), 60) as scope:
        loop: object = asyncio.get_running_loop()
        before = len(getattr(loop, "_scheduled"))  # noqa: B009
        for _ in range(1000):
            scope.touch()
        assert len(getattr(loop, "_scheduled")) == before  # noqa: B009


async def test_blocks_with_a_patience_share_one_timer_however_many_they_are() -> None:
    loop: object = asyncio.get_running_loop()
    async with Cuttable(CancelToken(), 60):
        before = len(getattr(loop, "_scheduled"))  # noqa: B009
        for _ in range(1000):
            async with Cuttable(CancelToken(), 60):
                pass
        assert len(getattr(loop, "_scheduled")) == before  # noqa: B009


async def test_each_of_many_blocks_ends_at_the_end_of_its_own_patience(clock: VirtualClock) -> None:
    ends: list[tuple[int, float]] = []

    async def work(begin: int, patience: int, touched: int) -> None:
        await asyncio.sleep(begin)
        async with Cuttable(CancelToken(), patience) as scope:
            await asyncio.sleep(touched)
            scope.touch()
            await asyncio.sleep(1000)
        ends.append((patience, clock.time()))

    async with asyncio.TaskGroup() as group:
        for times in [(0, 60, 0), (1, 5, 0), (2, 60, 50), (3, 30, 20), (100, 60, 1)]:
            group.create_task(work(*times))
    assert ends == [(5, 6), (30, 53), (60, 60), (60, 112), (60, 161)]


def test_each_loop_has_a_timer_of_its_own() -> None:
    async def work() -> str | None:
        async with Cuttable(CancelToken(), 0.001) as scope:
            await asyncio.sleep(1000)
        return scope.cut_by

    assert [asyncio.run(work()), asyncio.run(work())] == ["silence", "silence"]

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from typing import TypeVar

import pytest

from sidetask.testing import ShuffledClock, ShuffledLoop, VirtualClock

T = TypeVar("T")

SEEDS = range(30)


def orders(scenario: Callable[[], Coroutine[object, object, list[T]]]) -> set[tuple[T, ...]]:
    """What came out under many seeds."""
    return {tuple(ShuffledClock(seed).run(scenario())) for seed in SEEDS}


async def tasks() -> list[int]:
    order: list[int] = []

    async def worker(number: int) -> None:
        order.append(number)
        await asyncio.sleep(0)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(worker(number))
    return order


# -- what is shuffled ----------------------------------------------------------------------


def test_a_seed_gives_the_same_order_again() -> None:
    assert ShuffledClock(7).run(tasks()) == ShuffledClock(7).run(tasks())


def test_tasks_take_their_steps_in_many_orders() -> None:
    found = orders(tasks)
    assert len(found) > len(SEEDS) / 2
    assert {order[0] for order in found} == set(range(5))


def test_a_task_never_has_two_steps_in_one_iteration() -> None:
    assert all(set(order[:5]) == set(order[5:]) == set(range(5)) for order in orders(tasks))


def test_timers_of_one_time_fire_in_any_order() -> None:
    async def timers() -> list[int]:
        order: list[int] = []
        for number in range(3):
            asyncio.get_running_loop().call_at(1, order.append, number)
        await asyncio.sleep(2)
        return order

    assert len(orders(timers)) > 3


def test_an_end_and_a_cancellation_of_one_moment_race() -> None:
    async def race() -> list[str]:
        worker = asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(1)
        worker.cancel()
        await asyncio.wait({worker})
        return ["cancelled" if worker.cancelled() else "ended"]

    assert orders(race) == {("cancelled",), ("ended",)}


# -- what keeps its order ------------------------------------------------------------------


def test_plain_callbacks_keep_their_order() -> None:
    async def callbacks() -> list[int]:
        order: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(order.append, number)
        await asyncio.sleep(1)
        return order

    assert orders(callbacks) == {tuple(range(20))}


def test_a_plain_callback_runs_before_a_step_that_was_ready_later() -> None:
    async def callbacks() -> list[str]:
        order: list[str] = []

        async def worker(name: str) -> None:
            order.append(f"{name} asks")
            asyncio.get_running_loop().call_soon(order.append, f"{name} is called")
            await asyncio.sleep(0)
            order.append(f"{name} goes on")

        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c"):
                group.create_task(worker(name))
        return order

    found = orders(callbacks)
    assert len(found) > 5
    for order in found:
        for name in ("a", "b", "c"):
            assert order.index(f"{name} is called") < order.index(f"{name} goes on")


def test_callbacks_of_a_future_and_its_waiters_keep_their_order() -> None:
    async def callbacks() -> list[str]:
        order: list[str] = []
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: order.append("before"))

        async def waiter() -> None:
            await future
            order.append("waiter")

        waiting = asyncio.create_task(waiter())
        await asyncio.sleep(1)
        future.add_done_callback(lambda _: order.append("after"))
        future.set_result(None)
        await waiting
        return order

    assert orders(callbacks) == {("before", "waiter", "after")}


def test_timers_of_different_times_keep_their_order_when_they_are_late() -> None:
    def late(clock: VirtualClock) -> list[int]:
        async def timers() -> list[int]:
            order: list[int] = []
            for number in (3, 1, 2, 4):
                asyncio.get_running_loop().call_at(number, order.append, number)
            clock.advance(10)
            await asyncio.sleep(1)
            return order

        return clock.run(timers())

    assert {tuple(late(ShuffledClock(seed))) for seed in SEEDS} == {(1, 2, 3, 4)}


def test_cancelled_callbacks_are_left_out() -> None:
    async def callbacks() -> list[int]:
        loop = asyncio.get_running_loop()
        order: list[int] = []
        handles = [loop.call_soon(order.append, number) for number in range(4)]
        handles += [loop.call_later(0, order.append, number) for number in range(4)]
        for handle in handles[::2]:
            handle.cancel()
        await asyncio.sleep(1)
        return sorted(order)

    assert orders(callbacks) == {(1, 1, 3, 3)}


def test_a_loop_tells_its_seed() -> None:
    loop = ShuffledClock(137).new_loop()
    assert isinstance(loop, ShuffledLoop)
    assert "seed=137" in repr(loop)
    loop.close()


# -- asyncio itself stands it --------------------------------------------------------------


async def through_a_queue() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    taken: list[int] = []

    async def produce(start: int) -> None:
        for number in range(start, start + 10):
            await queue.put(number)

    async def consume() -> None:
        while True:
            taken.append(await queue.get())
            queue.task_done()

    async with asyncio.TaskGroup() as group:
        consumers = [group.create_task(consume()) for _ in range(3)]
        async with asyncio.TaskGroup() as producers:
            for start in (0, 10, 20):
                producers.create_task(produce(start))
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
    return sorted(taken)


async def under_a_semaphore() -> list[int]:
    semaphore, inside, peak = asyncio.Semaphore(2), 0, 0

    async def enter(number: int) -> None:
        nonlocal inside, peak
        async with semaphore:
            inside += 1
            peak = max(peak, inside)
            try:
                await asyncio.sleep(number % 3)
            finally:
                inside -= 1

    async with asyncio.TaskGroup() as group:
        entering = [group.create_task(enter(number)) for number in range(12)]
        await asyncio.sleep(1)
        entering[5].cancel()
    return [inside, peak]


async def by_condition_and_barrier() -> list[int]:
    condition, barrier = asyncio.Condition(), asyncio.Barrier(4)
    passed: list[int] = []

    async def wait(number: int) -> None:
        async with condition:
            await condition.wait()
        await barrier.wait()
        passed.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(wait(number))
        await asyncio.sleep(1)
        async with condition:
            condition.notify_all()
    return sorted(passed)


async def a_group_that_fails() -> list[str]:
    ends: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(2)
        finally:
            ends.append("work")

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(fail())
            group.create_task(work())
    except* ValueError as errors:
        ends += ["failed"] * len(errors.exceptions)
    return ends


async def within_timeouts() -> list[str]:
    ends: list[str] = []
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(2, event.set)
    for seconds in (1, 3):
        try:
            async with asyncio.timeout(10), asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            ends.append("too late")
        else:
            ends.append("in time")
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 1)
    except TimeoutError:
        ends.append("too late")
    ends.append(await asyncio.wait_for(asyncio.shield(asyncio.sleep(1, "slept")), 2))
    return ends


async def over_a_socket() -> list[str]:
    ours, theirs = socket.socketpair()

    async def echo() -> None:
        reader, writer = await asyncio.open_connection(sock=theirs)
        while line := await reader.readline():
            writer.write(line)
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        group.create_task(echo())
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(b"one\ntwo\n")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer.decode().split()


@pytest.mark.parametrize(
    ("scenario", "end"),
    [
        (through_a_queue, tuple(range(30))),
        (under_a_semaphore, (0, 2)),
        (by_condition_and_barrier, (0, 1, 2, 3)),
        (a_group_that_fails, ("work", "work", "failed")),
        (within_timeouts, ("too late", "in time", "too late", "slept")),
        (over_a_socket, ("one", "two")),
    ],
)
def test_asyncios_own_parts_keep_their_promises(
    scenario: Callable[[], Coroutine[object, object, list[object]]], end: tuple[object, ...]
) -> None:
    assert orders(scenario) == {end}


def test_calls_from_threads_keep_their_order() -> None:
    async def calls() -> list[int]:
        loop, order = asyncio.get_running_loop(), list[int]()

        def count() -> None:
            for number in range(50):
                loop.call_soon_threadsafe(order.append, number)

        await asyncio.to_thread(count)
        return order

    assert orders(calls) == {tuple(range(50))}


def test_the_seed_alone_decides() -> None:
    random.seed(1)
    first = ShuffledClock(3).run(tasks())
    random.seed(2)
    assert ShuffledClock(3).run(tasks()) == first

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from sidetask.core.errors import TooManyTasksError
from sidetask.tasks.aio.threads import Threads, busy, shared
from sidetask.testing import VirtualClock
from tests.limits import HANG


class Gate:
    """A synchronous tool that starts, tells the loop so, and ends when it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def enter(self) -> str:
        self.thread = threading.current_thread()
        self._loop.call_soon_threadsafe(self.started.set)
        assert self._open.wait(HANG)
        return "through"

    def let_go(self) -> None:
        self._open.set()

    def join(self) -> None:
        self.let_go()
        assert self.thread is not None
        self.thread.join(HANG)
        assert not self.thread.is_alive()


@pytest.fixture
def pool() -> Threads:
    """One thread that leaves as soon as it has nothing to do."""
    return Threads(1, idle=0)


@pytest.fixture
async def gate() -> "Gate":
    return Gate()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_call_runs_in_a_daemon_thread_and_its_result_comes_back(pool: Threads) -> None:
    def add(a: int, b: int) -> tuple[int, bool, bool]:
        thread = threading.current_thread()
        return a + b, thread is threading.main_thread(), thread.daemon

    assert await pool.run(add, 1, 2) == (3, False, True)


async def test_an_error_comes_back_to_the_caller(pool: Threads) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await pool.run(fail)


async def test_a_stop_iteration_comes_back_as_a_runtime_error(pool: Threads) -> None:
    nothing: Iterator[int] = iter(())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await pool.run(next, nothing)


async def test_the_callers_context_variables_are_seen_and_not_changed(pool: Threads) -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("caller")

    def look() -> str:
        seen = who.get()
        who.set("thread")
        return seen

    assert await pool.run(look) == "caller"
    assert who.get() == "caller"


async def test_a_cancelled_caller_waits_for_its_thread_and_is_then_cancelled(
    pool: Threads, gate: Gate
) -> None:
    caller = asyncio.create_task(pool.run(gate.enter))
    await gate.started.wait()
    for _ in range(2):  # the second cancel changes nothing
        caller.cancel()
        await settle()
        assert not caller.done()
    gate.let_go()
    await asyncio.wait({caller})
    assert caller.cancelled()


async def test_an_error_of_a_thread_whose_caller_was_cancelled_is_the_cause(
    pool: Threads, gate: Gate
) -> None:
    def fail() -> None:
        gate.enter()
        raise ValueError("late")

    caller = asyncio.create_task(pool.run(fail))
    await gate.started.wait()
    caller.cancel()
    await settle()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError) as caught:
        await caller
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_timeout_around_a_call_is_told_when_the_thread_is_done(
    pool: Threads, gate: Gate, clock: VirtualClock
) -> None:
    async def caller() -> None:
        async with asyncio.timeout(1):
            await pool.run(gate.enter)

    calling = asyncio.create_task(caller())
    await gate.started.wait()
    clock.advance(1)
    await settle()
    assert not calling.done()
    gate.let_go()
    with pytest.raises(TimeoutError):
        await calling


async def test_a_call_cancelled_in_the_queue_is_never_made_and_ends_at_once(
    pool: Threads, gate: Gate
) -> None:
    made: list[int] = []
    first = asyncio.create_task(pool.run(gate.enter))
    await gate.started.wait()
    second = asyncio.create_task(pool.run(made.append, 2))
    await settle()
    second.cancel()
    await asyncio.wait({second})
    assert second.cancelled()
    gate.let_go()
    assert await first == "through"
    await pool.run(made.append, 3)
    assert made == [3]


async def test_a_call_past_the_backlog_is_refused_and_a_place_is_free_again_later() -> None:
    gate, pool = Gate(), Threads(1, backlog=1, idle=0)
    callers = [asyncio.create_task(pool.run(gate.enter)) for _ in range(2)]
    await gate.started.wait()
    with pytest.raises(TooManyTasksError, match="limit is 1"):
        await pool.run(print)
    gate.let_go()
    await asyncio.wait(callers)
    for _ in range(100):
        await pool.run(int)


async def test_no_more_threads_are_started_than_the_size_says() -> None:
    pool, lock = Threads(3), threading.Lock()
    working = peak = 0

    def work() -> None:
        nonlocal working, peak
        with lock:
            working += 1
            peak = max(peak, working)
        with lock:
            working -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(pool.run(work))
    assert 1 <= peak <= 3


async def test_all_threads_work_at_once_and_leave_when_idle() -> None:
    pool, barrier = Threads(4, idle=0), threading.Barrier(4, timeout=HANG)

    def meet() -> threading.Thread:
        barrier.wait()
        return threading.current_thread()

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(pool.run(meet)) for _ in range(4)]
    threads = {call.result() for call in calls}
    assert len(threads) == 4
    for thread in threads:
        thread.join(HANG)
        assert not thread.is_alive()


async def test_busy_counts_calls_until_their_loop_is_told(pool: Threads, gate: Gate) -> None:
    loop = asyncio.get_running_loop()
    assert busy(loop) == 0
    running = asyncio.create_task(pool.run(gate.enter))
    queued = asyncio.create_task(pool.run(int))
    await gate.started.wait()
    assert busy(loop) == 2
    queued.cancel()
    await asyncio.wait({queued})
    assert busy(loop) == 1
    gate.join()  # the thread is done, and this loop has not looked yet
    assert busy(loop) == 1
    assert await running == "through"
    assert busy(loop) == 0


async def test_a_cancelled_call_can_be_abandoned(pool: Threads, gate: Gate) -> None:
    caller = asyncio.create_task(pool.run(gate.enter))
    await gate.started.wait()
    assert not pool.abandon(caller)  # it is not cancelled
    caller.cancel()
    await settle()
    assert pool.abandon(caller)
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert not pool.abandon(caller)
    assert busy(asyncio.get_running_loop()) == 0
    gate.let_go()
    assert await pool.run(int) == 0  # the late end of the thread did no harm


def test_a_thread_that_ends_after_its_loop_is_dropped_quietly(pool: Threads) -> None:
    async def main() -> Gate:
        gate = Gate()
        caller = asyncio.create_task(pool.run(gate.enter))
        await gate.started.wait()
        caller.cancel()
        await settle()
        pool.abandon(caller)
        return gate

    gate = VirtualClock().run(main())
    gate.join()
    assert VirtualClock().run(pool.run(int)) == 0


def test_a_queued_call_whose_loop_is_closed_is_never_made(pool: Threads) -> None:
    made: list[int] = []

    async def main() -> Gate:
        gate = Gate()
        tasks.append(asyncio.create_task(pool.run(gate.enter)))
        tasks.append(asyncio.create_task(pool.run(made.append, 1)))
        await gate.started.wait()
        return gate

    tasks: list[asyncio.Task[str] | asyncio.Task[None]] = []
    loop = VirtualClock().new_loop()
    loop.set_exception_handler(lambda _, __: None)  # asyncio misses the end of the two tasks
    gate = loop.run_until_complete(main())
    loop.close()
    gate.let_go()
    assert VirtualClock().run(pool.run(int)) == 0
    assert made == []


def test_the_shared_pool_is_one() -> None:
    assert shared() is shared()

import asyncio
import os
import signal
import socket
import threading

import pytest
from tests.limits import HANG

from sidetask.tasks.aio.threads import shared
from sidetask.testing import DeadlockError, VirtualClock, VirtualLoop, ignores_cancellation
from sidetask.testing.clock import EPOCH

HOUR = 3600.0
IMPATIENT = 0.01
"""Real seconds."""


async def test_a_sleep_takes_no_time_and_moves_the_clock(clock: VirtualClock) -> None:
    await asyncio.sleep(HOUR)
    assert clock.time() == asyncio.get_running_loop().time() == HOUR
    assert clock.now() == EPOCH + HOUR


async def test_timers_fire_in_their_order_each_at_its_time(clock: VirtualClock) -> None:
    fired: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        assert clock.time() == seconds
        fired.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3.3, 0.1, 1e6, 2.2):
            group.create_task(sleeper(seconds))
    assert fired == [0.1, 2.2, 3.3, 1e6]


def test_a_clock_goes_on_from_one_loop_to_the_next() -> None:
    clock = VirtualClock()
    clock.run(asyncio.sleep(1))
    clock.run(asyncio.sleep(1))
    assert clock.time() == 2


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="-1"):
        VirtualClock().advance(-1)


# -- threads -------------------------------------------------------------------------------


async def test_a_tool_in_a_thread_takes_no_virtual_time(clock: VirtualClock) -> None:
    async with asyncio.timeout(1e-6):
        for _ in range(20):
            await shared().run(sum, range(1000))
    assert clock.time() == 0


async def test_the_loops_own_executor_takes_no_virtual_time(clock: VirtualClock) -> None:
    async with asyncio.timeout(1e-6):
        for _ in range(20):
            await asyncio.to_thread(sum, range(1000))
    assert clock.time() == 0


def test_the_clock_stands_still_for_a_busy_thread_and_says_so_when_it_never_ends() -> None:
    clock, release = VirtualClock(patience=IMPATIENT), threading.Event()

    async def main() -> None:
        working = asyncio.create_task(shared().run(release.wait))
        try:
            await asyncio.sleep(1)
        finally:
            clock.patience = HANG  # only the first wait is too long
            release.set()
            await asyncio.wait({working})

    with pytest.raises(DeadlockError, match=r"busy for 0\.01 real seconds"):
        clock.run(main())
    assert clock.time() == 0


async def test_advance_moves_the_time_while_a_thread_is_busy(clock: VirtualClock) -> None:
    release = threading.Event()
    working = asyncio.create_task(shared().run(release.wait))
    sleeping = asyncio.create_task(asyncio.sleep(5))
    await asyncio.sleep(0)
    clock.advance(5)
    await sleeping
    assert not working.done()
    release.set()
    await working
    assert clock.time() == 5


# -- sockets and signals -------------------------------------------------------------------


async def test_what_is_under_way_on_a_socket_arrives_before_a_timer(clock: VirtualClock) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        async with asyncio.timeout(1):
            received = asyncio.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            theirs.send(b"hello")
            assert await received == b"hello"
    assert clock.time() == 0


async def test_a_silent_socket_does_not_stop_the_clock(clock: VirtualClock) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HOUR):
                await loop.sock_recv(ours, 10)
    assert clock.time() == HOUR


def test_a_silent_socket_and_no_timer_is_a_deadlock_in_the_end() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            await asyncio.get_running_loop().sock_recv(ours, 10)

    with pytest.raises(DeadlockError, match="nothing came on the open sockets"):
        VirtualClock(patience=IMPATIENT).run(main())


async def test_a_signal_wakes_the_loop() -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await heard.wait()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


# -- deadlocks -----------------------------------------------------------------------------


def test_a_deadlock_is_an_error_that_says_where_each_task_waits() -> None:
    async def forgotten() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(forgotten(), name="the forgotten one")

    with pytest.raises(DeadlockError, match="nothing can wake this program") as caught:
        VirtualClock().run(main())
    assert len(caught.value.waiting) == 2
    [line] = [line for line in caught.value.waiting if line.startswith("the forgotten one")]
    assert "forgotten (test_clock.py:" in line
    assert "Event.wait (locks.py:" in line
    assert line in str(caught.value)


def test_a_program_may_clean_up_after_a_deadlock() -> None:
    cleaned: list[bool] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            cleaned.append(True)

    with pytest.raises(DeadlockError):
        VirtualClock().run(main())
    assert cleaned == [True]


def test_the_loop_holds_while_it_waits_for_a_thread_only() -> None:
    async def main() -> tuple[bool, bool, bool]:
        loop, release = asyncio.get_running_loop(), threading.Event()
        assert isinstance(loop, VirtualLoop)
        before = loop.is_held()
        working = loop.run_in_executor(None, release.wait)
        during = loop.is_held()
        release.set()
        await working
        return before, during, loop.is_held()

    assert VirtualClock().run(main()) == (False, True, False)


# -- faults --------------------------------------------------------------------------------


async def test_a_body_that_ignores_cancellation_works_to_its_end(clock: VirtualClock) -> None:
    stubborn = asyncio.create_task(ignores_cancellation(10))
    for _ in range(5):
        await asyncio.sleep(1)
        stubborn.cancel()
    await stubborn
    assert clock.time() == 10


def test_timers_fire_after_years_too() -> None:
    clock = VirtualClock()

    async def main() -> float:
        await asyncio.sleep(40 * 365 * 86_400)
        for _ in range(100):
            await asyncio.sleep(1.1)
        return clock.time()

    assert clock.run(main()) == pytest.approx(40 * 365 * 86_400 + 110, abs=0.001)

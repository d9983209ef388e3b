"""A clock that tests need not wait for: an event loop that jumps to its next timer.

The loop is asyncio's own, with another `time()` and another `select()`. When nothing is left
to do now, then in this order:

1. A thread of our pool or of the loop's executor still works: wait for it, in real time. The
   clock stands still meanwhile, so a tool in a thread takes no time, however slow the machine.
2. A socket is open: give what is under way on it a few real milliseconds to arrive.
3. A timer is set: jump to it.
4. Else nothing can ever wake the program: raise `DeadlockError` instead of hanging.

Threads that are neither the pool's nor the executor's, and subprocesses, are not waited for.
"""

import asyncio
import math
import selectors
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from pathlib import PurePath
from types import CoroutineType
from typing import TypeVar, TypeVarTuple

from sidetask.core.errors import SidetaskError
from sidetask.tasks.aio.threads import busy

EPOCH = 1_767_225_600.0
"""2026-01-01T00:00:00Z, when every virtual clock starts. Seconds."""
IO_GRACE = 0.005
"""How long sockets are listened to before a jump. Real seconds; loopback needs far less."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DeadlockError(SidetaskError):
    """The program under test waits, and nothing can wake it."""

    def __init__(self, why: str, waiting: tuple[str, ...]) -> None:
        super().__init__(why, waiting)
        self.why = why
        self.waiting = waiting
        """One line for each asyncio task: its name, and where it waits."""

    def __str__(self) -> str:
        return "\n  ".join([self.why, *self.waiting])


class VirtualClock:
    """Time that moves only when all work is done, and then by a jump.

    Fits wherever a `Clock` is asked for; `new_loop` makes the event loops that go with it.
    """

    def __init__(self, *, patience: float = 10.0) -> None:
        self._elapsed = 0.0
        self.patience = patience
        """Real seconds to wait for a thread or a socket before it counts as a deadlock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self._elapsed

    def time(self) -> float:
        """Seconds since this clock was made: what its loops' `time()` gives."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move the time now, even while threads run; timers that fall due fire next.

        For what happens *while* a thread is busy, as the clock would else stand still.
        Call it in the loop's thread.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._elapsed += seconds

    def new_loop(self) -> AbstractEventLoop:
        """An event loop on this clock: the `loop_factory` of `asyncio.Runner`."""
        return VirtualLoop(self)

    def run(self, main: Coroutine[object, object, T]) -> T:
        """Like `asyncio.run`, without waiting.

        Raises:
            DeadlockError: Nothing could wake the program any more.
        """
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self._in_executor = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.clock.time()

    def coarsen(self) -> None:
        """Keep the clock's resolution above what its floats can tell apart. After 97 days that is
        more than asyncio's own nanosecond, and a timer that is due would never fire."""
        self._clock_resolution = max(self._clock_resolution, 2 * math.ulp(self.time()))

    def is_held(self) -> bool:
        """True while a thread is at work whose end this loop will be told."""
        return busy(self) > 0 or self._in_executor > 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._in_executor += 1
        future.add_done_callback(self._left_executor)
        return future

    def _left_executor(self, _: asyncio.Future[T]) -> None:
        self._in_executor -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # Joins the threads in a thread of its own. From 3.12 on it has a timeout, which would
        # be over at once on this clock; `patience` stands for it.
        self._in_executor += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._in_executor -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would wait, the clock jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """`timeout` is virtual seconds to the next timer: 0 to only look, None without one."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        clock = self._loop.clock
        if self._loop.is_held():
            # Their ends come through the loop's own pipe: no need to look in between.
            return super().select(clock.patience) or self._give_up(
                f"a thread has been busy for {clock.patience:g} real seconds, and the clock "
                "stands still for it; if it waits for time to pass, use VirtualClock.advance()"
            )
        has_sockets = len(self.get_map()) > 1  # one is the pipe that wakes the loop
        if timeout is None:
            if not has_sockets:
                self._give_up("nothing can wake this program: no timer, no thread, no socket")
            return super().select(clock.patience) or self._give_up(
                f"nothing came on the open sockets for {clock.patience:g} real seconds, "
                "and there is no timer"
            )
        ready = super().select(IO_GRACE) if has_sockets else []
        if not ready:
            clock.advance(timeout)
            self._loop.coarsen()
        return ready

    def _give_up(self, why: str) -> list[tuple[selectors.SelectorKey, int]]:
        tasks = sorted(asyncio.all_tasks(self._loop), key=lambda task: task.get_name())
        raise DeadlockError(why, tuple([f"{task.get_name()}: {_place(task)}" for task in tasks]))


def _place(task: asyncio.Task[object]) -> str:
    """Where a task waits: its chain of coroutines, as far as they can be seen from outside."""
    places: list[str] = []
    inner: object = task.get_coro()
    while isinstance(inner, CoroutineType) and (frame := inner.cr_frame) is not None:
        file = PurePath(frame.f_code.co_filename).name
        places.append(f"{inner.__qualname__} ({file}:{frame.f_lineno})")
        inner = inner.cr_await
    return " > ".join(places)


def virtual_backend(
    clock: VirtualClock | None = None,
) -> tuple[str, dict[str, Callable[[], AbstractEventLoop]]]:
    """What a fixture named `anyio_backend` returns to run async tests on a virtual clock."""
    return "asyncio", {"loop_factory": (clock or VirtualClock()).new_loop}

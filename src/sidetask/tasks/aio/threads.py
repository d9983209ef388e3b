"""Threads for synchronous tools: daemons of our own, with a way back to the caller's loop.

* Threads are started when there is work for them, at most `size`; an idle one leaves.
* The queue has a size and rejects what is past it. A job in it costs nothing but memory: its
  caller awaits it, and the caps on tasks bound the callers long before.
* A thread cannot be killed. A caller that is cancelled meanwhile waits until its thread is done,
  and only then lets the cancellation go on; who wants to go sooner says so with `abandon`.
* One pool may serve many loops. What concerns a loop is changed in that loop's thread alone.

Not `concurrent.futures.ThreadPoolExecutor`: its threads are joined when the process exits, so
one stuck tool would keep a finished program alive.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeVar, TypeVarTuple, cast
from weakref import WeakKeyDictionary

from sidetask.core.errors import TooManyTasksError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

_busy: WeakKeyDictionary[AbstractEventLoop, int] = WeakKeyDictionary()


def busy(loop: AbstractEventLoop) -> int:
    """How many jobs of this loop are queued, running, or done and not yet told to it.

    Zero means: no thread of ours will ever wake this loop. The virtual clock asks.
    """
    return _busy.get(loop, 0)


class _Job(Generic[T_co]):
    """A call on its way to a thread and back."""

    __slots__ = ("_call", "_value", "ended", "error", "loop")

    def __init__(self, loop: AbstractEventLoop, call: Callable[[], T_co]) -> None:
        self._call: Callable[[], T_co] | None = call
        self._value: T_co | None = None
        self.error: BaseException | None = None
        self.loop = loop
        self.ended: asyncio.Future[None] = loop.create_future()
        _busy[loop] = busy(loop) + 1

    @property
    def value(self) -> T_co:
        return cast(T_co, self._value)

    def carry_out(self) -> None:
        """Make the call. In the thread."""
        call, self._call = self._call, None  # its arguments live no longer than the call
        if call is not None and not self.loop.is_closed():
            self._value, self.error = _outcome(call)

    def report(self) -> None:
        """Tell the loop that the call is over. In the thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Let the caller go on. In the loop."""
        if not self.ended.done():  # else it was let go before
            self.ended.set_result(None)
            _busy[self.loop] = busy(self.loop) - 1


def _outcome(call: Callable[[], T]) -> tuple[T, None] | tuple[None, BaseException]:
    # A function and not a method: the error's traceback keeps this frame, and so must not keep
    # the job that keeps the error.
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - the one boundary: its caller will raise it
        return None, error


class Threads:
    """A pool of daemon threads."""

    def __init__(self, size: int = 32, *, backlog: int = 10_000, idle: float = 10.0) -> None:
        self._size = size
        self._backlog = backlog
        """How many jobs may wait for a thread."""
        self._idle = idle
        """Seconds after which a thread without work leaves."""
        self._changed = threading.Condition()
        # All below is guarded by it, but for `_cancelled`, where each loop has its own keys.
        self._queue: OrderedDict[_Job[object], None] = OrderedDict()
        self._open = 0
        """Jobs queued or running. There is a thread for each, as far as `size` allows."""
        self._started = 0
        self._cancelled: dict[asyncio.Task[object], _Job[object]] = {}
        """Who waits for a thread though they are cancelled."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call `fn(*args)` in a thread, with the caller's context variables.

        Cancelled while the call waits for a thread, it is never made. Cancelled while the
        thread runs, this waits for the thread's end, and then raises the cancellation.

        Raises:
            TooManyTasksError: The queue is full; the call is not made.
        """
        context = copy_context()
        job = self._put(asyncio.get_running_loop(), lambda: context.run(fn, *args))
        try:
            await asyncio.wait({job.ended})  # unlike `await job.ended`, hands no cancel on
        except asyncio.CancelledError as cancelled:
            if not self._withdraw(job):
                await self._outlast(job)
            raise cancelled from job.error
        try:
            if job.error is not None:
                raise job.error  # a StopIteration becomes a RuntimeError here, says PEP 479
            return job.value
        finally:
            del job  # else the error would keep, through its traceback, itself

    def abandon(self, task: asyncio.Task[object]) -> bool:
        """Let a cancelled `run` in this asyncio task end though its thread still runs.

        For the end of a loop, which would else wait for a thread that may never be done.
        False: the task does not wait for a thread, or is not cancelled.
        """
        job = self._cancelled.get(task)
        if job is None:
            return False
        job.end()
        return True

    async def _outlast(self, job: _Job[object]) -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancelled[task] = job
        try:
            while not job.ended.done():
                with suppress(asyncio.CancelledError):  # the first one is noted, and raised later
                    await asyncio.wait({job.ended})
        finally:
            del self._cancelled[task]

    def _put(self, loop: AbstractEventLoop, call: Callable[[], T]) -> _Job[T]:
        with self._changed:
            if self._open >= self._size + self._backlog:
                raise TooManyTasksError("calls that wait for a thread", self._backlog)
            if self._started < min(self._size, self._open + 1):
                # First, as it may fail: then nothing has changed.
                threading.Thread(target=self._work, name="sidetask-tool", daemon=True).start()
                self._started += 1
            job = _Job(loop, call)
            self._queue[job] = None
            self._open += 1
            self._changed.notify()
        return job

    def _withdraw(self, job: _Job[object]) -> bool:
        """Take a job back that no thread has begun."""
        with self._changed:
            if job not in self._queue:
                return False
            del self._queue[job]
            self._open -= 1
        job.end()
        return True

    # -- in the threads ----------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job.carry_out()
            with self._changed:
                self._open -= 1  # before its caller knows, who may come with the next job
            job.report()
            del job  # an idle thread keeps nothing alive

    def _take(self) -> _Job[object] | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue, self._idle):
                self._started -= 1
                return None
            return self._queue.popitem(last=False)[0]


_SHARED = Threads()


def shared() -> Threads:
    """The pool of the process. It has no thread before its first job."""
    return _SHARED

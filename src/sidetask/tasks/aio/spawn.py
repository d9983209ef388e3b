"""Asyncio's sharp edges, in one place: tasks of our own, and cleanup that runs to its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)

_owned: set[asyncio.Task[Any]] = set()  # asyncio itself holds tasks only weakly


def spawn(
    work: Coroutine[Any, Any, T],
    *,
    name: str,
    done: Callable[[asyncio.Task[T]], None] | None = None,
) -> asyncio.Task[T]:
    """Start work that its caller owns: keep the task, and cancel or await it. `done` is called
    when it has ended, even before its first step."""
    context = copy_context()  # one for both: each would make a copy of its own
    task = asyncio.get_running_loop().create_task(work, name=name, context=context)
    _owned.add(task)
    task.add_done_callback(
        _owned.discard if done is None else partial(_over, done), context=context
    )
    return task


def _over(done: Callable[[asyncio.Task[T]], None], task: asyncio.Task[T]) -> None:
    _owned.discard(task)
    done(task)


def current_task() -> asyncio.Task[Any]:
    """The asyncio task that runs."""
    task = asyncio.current_task()
    assert task is not None, "not called from a coroutine"
    return task


async def wait_done(task: asyncio.Task[Any], *, within: float | None = None) -> bool:
    """Wait until a task has ended, however it ends; False if `within` seconds were not enough.

    Unlike `await task`, hands no cancellation of the caller on, and eats none.
    """
    done, _ = await asyncio.wait({task}, timeout=within)
    return bool(done)


async def run_to_end(work: Coroutine[Any, Any, T], *, within: float) -> T:
    """Run cleanup to its end even when the caller is cancelled.

    A cancellation that arrives meanwhile is kept, and raised afterwards.

    Raises:
        TimeoutError: The work took longer than `within` seconds.
    """
    task = spawn(_bounded(work, within), name="cleanup")
    kept: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as cancelled:
            kept = cancelled
    work.close()  # it may have been cancelled before its first step: nobody forgot to await it
    if kept is not None:
        raise kept from (None if task.cancelled() else task.exception())
    return task.result()


async def _bounded(work: Coroutine[Any, Any, T], within: float) -> T:
    async with asyncio.timeout(within):
        return await work


async def hosted(work: Awaitable[T]) -> T:
    """Await a host's code. What was cancelled inside it is a fault of its, and not the end of the
    asyncio task that it runs in.

    Raises:
        RuntimeError: Something that it awaited was cancelled, though nobody cancelled this task.
    """
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("something that it awaited was cancelled") from None


async def stop(tasks: Iterable[asyncio.Task[Any]], *, within: float) -> None:
    """Cancel tasks, and wait until they have ended; what does not end `within` seconds is left."""
    stopping = set(tasks)
    for task in stopping:
        task.cancel()
    if stopping:
        _, left = await asyncio.wait(stopping, timeout=within)
        for task in left:
            _log.warning("%s did not stop within %g s, and is left alone", task.get_name(), within)

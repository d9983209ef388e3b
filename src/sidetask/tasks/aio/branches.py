"""Work side by side that belongs to one block: when the block is left, all of it has ended.

What `asyncio.TaskGroup` promises, without its `ExceptionGroup`, and with the choice left to the
block: it hears of each end, and decides what a failure means for the others.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.spawn import spawn

T = TypeVar("T")


class Branches(Generic[T]):
    """Starts work inside an `async with`. Leaving it, however, cancels what still runs and waits
    for its end, even while the caller is being cancelled itself.

    A branch that ignores its cancellation holds the block: what is abandoned is told as such
    one floor up, where there is a grace.
    """

    __slots__ = ("_ended", "_running", "_sleepers")

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[T], None] = {}  # in order, unlike a set
        self._ended: deque[asyncio.Task[T]] = deque()
        self._sleepers: Sleepers = []

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Begin a branch; `next_ended` tells its end."""
        task = spawn(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._on_end)
        return task

    async def next_ended(self) -> asyncio.Task[T]:
        """A branch that has ended, in the order of their ends, each once."""
        while not self._ended:
            await sleep_among(self._sleepers)
        return self._ended.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        late: asyncio.CancelledError | None = None
        while self._running:
            try:
                await sleep_among(self._sleepers)
            except asyncio.CancelledError as cancelled:
                late = cancelled
        if late is not None:
            raise late

    def _on_end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # has been looked at: asyncio need not complain that nobody did
        del self._running[task]
        self._ended.append(task)
        wake_all(self._sleepers)

"""The synchronous face: the same agent, for scripts and notebooks.

The agent runs on an event loop in a thread of its own, so its background goes on while the
script, or a notebook between two cells, does something else.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Literal, TypeVar

from sidetask.core.ids import ConversationId
from sidetask.core.messages import Content, Message
from sidetask.core.usage import Usage
from sidetask.runtime.handle import AgentHandle, OnBusy
from sidetask.runtime.response import Reply
from sidetask.tasks.handle import CancelResult
from sidetask.tasks.values import Approval, Idle, TaskSnapshot

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a daemon thread."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="sidetask-loop", daemon=True)
        self._thread.start()
        self._ready.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it. Ctrl-C cancels it."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # the one boundary: whatever ends the wait ends the work
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()


class SyncHandle:
    """A live agent for synchronous code. Use it from one thread at a time."""

    def __init__(
        self, thread: LoopThread, handle: AgentHandle, end: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._thread = thread
        self._handle = handle
        self._end = end

    @classmethod
    def start(
        cls,
        begin: Callable[[], Coroutine[Any, Any, AgentHandle]],
        end: Callable[[], Coroutine[Any, Any, None]],
    ) -> "SyncHandle":
        """Open an agent on a new loop thread."""
        thread = LoopThread()
        try:
            return cls(thread, thread.run(begin()), end)
        except BaseException:  # the one boundary: no agent, no thread
            thread.close()
            raise

    def ask(self, content: Content, *, on_busy: OnBusy = "queue") -> Reply:
        """Say something and wait for the whole answer. See `AgentHandle.ask`."""
        return self._thread.run(self._handle.ask(content, on_busy=on_busy))

    def stream(self, content: Content) -> Iterator[str]:
        """Say something and iterate the pieces of the answer's text."""
        response = self._thread.run(self._handle.chat(content))
        pieces = response.text_stream()

        async def following() -> str | None:
            return await anext(pieces, None)

        while (piece := self._thread.run(following())) is not None:
            yield piece

    def send(self, content: Content) -> None:
        """Say something without waiting for an answer."""
        self._thread.run(self._handle.send(content))

    def interrupt(self, scope: Literal["turn", "all"] = "turn") -> None:
        """A user's Stop. See `AgentHandle.interrupt`."""
        self._thread.run(self._handle.interrupt(scope))

    def wait_for_idle(self, timeout: float | None = None) -> Idle:
        """Wait until nothing runs. See `AgentHandle.wait_for_idle`."""
        return self._thread.run(self._handle.wait_for_idle(timeout))

    def tasks(self) -> Sequence[TaskSnapshot]:
        """The conversation's tasks."""

        async def listed() -> Sequence[TaskSnapshot]:
            return tuple(self._handle.tasks)

        return self._thread.run(listed())

    def cancel_task(self, task_id: str) -> CancelResult:
        """Stop a task and wait until it has."""
        return self._thread.run(self._handle.tasks.cancel(task_id))

    def approvals(self) -> Sequence[Approval]:
        """The approvals that wait for a decision."""

        async def listed() -> Sequence[Approval]:
            return tuple(self._handle.approvals)

        return self._thread.run(listed())

    def approve(self, approval_id: str, *, by: str, note: str | None = None) -> Approval:
        """Say yes."""

        async def decided() -> Approval:
            return self._handle.approvals.approve(approval_id, by=by, note=note)

        return self._thread.run(decided())

    def deny(self, approval_id: str, reason: str | None = None, *, by: str) -> Approval:
        """Say no."""

        async def decided() -> Approval:
            return self._handle.approvals.deny(approval_id, reason, by=by)

        return self._thread.run(decided())

    def history(self) -> Sequence[Message]:
        """All messages so far."""
        return self._handle.history()

    @property
    def conversation_id(self) -> ConversationId:
        return self._handle.conversation_id

    @property
    def total_usage(self) -> Usage:
        return self._handle.total_usage

    def shutdown(self) -> None:
        """End the agent and its thread."""
        try:
            self._thread.run(self._end())
        finally:
            self._thread.close()

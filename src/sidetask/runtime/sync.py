"""The synchronous face: the same agent, for scripts and notebooks.

The agent runs on an event loop in a thread of its own, so its background goes on while the
script, or a notebook between two cells, does something else.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Literal, TypeVar

from sidetask.core.errors import AgentNotStartedError
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Content, Message
from sidetask.core.usage import Usage
from sidetask.runtime.handle import AgentHandle, OnBusy
from sidetask.runtime.response import ChatResponse, Reply
from sidetask.tasks.handle import CancelResult
from sidetask.tasks.values import Approval, Idle, TaskSnapshot

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a daemon thread."""

    def __init__(self) -> None:
        # With a factory, or it would become the event loop of the thread that made it.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="sidetask-loop", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it. Ctrl-C cancels it.

        Raises:
            AgentNotStartedError: The thread was closed.
        """
        if self.closed:
            work.close()
            raise AgentNotStartedError
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # the one boundary: whatever ends the wait ends the work
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and wait for its thread. Twice is fine."""
        if not self.closed:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        with self._runner:
            self._loop.run_forever()


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
        """Say something and iterate the pieces of the answer's text. Ctrl-C ends the turn; to
        stop iterating leaves it to itself."""
        response = self._thread.run(self._handle.chat(content))
        pieces = response.text_stream()

        async def following() -> str | None:
            try:
                return await anext(pieces, None)
            except asyncio.CancelledError:
                await self._handle.cancel()
                raise

        while (piece := self._thread.run(following())) is not None:
            yield piece

    def turns(
        self, *, after: str | None = None, until: Literal["idle"] | None = None
    ) -> Iterator[ChatResponse]:
        """The turns of `AgentHandle.turns`, each when it has ended: its `cause`, `text`, `status`
        and `error` are there to be read."""

        async def listening() -> AsyncIterator[ChatResponse]:
            return self._handle.turns(after=after, until=until)

        turns = self._thread.run(listening())

        async def following() -> ChatResponse | None:
            turn = await anext(turns, None)
            while turn is not None and turn.end is None:
                await turn.more()
            return turn

        while (turn := self._thread.run(following())) is not None:
            yield turn

    def send(self, content: Content) -> None:
        """Say something without waiting for an answer."""
        self._thread.run(self._handle.send(content))

    def interrupt(self, scope: Literal["turn", "all"] = "turn") -> None:
        """A user's Stop. See `AgentHandle.interrupt`."""
        self._thread.run(self._handle.interrupt(scope))

    def cancel(self) -> None:
        """End the running turn. See `AgentHandle.cancel`."""
        self._thread.run(self._handle.cancel())

    def wait_for_idle(self, timeout: float | None = None) -> Idle:
        """Wait until nothing runs. See `AgentHandle.wait_for_idle`."""
        return self._thread.run(self._handle.wait_for_idle(timeout))

    def wait_for_wakeup(self, timeout: float | None = None) -> bool:
        """Wait until there is a reason to go on. See `AgentHandle.wait_for_wakeup`."""
        return self._thread.run(self._handle.wait_for_wakeup(timeout))

    def clear_history(self) -> None:
        """Forget all messages. See `AgentHandle.clear_history`."""
        self._thread.run(self._handle.clear_history())

    def disconnect(self) -> None:
        """End, and keep the conversation. See `AgentHandle.disconnect`."""
        self._thread.run(self._handle.disconnect())
        self.shutdown()

    def delete(self) -> None:
        """End, and delete the conversation. See `AgentHandle.delete`."""
        self._thread.run(self._handle.delete())
        self.shutdown()

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
        """End the agent and its thread. Twice is fine."""
        if self._thread.closed:
            return
        try:
            self._thread.run(self._end())
        finally:
            self._thread.close()

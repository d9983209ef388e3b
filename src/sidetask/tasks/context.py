"""A tool's whole view of the runtime.

`RunContext` is what a tool gets as its first argument. It knows nothing of asyncio tasks or
managers: what it can do, it asks of its `TaskHost`, and each manager is one.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Generic, ParamSpec, Protocol, TypeVar

from sidetask.core.ids import CallId, ConversationId, RunId, TaskId, TurnId
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import ToolCall
from sidetask.state.state import StateView
from sidetask.tasks.aio.tokens import CancelToken

Deps = TypeVar("Deps")
P = ParamSpec("P")
T = TypeVar("T")


class ChildTask(Protocol):
    """A task that this task started: await it for its value."""

    @property
    def id(self) -> TaskId: ...
    def __await__(self) -> Generator[object, None, Json]: ...


class TaskHost(Protocol):
    """What runs a task, as its context sees it."""

    @property
    def attempt(self) -> int: ...
    @property
    def token(self) -> CancelToken: ...
    @property
    def admitted(self) -> ToolCall | None: ...
    @property
    def state(self) -> StateView: ...
    def progress(self, fraction: float | None, note: str) -> None: ...
    def progress_soon(self, fraction: float | None, note: str) -> None: ...
    def is_approved(self, kind: str, digest: str) -> bool: ...
    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]: ...
    async def request_approval(self, reason: str, details: JsonObject) -> None: ...
    def spawn(self, name: str, arguments: JsonObject) -> ChildTask: ...


class RunContext(Generic[Deps]):
    """What a tool may know and do while it runs."""

    __slots__ = ("_host", "call_id", "conversation_id", "deps", "run_id", "task_id", "turn_id")

    def __init__(  # noqa: PLR0913, PLR0917 - what a tool may know, all of it
        self,
        host: TaskHost,
        deps: Deps,
        conversation_id: ConversationId,
        task_id: TaskId,
        call_id: CallId,
        turn_id: TurnId | None = None,
        run_id: RunId | None = None,
    ) -> None:
        self._host = host
        self.deps = deps
        self.conversation_id = conversation_id
        self.run_id = run_id
        self.turn_id = turn_id
        self.task_id = task_id
        self.call_id = call_id

    @property
    def attempt(self) -> int:
        """From 1. An approval that was waited for begins a new attempt."""
        return self._host.attempt

    @property
    def idempotency_key(self) -> str:
        """The same whenever this call is carried out again: hand it to what must not run twice."""
        return f"{self.task_id}:{self.call_id}"

    @property
    def state(self) -> StateView:
        """The conversation's shared state. Writes of an attempt that is over are refused, and
        each write tells the task that made it."""
        return self._host.state

    @property
    def cancelled(self) -> CancelToken:
        """True once this task is asked to stop; `await ctx.cancelled.wait()` waits for that."""
        return self._host.token

    @property
    def admitted(self) -> ToolCall | None:
        """The call as it was admitted before a restart and has begun in another process; None: it
        begins now. For executors."""
        return self._host.admitted

    def is_approved(self, kind: str, digest: str) -> bool:
        """Whether a person has approved this very call (see `ToolCall.digest`). For executors."""
        return self._host.is_approved(kind, digest)

    async def progress(self, fraction: float | None = None, note: str = "") -> None:
        """Tell how far the task is: a fraction between 0 and 1, or None if unknown, and a note."""
        self._host.progress(fraction, note)

    def progress_nowait(self, fraction: float | None = None, note: str = "") -> None:
        """`progress` for a synchronous tool: from its thread, or from any."""
        self._host.progress_soon(fraction, note)

    def step(
        self, key: str, fn: Callable[P, Awaitable[T]], *args: P.args, **_: P.kwargs
    ) -> Awaitable[T]:
        """Run `await fn(*args)` as a named step.

        On a durable engine a finished step is not run again after a crash or a long approval:
        its result, a JSON value, is given instead. In memory this is a plain await. One step at
        a time: parallel branches with steps are child tasks.

        Raises:
            InvalidInputError: Called from another asyncio task than the tool's own.
        """
        return self._host.step(key, fn, *args)

    async def request_approval(self, reason: str, **details: Json) -> None:
        """Wait until a person approves; `details` are shown with the question.

        In memory the tool simply waits here. On a durable engine its run ends as suspended,
        and when the decision comes the tool runs again from its start with its finished steps
        replayed: put what must not happen twice into a `step`.

        Raises:
            ApprovalDeniedError: A person said no, or the approval expired. Clean up and let it
                pass: the task ends as denied whatever is returned.
        """
        await self._host.request_approval(reason, details)

    def spawn(self, name: str, **arguments: Json) -> ChildTask:
        """Start another registered tool as a child of this task; await what is returned.

        A child runs on this task's permits and ends with it. Awaiting it gives its value.

        Raises:
            UnknownToolError: No tool has this name. (From the await:) `TaskFailedError`.
        """
        return self._host.spawn(name, arguments)

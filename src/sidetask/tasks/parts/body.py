"""One attempt of a task, as the tool in it sees its host."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from sidetask.core.errors import InvalidInputError, TaskFencedError
from sidetask.core.ids import TaskId
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import ToolCall
from sidetask.engines.base import Context
from sidetask.state.provenance import Origin
from sidetask.state.state import StateView
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import ChildTask, RunContext
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.records import TaskRecord
from sidetask.tasks.values import ApprovalRequest, Completed, Progress, ToolOutcome

T = TypeVar("T")

current_body: "ContextVar[TaskBody | None]" = ContextVar("current_body", default=None)
"""The attempt whose code runs. What its code starts by `call` is its child."""


Spawn: TypeAlias = Callable[[TaskRecord, ToolCall, TaskId | None], ChildTask]
"""Starts a child of a task, perhaps with an id of its own."""


class Questions(Protocol):
    """What bodies and the runner ask of whoever looks after approvals."""

    def suspend(self, record: TaskRecord, requests: tuple[ApprovalRequest, ...]) -> None:
        """The work has stopped, and goes on as a new attempt when all are approved."""
        ...

    async def ask_in_body(self, body: "TaskBody", reason: str, details: JsonObject) -> None:
        """The work waits where it is."""
        ...

    def give_up(self, record: TaskRecord, topic: str) -> None:
        """The work goes on, or ends, without an answer."""
        ...

    def withdraw(self, record: TaskRecord) -> None:
        """The task's open questions matter no more."""
        ...


class Desk:
    """Where bodies bring what they cannot do themselves."""

    __slots__ = ("lasting", "ledger", "owner", "questions", "spawn")

    def __init__(self, ledger: Ledger, spawn: Spawn) -> None:
        self.ledger = ledger
        self.spawn = spawn
        self.lasting = False
        """Tasks outlive the process."""
        self.questions: Questions | None = None
        self.owner: object = None
        """The task manager."""


class TaskBody:
    """The `TaskHost` of a running attempt. Once it is over, it refuses and forgets."""

    __slots__ = ("_children", "_desk", "_loop", "_view", "job", "record", "shared")

    def __init__(self, desk: Desk, record: TaskRecord, job: Context) -> None:
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self.record = record
        self.job = job
        self._children: dict[str, int] | None = None
        self.shared: StateView | None = None
        """The state of the conversation, unfenced."""
        self._view: StateView | None = None

    @property
    def owner(self) -> object:
        """The task manager that runs it."""
        return self._desk.owner

    @property
    def fenced(self) -> bool:
        """This attempt is over, or about to end."""
        return self.record.fenced or self.record.body is not self

    @property
    def attempt(self) -> int:
        return self.record.attempt

    @property
    def token(self) -> CancelToken:
        """Made when first looked at; a child of the turn's token while that waits."""
        record = self.record
        if record.token is None:
            record.token = CancelToken(record.turn_token)
            if record.ending is not None:
                record.token.cancel(record.ending.reason)
        return record.token

    @property
    def state(self) -> StateView:
        """The state, fenced: reading always, writing until this attempt is over."""
        if self.shared is None:
            raise InvalidInputError("this task manager was opened without a state")
        if self._view is None:
            record = self.record
            origin = Origin(
                source="tool",
                run_id=record.launch.run_id,
                task_id=record.id,
                attempt=record.attempt,
            )
            self._view = self.shared.as_writer(origin, self.check)
        return self._view

    def check(self) -> None:
        """Refuse to go on for an attempt that is over."""
        if self.fenced:
            raise TaskFencedError(self.record.id, self.record.attempt)

    def progress(self, fraction: float | None, note: str) -> None:
        told = _checked(fraction, note)
        if not self.fenced:
            self._desk.ledger.progress(self.record, told)

    def progress_soon(self, fraction: float | None, note: str) -> None:
        """As `progress`, from any thread: the loop's own hears of it in its next round."""
        _checked(fraction, note)
        self._loop.call_soon_threadsafe(self.progress, fraction, note)

    def is_approved(self, kind: str, digest: str) -> bool:
        return self.record.approved is not None and (kind, digest) in self.record.approved

    @property
    def admitted(self) -> ToolCall | None:
        """The call as an earlier process has admitted and begun it elsewhere."""
        past = self.record.past
        return None if past is None or self.record.remote is None else past.admitted

    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        return self.job.step(key, fn, *args)

    async def request_approval(self, reason: str, details: JsonObject) -> None:
        self.check()
        assert self._desk.questions is not None
        await self._desk.questions.ask_in_body(self, reason, details)

    def spawn(self, name: str, arguments: JsonObject) -> ChildTask:
        self.check()
        if not self._desk.lasting:
            return self._desk.spawn(self.record, ToolCall.make(name, arguments), None)
        # The same child in the next life: by what it does, and how often that was asked before.
        if self._children is None:
            self._children = {}
        work = ToolCall.make(name, arguments, id="child").digest()[:8]
        before = self._children.get(work, 0)
        self._children[work] = before + 1
        call = ToolCall.make(name, arguments, id=f"{work}.{before}")
        return self._desk.spawn(self.record, call, TaskId(f"{self.record.id}.{call.id}"))


def _checked(fraction: float | None, note: str) -> Progress:
    if fraction is not None and not (math.isfinite(fraction) and 0 <= fraction <= 1):
        raise InvalidInputError(f"progress is between 0 and 1, or None, not {fraction!r}")
    return Progress(fraction, note)


class _NotKeptError(Exception):
    """An outcome that the next life shall not be given."""

    def __init__(self, outcome: ToolOutcome) -> None:
        self.outcome = outcome


async def carry_out_once(
    executor: Callable[[ToolCall, RunContext[Any]], Awaitable[ToolOutcome]],
    call: ToolCall,
    context: RunContext[Any],
) -> ToolOutcome:
    """Carry out a child whose parent may begin again: what it returned is kept as a step."""

    async def work() -> JsonObject:
        outcome = await executor(call, context)
        if not isinstance(outcome, Completed) or outcome.attachments:
            raise _NotKeptError(outcome)
        return {
            "value": outcome.value,
            "content": outcome.content,
            "metadata": dict(outcome.metadata),
        }

    try:
        kept = cast("dict[str, Any]", await context.step("the whole", work))
    except _NotKeptError as error:
        return error.outcome
    return Completed(kept["value"], kept["content"], metadata=kept["metadata"])

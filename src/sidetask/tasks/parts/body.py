"""One attempt of a task, as the tool in it sees its host."""

import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

from sidetask.core.errors import InvalidInputError, TaskFencedError
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import ToolCall
from sidetask.engines.base import Context
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import ChildTask, StateView
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.records import TaskRecord
from sidetask.tasks.values import ApprovalRequest, Progress

T = TypeVar("T")


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

    __slots__ = ("ledger", "questions", "spawn")

    def __init__(self, ledger: Ledger, spawn: Callable[[TaskRecord, ToolCall], ChildTask]) -> None:
        self.ledger = ledger
        self.spawn = spawn
        self.questions: Questions | None = None


class TaskBody:
    """The `TaskHost` of a running attempt. Once it is over, it refuses and forgets."""

    __slots__ = ("_desk", "job", "record", "shared")

    def __init__(self, desk: Desk, record: TaskRecord, job: Context) -> None:
        self._desk = desk
        self.record = record
        self.job = job
        self.shared: StateView | None = None
        """The state of the conversation, unfenced."""

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
        if self.shared is None:
            raise InvalidInputError("this task manager was opened without a state")
        return FencedState(self, self.shared)

    def check(self) -> None:
        """Refuse to go on for an attempt that is over."""
        if self.fenced:
            raise TaskFencedError(self.record.id, self.record.attempt)

    def progress(self, fraction: float | None, note: str) -> None:
        if fraction is not None and not (math.isfinite(fraction) and 0 <= fraction <= 1):
            raise InvalidInputError(f"progress is between 0 and 1, or None, not {fraction!r}")
        if not self.fenced:
            self._desk.ledger.progress(self.record, Progress(fraction, note))

    def is_approved(self, kind: str, digest: str) -> bool:
        return self.record.approved is not None and (kind, digest) in self.record.approved

    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        return self.job.step(key, fn, *args)

    async def request_approval(self, reason: str, details: JsonObject) -> None:
        self.check()
        assert self._desk.questions is not None
        await self._desk.questions.ask_in_body(self, reason, details)

    def spawn(self, name: str, arguments: JsonObject) -> ChildTask:
        self.check()
        return self._desk.spawn(self.record, ToolCall.make(name, arguments))


class FencedState:
    """The shared state as one attempt may use it: reading always, writing until it is over."""

    __slots__ = ("_body", "_state")

    def __init__(self, body: TaskBody, state: StateView) -> None:
        self._body = body
        self._state = state

    def get(self, key: str, default: Json = None) -> Json:
        return self._state.get(key, default)

    def __getitem__(self, key: str) -> Json:
        return self._state[key]

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def keys(self, prefix: str = "") -> Iterator[str]:
        return self._state.keys(prefix)

    def set(self, key: str, value: object) -> None:
        self._body.check()
        self._state.set(key, value)

    def delete(self, key: str) -> None:
        self._body.check()
        self._state.delete(key)

"""A task manager without tasks: every call runs inline, in whoever asks for it.

For scripts and tests that want a loop and nothing beside it. It has no events and nothing to
cancel; an approval that is needed is told as the call's end.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from typing import TypeVar

from sidetask.core.errors import (
    InvalidInputError,
    SidetaskError,
    TaskNotFoundError,
    UnknownToolError,
)
from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.jsons import JsonObject
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import DeliveryModeLike, OnCompleteLike
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import ChildTask, RunContext, StateView
from sidetask.tasks.manager import TaskManager
from sidetask.tasks.parts.runner import Executor
from sidetask.tasks.values import (
    Approval,
    ApprovalNeeded,
    Completed,
    Errored,
    Idle,
    LoopUpdates,
    Ready,
    Refused,
    Resolution,
    TaskLaunch,
    TaskSnapshot,
    ToolOutcome,
    TurnNews,
    TurnSettled,
    TurnUpdate,
)

T = TypeVar("T")


class SimpleTaskManager(TaskManager):
    """Runs every call inline, in its caller."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        *,
        deps: object = None,
        state: StateView | None = None,
    ) -> None:
        self._executors = executors
        self._deps = deps
        self._state = state
        self._ids = count(1)

    def handle(self) -> "SimpleHandle":
        """The host's side: there is nothing to see."""
        return SimpleHandle()

    async def start_task(
        self, launch: TaskLaunch, *, cancellation: CancelToken | None = None
    ) -> Ready:
        executor = self._executors.get(launch.call.name)
        if executor is None:
            raise UnknownToolError(launch.call.name, self._executors)
        task_id = launch.task_id or TaskId(f"call-{next(self._ids)}")
        context = RunContext(
            InlineHost(cancellation or CancelToken(), self._state),
            deps=self._deps,
            conversation_id=launch.conversation_id,
            task_id=task_id,
            call_id=launch.call.id,
            turn_id=launch.turn_id,
            run_id=launch.run_id,
        )
        try:
            outcome = await executor(launch.call, context)
        except _ApprovalNeededInlineError as needed:
            outcome = ApprovalNeeded(())
            return Ready(_resolution(launch, task_id, outcome, str(needed)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the one boundary: a fault becomes an answer
            outcome = Errored(f"{type(error).__name__}: {error}", type(error).__name__)
        return Ready(_resolution(launch, task_id, outcome))

    async def stored(self) -> None:
        """Nothing is ever kept."""

    async def wait_for_turn(
        self,
        conversation_id: ConversationId,
        turn_id: TurnId,
        cancellation: CancelToken | None = None,
    ) -> TurnNews:
        return TurnSettled()

    def take_pending_loop_updates(self, conversation_id: ConversationId) -> LoopUpdates:
        return LoopUpdates(())

    def ack(self, conversation_id: ConversationId, task_ids: Iterable[TaskId]) -> None:
        """Nothing is ever pending."""

    def on_turn_interrupted(
        self, conversation_id: ConversationId, turn_id: TurnId
    ) -> list[TurnUpdate]:
        return []


class SimpleHandle:
    """A host's view of a manager that has no tasks."""

    def get(self, task_id: str) -> TaskSnapshot:
        raise TaskNotFoundError(task_id)

    def list(self) -> "list[TaskSnapshot]":
        return []

    list_running = list_completed = list

    def approvals(self) -> "list[Approval]":
        return []

    async def cancel(self, task_id: str, reason: str | None = None, grace: float = 5.0) -> str:
        raise TaskNotFoundError(task_id)

    def detach(self, task_id: str) -> bool:
        raise TaskNotFoundError(task_id)

    def set_on_complete(self, task_id: str, on_complete: OnCompleteLike) -> None:
        raise TaskNotFoundError(task_id)

    def set_delivery_mode(self, task_id: str, delivery: DeliveryModeLike) -> None:
        raise TaskNotFoundError(task_id)

    set_continue_policy = set_on_complete

    def drain_ready_items(
        self, conversation_id: ConversationId | None = None
    ) -> "list[Resolution | Approval]":
        return []

    async def wait(self, task_id: str) -> Resolution:
        raise TaskNotFoundError(task_id)

    async def wait_for_idle(self, conversation_id: ConversationId | None = None) -> Idle:
        return Idle(undelivered=0, approvals=0)

    async def close(self, grace: float = 5.0) -> "list[TaskId]":
        return []


class _ApprovalNeededInlineError(SidetaskError):
    """A body asked for an approval that nobody can wait for here."""


class InlineHost:
    """The `TaskHost` of a call that is no task."""

    __slots__ = ("_state", "attempt", "token")

    def __init__(self, token: CancelToken, state: StateView | None) -> None:
        self.attempt = 1
        self.token = token
        self._state = state

    @property
    def state(self) -> StateView:
        if self._state is None:
            raise InvalidInputError("this task manager was opened without a state")
        return self._state

    def progress(self, fraction: float | None, note: str) -> None:
        """Nobody listens."""

    progress_soon = progress

    @property
    def admitted(self) -> None:
        return None

    def is_approved(self, kind: str, digest: str) -> bool:
        return False

    def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        return fn(*args)

    async def request_approval(self, reason: str, details: JsonObject) -> None:
        raise _ApprovalNeededInlineError(reason)

    def spawn(self, name: str, arguments: JsonObject) -> ChildTask:
        raise InvalidInputError("an inline call starts no tasks: use AsyncTaskManager")


def _resolution(
    launch: TaskLaunch, task_id: TaskId, outcome: ToolOutcome, reason: str = ""
) -> Resolution:
    attachments, value, error_type = (), None, type(outcome).__name__
    match outcome:
        case Completed():
            status, content, error_type = TaskStatus.SUCCEEDED, outcome.content, None
            attachments, value = outcome.attachments, outcome.value
        case Errored():
            status, content, error_type = TaskStatus.FAILED, outcome.error, outcome.error_type
        case Refused():
            status, content = TaskStatus.DENIED, f"The call was denied: {outcome.reason}."
        case ApprovalNeeded():
            status = TaskStatus.AWAITING_APPROVAL
            asked = reason or ", ".join(request.reason for request in outcome.requests)
            content = f"The call needs an approval: {asked or launch.call.name}"
        case _:  # pyright: ignore[reportUnnecessaryComparison] - executors may not be typed
            status, error_type = TaskStatus.FAILED, "TypeError"
            content = f"the executor gave no outcome, but {outcome!r:.100}"
    return Resolution(
        task_id=task_id,
        conversation_id=launch.conversation_id,
        turn_id=launch.turn_id,
        call_ids=(launch.call.id,),
        name=launch.call.name,
        status=status,
        content=content,
        value=value,
        attachments=attachments,
        error_type=error_type,
    )

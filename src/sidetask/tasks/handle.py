"""What a host may do with tasks: look, cancel, detach, decide, listen, and wait."""

from collections.abc import Awaitable, Callable, Generator
from typing import Literal

from sidetask.core.errors import TaskFailedError
from sidetask.core.events import Event, Lagged, TaskCancelled
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import (
    DEFAULT_POLICY,
    DeliveryMode,
    DeliveryModeLike,
    OnComplete,
    OnCompleteLike,
)
from sidetask.tasks.aio.streams import Subscription, of_conversation
from sidetask.tasks.parts.body import current_body
from sidetask.tasks.parts.records import Ending, TaskRecord
from sidetask.tasks.values import Approval, Idle, Progress, Resolution, TaskSnapshot
from sidetask.tasks.wiring import Parts

CancelResult = Literal["cancelled", "already_finished"]


class ManagerHandle:
    """The host's side of a task manager."""

    def __init__(self, parts: Parts, close: Callable[[float], Awaitable[list[TaskId]]]) -> None:
        self._parts = parts
        self._close = close
        self._events: Subscription | None = None

    # -- look -----------------------------------------------------------------------------

    def get(self, task_id: str) -> TaskSnapshot:
        """A task as it is now.

        Raises:
            TaskNotFoundError: It was never started, or ended long ago and was evicted.
        """
        return snapshot(self._record(task_id))

    def task(self, task_id: str) -> "TaskHandle":
        """A hold on one task.

        Raises:
            TaskNotFoundError: See `get`.
        """
        return TaskHandle(self._record(task_id), self._parts)

    def list(
        self,
        *,
        status: TaskStatus | str | None = None,
        conversation_id: ConversationId | None = None,
    ) -> "list[TaskSnapshot]":
        """The tasks that are known, by creation: all, or of one status or conversation."""
        wanted = None if status is None else TaskStatus(status)
        return [
            snapshot(record)
            for record in self._parts.ledger.records.all(conversation_id)
            if wanted is None or record.status is wanted
        ]

    def list_running(self, conversation_id: ConversationId | None = None) -> "list[TaskSnapshot]":
        """The tasks that have not ended: queued, running, or waiting for an approval."""
        return [snapshot(record) for record in self._parts.ledger.records.living(conversation_id)]

    def list_completed(self, conversation_id: ConversationId | None = None) -> "list[TaskSnapshot]":
        """The tasks that have ended, however, as far as they are remembered."""
        records = self._parts.ledger.records.all(conversation_id)
        return [snapshot(record) for record in records if record.ended]

    def approvals(self, conversation_id: ConversationId | None = None) -> "list[Approval]":
        """The approvals that wait for a decision, oldest first."""
        return self._parts.approvals.open(conversation_id)

    # -- steer ------------------------------------------------------------------------------

    async def cancel(
        self, task_id: str, reason: str | None = None, grace: float | None = None
    ) -> CancelResult:
        """Stop a task and wait until it has, for at most `grace` seconds (5, or its policy's).

        Its token and its code are cancelled before this first waits. What has not stopped by
        then is told as abandoned. A task that ended already is left as it is.

        Raises:
            TaskNotFoundError: See `get`.
        """
        record = self._record(task_id)
        if record.ended:
            return "already_finished"
        ending = Ending(TaskCancelled, reason or "cancelled by the host")
        self._parts.runner.stop(record, ending, grace)
        resolution = await self._parts.delivery.wait_ended(record)
        return "cancelled" if resolution.status is TaskStatus.CANCELLED else "already_finished"

    def detach(self, task_id: str) -> bool:
        """Send a foreground task to the background now; False if no turn waits for it.

        Raises:
            TaskNotFoundError: See `get`.
        """
        return self._parts.runner.detach(self._record(task_id), "host")

    def set_on_complete(self, task_id: str, on_complete: OnCompleteLike) -> None:
        """Change what the end of a task does, up to its delivery.

        Raises:
            TaskNotFoundError: See `get`.
            InvalidInputError: The result has been delivered.
            ConfigurationError: No such word.
        """
        record = self._record(task_id)
        self._parts.delivery.redirect(record, _on_complete(on_complete), to_loop=record.to_loop)

    def set_delivery_mode(self, task_id: str, delivery: DeliveryModeLike) -> None:
        """Change who takes the result of a task, up to its delivery.

        Raises:
            TaskNotFoundError: See `get`.
            InvalidInputError: The result has been delivered.
            ConfigurationError: No such word.
        """
        record = self._record(task_id)
        to_loop = DEFAULT_POLICY.with_(delivery=delivery).delivery is DeliveryMode.TO_LOOP
        self._parts.delivery.redirect(record, record.on_complete, to_loop=to_loop)

    set_continue_policy = set_on_complete

    def approve(
        self,
        approval_id: str,
        *,
        by: str,
        note: str | None = None,
        arguments: JsonObject | None = None,
    ) -> Approval:
        """Say yes, perhaps to other arguments, which are then the only ones approved.

        Raises:
            ApprovalNotFoundError: No approval has this id.
            AlreadyDecidedError: It was decided before; tells by whom and when.
            InvalidInputError: `by` is empty, or the arguments cannot be changed any more.
        """
        return self._parts.asking.approve(approval_id, by=by, note=note, arguments=arguments)

    def deny(self, approval_id: str, reason: str | None = None, *, by: str) -> Approval:
        """Say no. The model is told the reason.

        Raises:
            ApprovalNotFoundError, AlreadyDecidedError, InvalidInputError: As for `approve`.
        """
        return self._parts.asking.deny(approval_id, reason, by=by)

    # -- listen and wait -----------------------------------------------------------------------

    def subscribe(self, conversation_id: ConversationId | None = None) -> Subscription:
        """Every event from now on, in order; of one conversation or of all."""
        stream = self._parts.outbox.everything
        return stream.subscribe(of_conversation(conversation_id))

    async def next_event(self) -> Event | Lagged | None:
        """The next event after the last call's, beginning with this call; None after `close`."""
        if self._events is None:
            self._events = self.subscribe()
        return await anext(self._events, None)

    def drain_ready_items(
        self, conversation_id: ConversationId | None = None, *, ack: bool = True
    ) -> "list[Resolution | Approval]":
        """Results and open approvals of tasks in manual delivery, each given once.

        With `ack=False` they are given again until `ack` names them.
        """
        items: list[Resolution | Approval] = [
            *self._parts.mailbox.take_for_host(conversation_id),
            *_asked_of_host(self._parts, conversation_id),
        ]
        if ack:
            self.ack(items)
        return items

    def ack(self, items: "list[Resolution | Approval]") -> None:
        """These items have been taken care of."""
        for item in items:
            if isinstance(item, Approval):
                self._parts.approvals.mark_read([item.id])
                continue
            conversation_id, taken = item.conversation_id, [item.task_id]
            if self._parts.keeper is not None:
                self._parts.keeper.taken(self._parts.mailbox.covered(conversation_id, taken))
            self._parts.mailbox.ack(conversation_id, taken)

    async def wait(self, task_id: str) -> Resolution:
        """Wait for the end of a task, whichever. Cancelling the wait leaves it alone.

        Raises:
            TaskNotFoundError: See `get`.
        """
        return await self._parts.delivery.wait_ended(self._record(task_id))

    async def wait_for_idle(self, conversation_id: ConversationId | None = None) -> Idle:
        """Wait until no task is queued or running; tells what is still open then."""
        await self._parts.delivery.wait_quiet(conversation_id)
        return Idle(
            undelivered=self._parts.mailbox.undelivered(conversation_id),
            approvals=len(self._parts.approvals.open(conversation_id)),
        )

    async def close(self, grace: float = 5.0) -> "list[TaskId]":
        """Refuse new work, cancel what runs, wait for it, and end every stream.

        Returns the tasks that did not stop within `grace` seconds. Closing twice is fine.
        """
        return await self._close(grace)

    # -- inside ---------------------------------------------------------------------------------

    def _record(self, task_id: str) -> TaskRecord:
        return self._parts.ledger.records.get(TaskId(task_id))


class TaskHandle:
    """A hold on one task. Await it for its value."""

    __slots__ = ("_parts", "_record")

    def __init__(self, record: TaskRecord, parts: Parts) -> None:
        self._record = record
        self._parts = parts

    @property
    def id(self) -> TaskId:
        return self._record.id

    @property
    def status(self) -> TaskStatus:
        return self._record.status

    @property
    def waiting(self) -> bool:
        """It is queued behind a cap: nothing of it begins before a permit is free."""
        return self._record.queue is not None

    @property
    def stopping(self) -> bool:
        """It was asked to end, and its work has not stopped yet."""
        return self._record.ending is not None and not self._record.ended

    @property
    def progress(self) -> Progress | None:
        return self._record.progress

    def snapshot(self) -> TaskSnapshot:
        """The task as it is now."""
        return snapshot(self._record)

    def cancel(self, reason: str | None = None) -> bool:
        """Ask the task to stop, without waiting; False if it is over."""
        ending = Ending(TaskCancelled, reason or "cancelled by the host")
        return self._parts.runner.stop(self._record, ending)

    def detach(self) -> bool:
        """Send it to the background now; False if no turn waits for it."""
        return self._parts.runner.detach(self._record, "host")

    async def wait(self) -> Resolution:
        """Wait for the end, whichever. Cancelling the wait leaves the task alone.

        The code of a task that waits for one which queues behind it, under the same cap, lends
        it its permit meanwhile.
        """
        lender = self._lender() if self.waiting else None
        if lender is None:
            return await self._parts.delivery.wait_ended(self._record)
        with self._parts.runner.lending(lender, self._record):
            return await self._parts.delivery.wait_ended(self._record)

    def _lender(self) -> TaskRecord | None:
        """Whose permits the code goes on that asks."""
        body, records = current_body.get(), self._parts.ledger.records
        permits = self._parts.permits
        found = None if body is None or body.fenced else body.record
        if found is None or records.find(found.id) is not found:
            return None
        while found is not None and not (found.caps or permits.has_lent(found)):
            parent = found.launch.parent_id
            found = None if parent is None else records.find(parent)
        return found

    def __await__(self) -> Generator[object, None, Json]:
        return self._value().__await__()

    async def _value(self) -> Json:
        """The task's value.

        Raises:
            TaskFailedError: It failed, was cancelled, denied, or timed out.
        """
        resolution = await self.wait()
        if resolution.is_error:
            raise TaskFailedError(self._record.id, resolution.status, resolution.content)
        return resolution.value


def _on_complete(word: OnCompleteLike) -> OnComplete:
    return OnComplete(DEFAULT_POLICY.with_(on_complete=word).on_complete)


def _asked_of_host(parts: Parts, conversation_id: ConversationId | None) -> list[Approval]:
    """Open questions of tasks in manual delivery that nobody has read."""
    found: list[Approval] = []
    for approval in parts.approvals.unread():
        record = parts.ledger.records.find(approval.task_id)
        if record is None or record.to_loop:
            continue
        if conversation_id is None or approval.conversation_id == conversation_id:
            found.append(approval)
    return found


def snapshot(record: TaskRecord) -> TaskSnapshot:
    """A frozen view of a record as it is now."""
    launch = record.launch
    return TaskSnapshot(
        id=record.id,
        conversation_id=launch.conversation_id,
        turn_id=launch.turn_id,
        call_ids=tuple([waiter.call_id for waiter in record.calls]),
        parent_id=launch.parent_id,
        name=record.call.name,
        arguments=record.call.arguments,
        kind=record.kind,
        detached=record.detached,
        status=record.status,
        attempt=record.attempt,
        policy=launch.policy,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        progress=record.progress,
        error=record.error,
        metadata=launch.metadata,
        executor=launch.executor,
        job=record.remote,
    )

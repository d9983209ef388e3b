"""The tasks and approvals of one conversation, as its owner sees them."""

from collections.abc import Callable, Iterable, Iterator

from sidetask.core.errors import ApprovalNotFoundError, TaskNotFoundError
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import JsonObject
from sidetask.core.routing import DeliveryModeLike, OnCompleteLike
from sidetask.tasks.handle import CancelResult, ManagerHandle
from sidetask.tasks.values import Approval, Resolution, TaskSnapshot


class ConversationTasks:
    """The tasks of one conversation."""

    def __init__(self, handle: ManagerHandle, conversation_id: ConversationId) -> None:
        self._handle = handle
        self._conversation_id = conversation_id

    def __iter__(self) -> Iterator[TaskSnapshot]:
        """All tasks that are known, by creation."""
        return iter(self._handle.list(conversation_id=self._conversation_id))

    def running(self) -> list[TaskSnapshot]:
        """The tasks that have not ended."""
        return self._handle.list_running(self._conversation_id)

    def get(self, task_id: str) -> TaskSnapshot:
        """A task as it is now.

        Raises:
            TaskNotFoundError: It is not known, or not of this conversation.
        """
        return self._own(task_id)

    async def cancel(self, task_id: str, reason: str | None = None) -> CancelResult:
        """Stop a task and wait until it has. Raises as `get` does."""
        return await self._handle.cancel(self._own(task_id).id, reason)

    def detach(self, task_id: str) -> bool:
        """Send a foreground task to the background; False if no turn waits for it."""
        return self._handle.detach(self._own(task_id).id)

    def set_on_complete(self, task_id: str, on_complete: OnCompleteLike) -> None:
        """Change what the end of a task does. See `ManagerHandle.set_on_complete`."""
        self._handle.set_on_complete(self._own(task_id).id, on_complete)

    def set_delivery_mode(self, task_id: str, delivery: DeliveryModeLike) -> None:
        """Change who takes a result. See `ManagerHandle.set_delivery_mode`."""
        self._handle.set_delivery_mode(self._own(task_id).id, delivery)

    def drain_ready_items(self) -> list[Resolution | Approval]:
        """Results and approvals in manual delivery. See `ManagerHandle.drain_ready_items`."""
        return self._handle.drain_ready_items(self._conversation_id)

    async def wait(self, task_id: str) -> Resolution:
        """Wait for a task's end. Raises as `get` does."""
        return await self._handle.wait(self._own(task_id).id)

    def _own(self, task_id: str) -> TaskSnapshot:
        task = self._handle.get(task_id)
        if task.conversation_id != self._conversation_id:
            raise TaskNotFoundError(task_id)
        return task


class ConversationApprovals:
    """The approvals of one conversation and of its sub-agents: iterate it for the open ones."""

    def __init__(
        self,
        handle: ManagerHandle,
        conversation_id: ConversationId,
        descendants: Callable[[], Iterable[ConversationId]] = tuple,
    ) -> None:
        self._handle = handle
        self._conversation_id = conversation_id
        self._descendants = descendants

    def __iter__(self) -> Iterator[Approval]:
        for conversation_id in (self._conversation_id, *self._descendants()):
            yield from self._handle.approvals(conversation_id)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def approve(
        self,
        approval_id: str,
        *,
        by: str,
        note: str | None = None,
        arguments: JsonObject | None = None,
    ) -> Approval:
        """Say yes, perhaps to other arguments. See `ManagerHandle.approve`."""
        self._check_own(approval_id)
        return self._handle.approve(approval_id, by=by, note=note, arguments=arguments)

    def deny(self, approval_id: str, reason: str | None = None, *, by: str) -> Approval:
        """Say no; the model is told the reason. See `ManagerHandle.deny`."""
        self._check_own(approval_id)
        return self._handle.deny(approval_id, reason, by=by)

    def _check_own(self, approval_id: str) -> None:
        """Refuse to decide what was asked in another conversation."""
        own = [each.id for each in self]
        if approval_id not in own and any(
            each.id == approval_id for each in self._handle.approvals()
        ):
            raise ApprovalNotFoundError(approval_id, own)

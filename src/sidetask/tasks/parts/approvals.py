"""Questions to people: asked once, bound to a digest, decided once.

Two questions on one call are two approvals and both are needed; any denial wins. Approving
with changed arguments approves exactly those and withdraws the task's other questions, which
are asked anew about the new call if they still matter. Nothing a model says reaches this.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalNotFoundError,
    InvalidInputError,
)
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.tasks.values import Approval, ApprovalRequest, Decision

REMEMBERED = 1_000
"""How many decided approvals are kept, to tell a second decision who decided first."""


class Approvals:
    """All approvals of a manager, open and lately decided."""

    def __init__(self, tag: str = "") -> None:
        self._prefix = f"approval-{tag}-" if tag else "approval-"
        self._open: dict[ApprovalId, Approval] = {}
        self._deciding: dict[ApprovalId, Approval] = {}
        """Open ones with a decision that is being entered elsewhere."""
        self._decided: OrderedDict[ApprovalId, Approval] = OrderedDict()
        self._of_task: dict[TaskId, list[ApprovalId]] = {}
        self._unread: dict[ApprovalId, None] = {}
        self._ids = count(1)

    def ask(
        self,
        task_id: TaskId,
        conversation_id: ConversationId,
        call: ToolCall,
        request: ApprovalRequest,
        *,
        now: float,
        expires_at: float | None,
    ) -> Approval:
        """Open a question about this very call."""
        approval = Approval(
            id=ApprovalId(f"{self._prefix}{next(self._ids)}"),
            task_id=task_id,
            conversation_id=conversation_id,
            call=call,
            kind=request.kind,
            reason=request.reason,
            summary=request.summary or f"{call.name} {call.arguments}",
            metadata=request.metadata,
            digest=call.digest(),
            created_at=now,
            expires_at=expires_at,
        )
        self.restore(approval)
        return approval

    def restore(self, approval: Approval) -> None:
        """Enter an open question."""
        self._open[approval.id] = approval
        self._of_task.setdefault(approval.task_id, []).append(approval.id)
        self._unread[approval.id] = None

    def get(self, approval_id: str) -> Approval:
        """Return an approval, open or lately decided; decided too if that is being entered.

        Raises:
            ApprovalNotFoundError: No approval has this id.
        """
        key = ApprovalId(approval_id)
        found = self._deciding.get(key) or self._open.get(key) or self._decided.get(key)
        if found is None:
            raise ApprovalNotFoundError(approval_id, self._open)
        return found

    def look(self, approval_id: str) -> Approval:
        """An open question as it was asked."""
        return self._open[ApprovalId(approval_id)]

    def open(self, conversation_id: ConversationId | None = None) -> list[Approval]:
        """What waits for a decision, oldest first."""
        return [
            approval
            for approval in self._open.values()
            if (conversation_id is None or approval.conversation_id == conversation_id)
            and approval.id not in self._deciding
        ]

    def is_open(self, approval_id: str) -> bool:
        """Whether no decision stands, even if one is being entered."""
        return approval_id in self._open

    def of_task(self, task_id: TaskId) -> list[Approval]:
        """The open questions of one task."""
        return [self._open[one] for one in self._of_task.get(task_id, ())]

    def decided(
        self, approval_id: str, decision: Decision, *, by: str | None, note: str | None, now: float
    ) -> Approval:
        """The question as it would be decided by this; nothing is entered.

        Raises:
            ApprovalNotFoundError: No approval has this id.
            AlreadyDecidedError: It was decided before.
            InvalidInputError: Nobody is named who decides.
        """
        approval = self.get(approval_id)
        if approval.decision is not Decision.OPEN:
            raise AlreadyDecidedError(
                approval.id, approval.decision, approval.decided_by, approval.decided_at
            )
        if not by:
            raise InvalidInputError("say who decides: by='ana@corp'")
        return replace(approval, decision=decision, decided_by=by, decided_at=now, note=note)

    def hold(self, decided: Approval) -> None:
        """This decision is being entered: others come too late."""
        self._deciding[decided.id] = decided
        self._unread.pop(decided.id, None)

    def let_go(self, approval_id: ApprovalId) -> None:
        """No decision is being entered any more: if none stands, the question is open as before."""
        self._deciding.pop(approval_id, None)

    def enter(self, decided: Approval) -> Approval:
        """A decision stands. Returns the question as it was asked."""
        asked = self._open.pop(decided.id)
        self._deciding.pop(decided.id, None)
        self._unread.pop(decided.id, None)
        siblings = self._of_task[asked.task_id]
        siblings.remove(asked.id)
        if not siblings:
            del self._of_task[asked.task_id]
        self._decided[decided.id] = decided
        if len(self._decided) > REMEMBERED:
            self._decided.popitem(last=False)
        return asked

    def unread(self) -> list[Approval]:
        """Open approvals that no `mark_read` has named."""
        return [self._open[one] for one in self._unread]

    def mark_read(self, approval_ids: Iterable[ApprovalId]) -> None:
        for approval_id in approval_ids:
            self._unread.pop(approval_id, None)

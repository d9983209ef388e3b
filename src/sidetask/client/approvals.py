"""A question in the store, and its answer."""

from collections.abc import Mapping
from dataclasses import replace
from time import time

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import ApprovalId, ConversationId, TaskId
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import ToolCall
from sidetask.stores.base import Store
from sidetask.tasks.parts.asking import IN_BODY
from sidetask.tasks.stored import decide
from sidetask.tasks.values import Approval, Decision


class StoredApproval:
    """What a person is asked, as it was when it was read."""

    __slots__ = ("_store", "value")

    def __init__(self, value: Approval, store: Store) -> None:
        self.value = value
        """All of it."""
        self._store = store

    @property
    def id(self) -> ApprovalId:
        return self.value.id

    @property
    def task_id(self) -> TaskId:
        return self.value.task_id

    @property
    def conversation_id(self) -> ConversationId:
        return self.value.conversation_id

    @property
    def tool(self) -> str:
        """The name of what would be called."""
        return self.value.call.name

    @property
    def arguments(self) -> JsonObject:
        """What it would be called with."""
        return self.value.call.parsed()

    @property
    def reason(self) -> str:
        return self.value.reason

    @property
    def summary(self) -> str:
        return self.value.summary

    @property
    def metadata(self) -> Mapping[str, Json]:
        """Details that the tool gave with the question."""
        return self.value.metadata

    @property
    def is_open(self) -> bool:
        return self.value.decision is Decision.OPEN

    async def approve(
        self, *, by: str, note: str | None = None, arguments: JsonObject | None = None
    ) -> "StoredApproval":
        """Say yes, perhaps to other arguments, which are then the only ones approved. Whoever has
        the conversation open goes on with the task at once, or else a worker, or who resumes it.
        An agent that is called as a tool hears it only from the process that runs it: should that
        have died, its task ends, or begins anew and asks anew.

        Raises:
            AlreadyDecidedError: It was decided before; tells by whom and when.
            InvalidInputError: `by` is empty, or the arguments cannot be changed any more.
        """
        call = self.value.call
        if arguments is not None:
            changed = ToolCall.make(call.name, arguments, id=call.id)
            if changed.digest() != self.value.digest and self.value.kind == IN_BODY:
                raise InvalidInputError(
                    "the tool is running with its arguments: approve or deny it as it is"
                )
            call = changed
        return await self._decide(Decision.APPROVED, by, note, call)

    async def deny(self, reason: str | None = None, *, by: str) -> "StoredApproval":
        """Say no. The model is told the reason.

        Raises:
            AlreadyDecidedError, InvalidInputError: As for `approve`.
        """
        return await self._decide(Decision.DENIED, by, reason, self.value.call)

    async def _decide(
        self, decision: Decision, by: str, note: str | None, call: ToolCall
    ) -> "StoredApproval":
        if not by:
            raise InvalidInputError("say who decides: by='ana@corp'")
        asked = self.value
        decided = replace(
            asked,
            call=call,
            digest=asked.digest if call is asked.call else call.digest(),
            decision=decision,
            decided_by=by,
            decided_at=time(),
            note=note,
        )
        return StoredApproval(await decide(self._store, decided), self._store)

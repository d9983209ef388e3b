"""The tasks of a manager in a store that survives the process: kept, let go, taken up again.

Another process may decide a question. It writes the decision and this one hears of it: what the
store says is looked at again whenever somebody else has written to a conversation with an open
question.
"""

import asyncio
from collections.abc import Callable, Collection

from sidetask.core.errors import StoreError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.stores.base import Store
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.durable.keeper import StoreKeeper
from sidetask.tasks.durable.reviving import read_left, take_up
from sidetask.tasks.stored import APPROVALS
from sidetask.tasks.wiring import Parts


class KeptTasks:
    """What a durable store adds to a manager."""

    def __init__(self, parts: Parts, keeper: StoreKeeper, store: Store) -> None:
        self._parts = parts
        self._keeper = keeper
        self._store = store
        self._unlisten: Callable[[], None] | None = None
        self._changed: dict[ConversationId | None, None] = {}
        self._looking: asyncio.Task[None] | None = None

    async def revive(self, conversation_id: ConversationId) -> None:
        """Take up what an earlier process has left: results nobody has taken, tasks that had not
        ended, open questions. Open the conversation before, with its tools and its history; what
        wants a turn asks for it from here on. A second time it finds nothing new.

        Raises:
            StoreError: It could not be read; nothing was taken up.
        """
        self._keeper.take_up(conversation_id)
        left = await read_left(self._store, conversation_id)
        take_up(self._parts, left)

    def let_go(self, conversation_id: ConversationId) -> None:
        """From now on nothing of its tasks is kept: `revive` finds them as they are now. For a
        conversation whose tasks are about to be stopped, and shall go on elsewhere."""
        self._keeper.let_go(conversation_id)

    def covered(
        self, conversation_id: ConversationId, task_ids: Collection[TaskId]
    ) -> tuple[TaskId, ...]:
        """The results that are delivered when the history tells of these tasks."""
        self._keeper.pay()
        covered = self._parts.mailbox.covered(conversation_id, task_ids)
        return tuple([each.task_id for each in covered])

    def listen(self) -> None:
        """Hear of what other processes decide. Twice is fine."""
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._heard)

    async def close(self, grace: float) -> None:
        """Hear of nothing more. Decisions that are being entered get `grace` seconds."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._looking is not None:
            self._looking.cancel()
            await wait_done(self._looking)
        await self._keeper.close(grace)

    def _heard(self, conversation_id: ConversationId | None) -> None:
        self._changed[conversation_id] = None
        if self._looking is None and self._parts.approvals.open(conversation_id):
            self._looking = spawn(self._look(), name="decisions of others", done=self._looked)

    def _looked(self, _: "asyncio.Task[None]") -> None:
        self._looking = None

    async def _look(self) -> None:
        while self._changed:
            which = next(iter(self._changed))
            del self._changed[which]
            for approval in self._parts.approvals.open(which):
                try:
                    found = await self._store.get(APPROVALS, approval.conversation_id, approval.id)
                except StoreError:
                    continue  # the next change tells again
                if found is not None and not found.open:
                    self._parts.asking.enter(found.value)

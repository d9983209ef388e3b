"""Who hears of an end: the turn that waits, the conversation's next model call, or the host.

Synchronous but for the one wait of a turn. Taking is looking: what was taken is given again
until it is acknowledged, together with the history write that made it part of the
conversation. Nothing is lost between the two and nothing is told twice after.

Bounds: a turn's box holds at most one update for each of its calls; a conversation's pending
results are bounded at launch (`Limits.undelivered`), where refusing loses nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from sidetask.core.ids import ConversationId, TaskId, TurnId
from sidetask.core.routing import OnComplete
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.parts.records import Keeping
from sidetask.tasks.values import (
    LoopUpdates,
    Resolution,
    TurnCancelled,
    TurnNews,
    TurnSettled,
    TurnUpdate,
)

_SETTLED = TurnSettled()
_NO_UPDATES = LoopUpdates(())


class TurnBox:
    """What one turn waits for, and what came."""

    __slots__ = ("expected", "updates", "waiters")

    def __init__(self) -> None:
        self.expected: dict[TaskId, None] = {}
        self.updates: tuple[TurnUpdate, ...] = ()
        self.waiters: Sleepers = []


class Pending:
    """What one conversation, or its host, has not taken yet."""

    __slots__ = ("claims", "for_host", "results", "taken")

    def __init__(self) -> None:
        self.results: dict[TaskId, Resolution] = {}
        """In completion order."""
        self.for_host: set[TaskId] = set()
        """Those of them that the host takes; the others are for the loop."""
        self.claims: dict[TaskId, TaskId] = {}
        """Results that another task has read and will deliver as its own: claimed by whom."""
        self.taken: set[TaskId] = set()
        """Those that somebody was given. Only they can be acknowledged: a task that calls joined
        has a result for each of them, and one may be answered before another is taken."""

    def for_loop(self) -> list[Resolution]:
        left_out = self.for_host.union(self.claims)
        return [item for item in self.results.values() if item.task_id not in left_out]

    def drop(self, task_id: TaskId) -> None:
        self.results.pop(task_id, None)
        self.for_host.discard(task_id)
        self.taken.discard(task_id)


class Mailbox:
    """The boxes of all turns and conversations."""

    def __init__(self, keeper: Keeping | None = None) -> None:
        self._keeper = keeper
        self._turns: dict[tuple[ConversationId, TurnId], TurnBox] = {}
        self._boxes: dict[ConversationId, int] = {}
        """How many of them each conversation has. One that is forgotten has none as a rule, and is
        not looked for among those of all others then."""
        self._pending: dict[ConversationId, Pending] = {}

    # -- turns ---------------------------------------------------------------------------

    def expect(self, conversation_id: ConversationId, turn_id: TurnId, task_id: TaskId) -> None:
        """The turn waits for this task."""
        key = conversation_id, turn_id
        box = self._turns.get(key)
        if box is None:
            box = self._turns[key] = TurnBox()
            self._boxes[conversation_id] = self._boxes.get(conversation_id, 0) + 1
        box.expected[task_id] = None

    def tell_turn(
        self,
        conversation_id: ConversationId,
        turn_id: TurnId,
        task_id: TaskId,
        update: TurnUpdate,
    ) -> None:
        """The turn no longer waits for this task, for this reason."""
        box = self._turns.get((conversation_id, turn_id))
        if box is None or task_id not in box.expected:
            return  # the turn was interrupted meanwhile, and has its answers
        del box.expected[task_id]
        box.updates += (update,)
        if box.waiters:
            wake_all(box.waiters)

    async def wait_for_turn(
        self,
        conversation_id: ConversationId,
        turn_id: TurnId,
        cancellation: CancelToken | None = None,
    ) -> TurnNews:
        """The oldest update of the turn, else settled, else cancelled, else wait for one."""
        while True:  # re-checks after each wake-up: a wake-up is a hint, never the news itself
            box = self._turns.get((conversation_id, turn_id))
            if box is None:
                return _SETTLED
            if box.updates:
                update, box.updates = box.updates[0], box.updates[1:]
                if not box.updates and not box.expected:
                    # A turn that has its answers leaves nothing behind.
                    self._drop(conversation_id, turn_id)
                return update
            if cancellation is not None and cancellation.is_cancelled:
                return TurnCancelled(cancellation.reason)
            if cancellation is None:
                await sleep_among(box.waiters)
            else:
                await sleep_among(box.waiters, cancellation.sleepers)

    def close_turn(self, conversation_id: ConversationId, turn_id: TurnId) -> list[TurnUpdate]:
        """Forget the turn; returns what it was not told yet."""
        box = self._turns.get((conversation_id, turn_id))
        if box is None:
            return []
        self._drop(conversation_id, turn_id)
        wake_all(box.waiters)
        return list(box.updates)

    def expected(self, conversation_id: ConversationId, turn_id: TurnId) -> tuple[TaskId, ...]:
        """The tasks that the turn waits for, in the order of their launch."""
        box = self._turns.get((conversation_id, turn_id))
        return tuple(box.expected) if box is not None else ()

    def _drop(self, conversation_id: ConversationId, turn_id: TurnId) -> None:
        del self._turns[conversation_id, turn_id]
        left = self._boxes[conversation_id] - 1
        if left:
            self._boxes[conversation_id] = left
        else:
            del self._boxes[conversation_id]

    # -- conversations -----------------------------------------------------------------------

    def post(self, resolution: Resolution, *, to_loop: bool) -> None:
        """Keep a background result until it is taken and acknowledged."""
        self.restore(resolution, to_loop=to_loop)
        if self._keeper is not None:
            self._keeper.posted(resolution, to_loop=to_loop)

    def restore(self, resolution: Resolution, *, to_loop: bool) -> None:
        """Keep a result that the store has already."""
        pending = self._pending.get(resolution.conversation_id)
        if pending is None:
            pending = self._pending[resolution.conversation_id] = Pending()
        pending.results[resolution.task_id] = resolution
        if not to_loop:
            pending.for_host.add(resolution.task_id)

    def take(self, conversation_id: ConversationId) -> LoopUpdates:
        """All results for the loop, in completion order; given again until acknowledged."""
        pending = self._pending.get(conversation_id)
        if pending is None:
            return _NO_UPDATES
        updates = LoopUpdates(tuple(pending.for_loop()))
        pending.taken.update(updates.ids)
        return updates

    def take_for_host(self, conversation_id: ConversationId | None) -> list[Resolution]:
        """All results in manual delivery; given again until acknowledged."""
        found: list[Resolution] = []
        for pending in self._of(conversation_id):
            found += [item for item in pending.results.values() if item.task_id in pending.for_host]
            pending.taken.update(pending.for_host)
        return found

    def covered(
        self, conversation_id: ConversationId, task_ids: Collection[TaskId]
    ) -> list[Resolution]:
        """The results that `ack` of these would drop."""
        pending = self._pending.get(conversation_id)
        if pending is None:
            return []
        ids = [one for one in task_ids if one in pending.taken]
        ids += [one for one, by in pending.claims.items() if by in task_ids]
        return [pending.results[one] for one in ids if one in pending.results]

    def ack(self, conversation_id: ConversationId, task_ids: Iterable[TaskId]) -> None:
        """These results are delivered, and with them what these tasks had claimed."""
        pending = self._pending.get(conversation_id)
        if pending is None:
            return
        for task_id in task_ids:
            if task_id in pending.taken:
                pending.drop(task_id)
            for claimed in [one for one, by in pending.claims.items() if by == task_id]:
                del pending.claims[claimed]
                pending.drop(claimed)
        if not pending.results:
            del self._pending[conversation_id]

    def claim(self, conversation_id: ConversationId, task_id: TaskId, by: TaskId) -> None:
        """Task `by` has read this result and will deliver it as part of its own."""
        pending = self._pending.get(conversation_id)
        if pending is not None and task_id in pending.results and task_id not in pending.for_host:
            pending.claims[task_id] = by

    def free_claims(self, conversation_id: ConversationId, by: TaskId) -> None:
        """Task `by` has not ended well: it delivers nothing."""
        pending = self._pending.get(conversation_id)
        if pending is None or not pending.claims:
            return
        for claimed in [one for one, who in pending.claims.items() if who == by]:
            del pending.claims[claimed]

    def wants_turn(self, conversation_id: ConversationId) -> tuple[TaskId, ...]:
        """The results that ask for a turn of their own."""
        pending = self._pending.get(conversation_id)
        if pending is None:
            return ()
        return tuple(
            [
                item.task_id
                for item in pending.for_loop()
                if item.on_complete is not OnComplete.NOTIFY
            ]
        )

    def redirect(
        self,
        conversation_id: ConversationId,
        task_id: TaskId,
        *,
        on_complete: OnComplete,
        to_loop: bool,
    ) -> bool:
        """Change how an undelivered result is delivered; False if there is none."""
        pending = self._pending.get(conversation_id)
        found = pending.results.get(task_id) if pending is not None else None
        if pending is None or found is None:
            return False
        pending.for_host.discard(task_id)
        self.post(replace(found, on_complete=on_complete), to_loop=to_loop)
        return True

    def holds(self, conversation_id: ConversationId, task_id: TaskId) -> bool:
        """Whether a result of this task is still to be delivered."""
        pending = self._pending.get(conversation_id)
        return pending is not None and task_id in pending.results

    def undelivered(self, conversation_id: ConversationId | None) -> int:
        """How many results nobody has taken and acknowledged."""
        if conversation_id is None:
            return sum([len(pending.results) for pending in self._pending.values()])
        pending = self._pending.get(conversation_id)
        return len(pending.results) if pending is not None else 0

    def forget(self, conversation_id: ConversationId) -> None:
        """Drop everything of a conversation."""
        self._pending.pop(conversation_id, None)
        if conversation_id in self._boxes:
            for key in [key for key in self._turns if key[0] == conversation_id]:
                self.close_turn(*key)

    def _of(self, conversation_id: ConversationId | None) -> Collection[Pending]:
        if conversation_id is None:
            return self._pending.values()
        pending = self._pending.get(conversation_id)
        return (pending,) if pending is not None else ()

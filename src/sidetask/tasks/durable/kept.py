"""The tasks of a manager in a store that survives the process: kept, let go, taken up again.

Another process may decide a question, cancel or detach a task, or say something. It writes that
down and this one hears of it: what the store says is looked at again whenever somebody else has
written to a conversation that is open here. An order is open until what it asks for is on the disk,
and is closed with that: what is said with the message, a cancel with the end of its task. So a
crash in between loses none, and what is said is said once.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeAlias

from sidetask.core.errors import StoreError, StoreUnavailableError
from sidetask.core.events import TaskCancelled
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message, UserMessage, user_message
from sidetask.stores.base import Record, Store
from sidetask.tasks.aio.spawn import spawn, wait_done
from sidetask.tasks.aio.telling import PAUSE
from sidetask.tasks.durable.below import Stay, close, find_below
from sidetask.tasks.durable.keeper import StoreKeeper
from sidetask.tasks.durable.reviving import read_left, take_up
from sidetask.tasks.elsewhere import Elsewhere
from sidetask.tasks.parts.records import Ending
from sidetask.tasks.stored import APPROVALS, ORDERS, Order
from sidetask.tasks.wiring import Parts

GoOn: TypeAlias = Callable[[Callable[[], None]], None]
"""Begins a turn for what is unanswered, and calls what it is given when that is kept."""

_log = logging.getLogger(__name__)


class KeptTasks:
    """What a durable store adds to a manager."""

    def __init__(
        self,
        parts: Parts,
        keeper: StoreKeeper,
        store: Store,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._parts = parts
        self._keeper = keeper
        self._store = store
        self.elsewhere = elsewhere
        """Who has calls carried out by other processes; None: there are none."""
        self._unlisten: Sequence[Callable[[], None]] = ()
        self.on_taken: Callable[[ConversationId], None] = lambda _: None
        """Called when a conversation turns out to be another process's."""
        if elsewhere is not None:
            elsewhere.owning.on_taken = self._give_up
        self._changed: dict[ConversationId | None, None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._says: dict[ConversationId, Callable[[UserMessage], None]] = {}
        self._goes_on: dict[ConversationId, GoOn] = {}
        self._under_way: dict[str, ConversationId] = {}
        """Orders that are being carried out."""
        self._said: dict[int, tuple[UserMessage, Record[Order]]] = {}
        """Messages that were ordered and are not in the history yet, by identity."""

    async def revive(self, conversation_id: ConversationId) -> None:
        """Take up what an earlier process has left: results nobody has taken, tasks that had not
        ended, open questions. Open the conversation before, with its tools and its history; what
        wants a turn asks for it from here on. A second time it finds nothing new.

        Raises:
            StoreError: It could not be read; nothing was taken up.
        """
        left = await read_left(self._store, conversation_id, self.elsewhere)
        below = await find_below(self._store, conversation_id)
        take_up(self._parts, left, self.elsewhere)
        close(self._keeper, below, self._parts.outbox.now())

    def stay(self, above: ConversationId, task_id: TaskId) -> Stay:
        """Of a conversation that is about to be opened for a task: of the live agent `above`, or
        one that such a task has started."""
        return Stay(self._keeper, above, task_id, self._parts.outbox.now)

    def let_go(self, conversation_id: ConversationId, *, is_taken: bool = False) -> None:
        """From now on nothing of its tasks is kept: `revive` finds them as they are now. For a
        conversation whose tasks are about to be stopped, and shall go on elsewhere. `is_taken`:
        another process has it, and what its tasks still write to the state is refused."""
        self._keeper.let_go(conversation_id)
        if self.elsewhere is not None:
            self.elsewhere.let_go(conversation_id, is_taken=is_taken)

    def covered(
        self, conversation_id: ConversationId, task_ids: Collection[TaskId]
    ) -> tuple[TaskId, ...]:
        """The results that are delivered when the history tells of these tasks."""
        self._keeper.pay()
        covered = self._parts.mailbox.covered(conversation_id, task_ids)
        return tuple([each.task_id for each in covered])

    def done_by(self, message: Message) -> tuple[Record[Order], ...]:
        """What is done when this message is written, to be written with it: the order to say it,
        if there was one."""
        found = self._said.get(id(message)) if self._said else None
        return () if found is None else (self._keeper.as_done(found[1]),)

    def said(self, message: Message) -> None:
        """The message is written."""
        self._said.pop(id(message), None)

    def attend(
        self,
        conversation_id: ConversationId,
        say: Callable[[UserMessage], None],
        go_on: GoOn,
    ) -> None:
        """Carry out what other processes order of a conversation that is open here, and have
        ordered before; `say` takes what they say, and `go_on` goes on with a turn that was cut
        off."""
        if conversation_id in self._under_way.values():  # when it was open before
            self._under_way = {
                order: key for order, key in self._under_way.items() if key != conversation_id
            }
        self._says[conversation_id] = say
        self._goes_on[conversation_id] = go_on
        self._heard(conversation_id)

    def go_on_later(self, conversation_id: ConversationId) -> None:
        """A turn is cut off that whoever has the conversation next shall go on with."""
        self._keeper.order(conversation_id, Order(kind="go_on"))

    def hush(self, conversation_id: ConversationId) -> None:
        """No process that has not opened the conversation shall do so for the results that ask
        for a turn now."""
        box = self._parts.mailbox
        wanted = box.wants_turn(conversation_id)
        for result in box.take(conversation_id).items:
            if result.task_id in wanted:
                self._keeper.hush(result)

    async def look_out(self) -> None:
        """Look who else shares the store, before the first conversation is opened. Twice is fine.

        Raises:
            StoreError: It cannot be asked.
        """
        if self.elsewhere is not None:
            await self.elsewhere.open()

    def leave(self, conversation_id: ConversationId) -> None:
        """Orders wait until somebody attends to them."""
        self._says.pop(conversation_id, None)
        self._goes_on.pop(conversation_id, None)

    def open(self, conversation_id: ConversationId) -> None:
        """The conversation is this process's: its tasks are kept, and what other processes decide
        is heard of. Twice is fine."""
        self._keeper.take_up(conversation_id)
        if self.elsewhere is not None:
            self.elsewhere.take_up(conversation_id)
        if not self._unlisten:
            taken = self._store.on_taken(self._give_up)
            self._unlisten = self._store.listen(self._heard), taken

    async def close(self, grace: float) -> None:
        """Hear of nothing more. Decisions that are being entered get `grace` seconds."""
        for end in self._unlisten:
            end()
        self._unlisten = ()
        if self._looking is not None:
            self._looking.cancel()
            await wait_done(self._looking)
        await self._keeper.close(grace)
        if self.elsewhere is not None:
            await self.elsewhere.close(grace)

    def _give_up(self, conversation_id: ConversationId) -> None:
        self.on_taken(conversation_id)

    def _heard(self, conversation_id: ConversationId | None) -> None:
        concerned = self._says if conversation_id is None else conversation_id in self._says
        if not concerned and not self._parts.approvals.open(conversation_id):
            return
        self._changed[conversation_id] = None
        if self._looking is None:
            self._looking = spawn(self._look(), name="what others did", done=self._looked)

    def _looked(self, _: "asyncio.Task[None]") -> None:
        self._looking = None

    async def _look(self) -> None:
        while self._changed:
            which = next(iter(self._changed))
            del self._changed[which]
            if which is None:  # one by one: what cannot be read of one holds up no other
                asked = [each.conversation_id for each in self._parts.approvals.open(None)]
                self._changed |= dict.fromkeys([*self._says, *asked])
                continue
            try:
                await self._look_at(which)
            except StoreUnavailableError:  # it is news still when the store is back
                self._changed[which] = None
                await asyncio.sleep(PAUSE)
            except StoreError:
                _log.warning("what others did of %s is not known", which, exc_info=True)

    async def _look_at(self, conversation_id: ConversationId) -> None:
        owning = None if self.elsewhere is None else self.elsewhere.owning
        if owning is not None and await owning.was_taken(conversation_id):
            self.on_taken(conversation_id)
            return
        for approval in self._parts.approvals.open(conversation_id):
            found = await self._store.get(APPROVALS, conversation_id, approval.id)
            if found is not None and not found.open:
                self._parts.asking.enter(found.value)
        await self._carry_out_orders(conversation_id)

    async def _carry_out_orders(self, conversation_id: ConversationId) -> None:
        if conversation_id not in self._says:
            return
        for order in await self._store.find(ORDERS, conversation_id=conversation_id, open=True):
            say = self._says.get(conversation_id)
            if say is None or order.id in self._under_way:
                continue
            self._under_way[order.id] = conversation_id
            if order.value.kind == "go_on":
                self._goes_on[conversation_id](partial(self._keeper.done, order))
            else:
                self._carry_out(order, say)

    def _carry_out(self, order: Record[Order], say: Callable[[UserMessage], None]) -> None:
        asked = order.value
        if asked.kind == "send":
            message = user_message(asked.text)
            self._said[id(message)] = message, order
            say(message)
            return
        record = None if asked.task_id is None else self._parts.ledger.records.find(asked.task_id)
        if record is None or record.ended:
            self._keeper.done(order)  # it ended meanwhile
        elif asked.kind == "detach":
            self._parts.runner.detach(record, "host")
            self._keeper.done(order)
        else:
            self._keeper.done_with(record, order)
            reason = asked.text or f"{asked.by or 'another process'} cancelled it"
            self._parts.runner.stop(record, Ending(TaskCancelled, reason))

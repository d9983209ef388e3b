"""Where a turn writes: messages into the history, and everything that happens into the outbox."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

from sidetask.agents.conversation import Conversation
from sidetask.agents.quota import Quota
from sidetask.core.events import (
    AssistantMessageCommitted,
    Event,
    LiveEvent,
    NotificationsCommitted,
    ToolMessageCommitted,
    UserMessageCommitted,
)
from sidetask.core.ids import RunId, TaskId, TurnId, value
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    NotificationMessage,
    ToolMessage,
    UserMessage,
)
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import TaskManager

if TYPE_CHECKING:  # for who keeps tasks: every program has this module
    from sidetask.tasks.durable.kept import KeptTasks


@value
class Surroundings:
    """What turns need of the runtime."""

    manager: TaskManager
    store: Store
    outbox: Outbox
    quota: Quota
    kept: "KeptTasks | None" = None
    """Where tasks outlive the process; None: they do not."""


current_turn: "ContextVar[TurnLog | None]" = ContextVar("current_turn", default=None)
"""The turn whose code runs, and in its tasks the one that started them. For who logs."""


class TurnLog:
    """The pen of one turn."""

    __slots__ = (
        "_journal",
        "_kept",
        "_store",
        "background",
        "conversation",
        "manager",
        "parent_id",
        "quota",
        "run_id",
        "turn_id",
    )

    def __init__(
        self,
        around: Surroundings,
        conversation: Conversation,
        turn_id: TurnId,
        run_id: RunId | None = None,
    ) -> None:
        self._store = around.store
        self._journal = around.outbox.journal(conversation.id)
        self._kept = around.kept
        self.manager = around.manager
        self.quota = around.quota
        self.conversation = conversation
        self.turn_id = turn_id
        self.run_id = run_id or RunId(f"run:{turn_id}")
        self.parent_id = conversation.parent_id
        self.background = False
        """Nobody waits for this turn: at a gate, those that somebody asked for go first."""

    def fact(self, made: type[Event], /, **fields: object) -> None:
        """Tell a fact of the turn: its class, and its fields by name."""
        self._journal.enter(self, made, fields)

    def live(self, made: type[LiveEvent], /, **fields: object) -> None:
        """As `fact`, of what is told and not stored."""
        self._journal.enter_live(self, made, fields)

    async def commit(self, message: Message, *, ack: tuple[TaskId, ...] = ()) -> None:
        """Write a message, and with it that these results are delivered; then tell."""
        conversation, covered, done = self.conversation, ack, ()
        if conversation.unwritten:
            await self.write_rest()
        if self._kept is not None:
            done = self._kept.done_by(message)
            covered = self._covered(ack)
        at = len(conversation.history)
        await self._store.commit_turn(conversation.id, (message,), ack=covered, closing=done, at=at)
        if done and self._kept is not None:
            self._kept.said(message)
        self._keep(message, ack)
        self._journal.enter(self, _COMMITTED[type(message)], {"message": message})

    async def write_rest(self) -> None:
        """Write what `keep_unwritten` has kept."""
        conversation = self.conversation
        unwritten, at = conversation.unwritten, len(conversation.history)
        messages = [message for message, _ in unwritten]
        acks = [id for _, covered in unwritten for id in covered]
        await self._store.commit_turn(conversation.id, messages, ack=acks, at=at - len(messages))
        conversation.unwritten = ()
        for message in messages:
            self.fact(_COMMITTED[type(message)], message=message)

    def keep_unwritten(self, message: Message, *, ack: tuple[TaskId, ...] = ()) -> None:
        """The half of a commit that cannot fail: the history in this process. The other half is
        done with the next message."""
        self.conversation.unwritten += ((message, self._covered(ack)),)
        self._keep(message, ack)

    def _covered(self, ack: tuple[TaskId, ...]) -> tuple[TaskId, ...]:
        """With those that these have read for themselves."""
        if not ack or self._kept is None:
            return ack
        return self._kept.covered(self.conversation.id, ack)

    def _keep(self, message: Message, ack: tuple[TaskId, ...]) -> None:
        self.conversation.context.append(message)
        if ack:
            self.manager.ack(self.conversation.id, ack)


_COMMITTED: dict[type[Message], type[Event]] = {
    UserMessage: UserMessageCommitted,
    AssistantMessage: AssistantMessageCommitted,
    ToolMessage: ToolMessageCommitted,
    NotificationMessage: NotificationsCommitted,
}

"""Writing down what a live agent would have to know again.

Messages, facts and summaries are written by the turns themselves, tasks and questions by their
manager. Here: the conversation's record, its turns, the state; and results that nobody has taken,
when it is let go.

* A store that survives the process is written through: each in the tick of its event, so that one
  is never there without the other.
* A store in memory costs nothing until somebody disconnects; then all is written at once.
"""

from collections.abc import Callable
from dataclasses import replace

from sidetask.agents.conversation import Conversation
from sidetask.core.budget import Spent
from sidetask.core.events import (
    Event,
    ModelStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    TaskEnded,
    TaskEvent,
    UsageRecorded,
    UserMessageCommitted,
)
from sidetask.core.ids import RunId
from sidetask.core.messages import UserMessage
from sidetask.core.usage import Usage
from sidetask.runtime.keeping.notes import RUNNING, TURNS, TurnNote
from sidetask.runtime.keeping.states import KeptBoard
from sidetask.state.state import BorrowedState
from sidetask.stores.base import ConversationRecord, Record, Store, title_of
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.stored import result_record

SUB_AGENT = "sub-agent"
"""The status of a conversation that somebody else's task was."""


class Keeper:
    """Keeps one conversation."""

    __slots__ = (
        "_begin",
        "_board",
        "_conversation",
        "_last",
        "_manager",
        "_outbox",
        "_record",
        "_run_id",
        "_store",
        "_untap",
    )

    def __init__(  # noqa: PLR0913 - each is a part of what it keeps
        self,
        conversation: Conversation,
        manager: AsyncTaskManager,
        outbox: Outbox,
        store: Store,
        *,
        user: str | None,
        record: ConversationRecord | None = None,
        board: KeptBoard | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        """`begin` is called when the conversation is first written down."""
        self._conversation = conversation
        self._manager = manager
        self._outbox = outbox
        self._store = store
        guest = isinstance(conversation.state, BorrowedState)
        now = outbox.now()
        self._record = record or ConversationRecord(
            id=conversation.id,
            agent=conversation.config.name,
            user=user,
            status=SUB_AGENT if guest else "open",
            created_at=now,
            updated_at=now,
        )
        self._last = Usage()
        self._run_id = RunId("")
        self._untap: Callable[[], None] | None = None
        self._begin = begin
        self._board = board
        if board is None and not guest:
            self._board = KeptBoard(conversation.state.own, store, conversation.id, user)

    def write_through(self) -> None:
        """From now on, write everything as it happens."""
        self._untap = self._outbox.journal(self._conversation.id).tap(self._hear)
        if self._board is not None:
            self._board.listen()

    def go_on(self, note: TurnNote) -> None:
        """The last turn was this one."""
        self._run_id, self._last = note.run_id, note.last_usage

    def close(self) -> None:
        """Write nothing more."""
        untap, self._untap = self._untap, None
        if untap is not None:
            untap()
        if self._board is not None:
            self._board.mute()

    async def keep(self) -> None:
        """Write all that somebody who takes it up again would miss, and wait until it is safe.

        Raises:
            ConversationTakenError: Another process has gone on with it; nothing was written.
            StoreError: The store does not take it; it can be tried again.
        """
        conversation, at = self._conversation, self._outbox.now()
        if self._store.durable:  # a record of less turns than there are would take others' away
            await self._store.commit_turn(conversation.id, (), at=len(conversation.history))
        self._outbox.journal(conversation.id).catch_up()
        self._save()
        if conversation.turns:
            note = self._note(conversation.usage, conversation.last_usage)
            self._put_note("ended", note)
        if self._manager.kept is None:
            box = self._manager.mailbox
            for resolution in box.take(conversation.id).items:
                self._store.put(result_record(resolution, to_loop=True, at=at))
            for resolution in box.take_for_host(conversation.id):
                self._store.put(result_record(resolution, to_loop=False, at=at))
        if self._board is not None:
            self._board.save()
        await self._store.stored()

    # -- as it happens -------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        if event.live:
            return
        if self._board is not None and isinstance(event, TaskEnded):
            self._board.pay()
        match event:
            case UsageRecorded(usage=usage):
                self._last = self._last + usage
                self._note_turn(RUNNING)
            case RunStarted(run_id=run_id) if run_id is not None:
                self._run_id, self._last = run_id, Usage()
                self._save()
                self._note_turn(RUNNING)
            case RunCompleted() | RunFailed() | RunCancelled() if event.run_id == self._run_id:
                self._save()
                self._note_turn(event.kind.removeprefix("run_"))
            case UserMessageCommitted(message=UserMessage() as message) if not self._record.title:
                self._record = replace(self._record, title=title_of(message))
                self._save()
            case ModelStarted() | TaskEvent() if self._spent is not None:
                self._note_turn(RUNNING)
            case _:
                pass

    def _save(self) -> None:
        conversation = self._conversation
        record = self._record
        if not record.title:
            said = [each for each in conversation.history[:2] if isinstance(each, UserMessage)]
            record = replace(record, title=title_of(said[0]) if said else "")
        self._record = replace(record, turns=conversation.turns, updated_at=self._outbox.now())
        self._store.save(self._record)
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()

    def _note_turn(self, status: str) -> None:
        if status == RUNNING and self._conversation.parent_id is not None:
            return  # it ends with the task that it is for: nobody takes it up and closes the note
        self._put_note(status, self._note(self._conversation.usage, self._last))

    def _note(self, usage: Usage, last_usage: Usage) -> TurnNote:
        return TurnNote(run_id=self._run_id, usage=usage, last_usage=last_usage, spent=self._spent)

    @property
    def _spent(self) -> Spent | None:
        meter, budget = self._conversation.meter, self._conversation.config.budget
        return None if meter is None or budget is None else meter.spent

    def _put_note(self, status: str, note: TurnNote) -> None:
        conversation = self._conversation
        self._store.put(
            Record(
                kind=TURNS,
                conversation_id=conversation.id,
                id=f"turn-{conversation.turns}",
                status=status,
                at=self._outbox.now(),
                value=note,
            )
        )

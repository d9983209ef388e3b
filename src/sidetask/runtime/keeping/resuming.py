"""Taking a conversation up again, as its store has it.

What a process that was killed has left half done is put in order first: calls that were never
answered get an answer, a run that never ended gets its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn.calls import receipt
from sidetask.agents.turn.log import Surroundings, TurnLog
from sidetask.core.errors import InvalidInputError
from sidetask.core.events import RunCancelled
from sidetask.core.ids import CallId, ConversationId, TaskId, TurnId, value
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    NotificationMessage,
    ToolMessage,
    ToolResult,
)
from sidetask.runtime.keeping.notes import TURNS, TurnNote
from sidetask.stores.base import (
    COMPACTIONS,
    Compaction,
    ConversationRecord,
    Record,
    Store,
)
from sidetask.tasks.durable.reviving import find_calls
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.stored import RESULTS
from sidetask.tasks.values import Resolution

CUT = "cut"
"""The status of a turn whose process ended, once it was taken up again."""
GONE = "the process that carried it out has ended"
LOST = "Not answered: the process ended during the call. Whether it had its effect is unknown."

_PAGE = 1000


@value(kw_only=True)
class Kept:
    """All that a store has of a conversation."""

    record: ConversationRecord | None
    """None: no turn of it was ever begun."""
    seq: int
    messages: Sequence[Message]
    compactions: Sequence[Compaction]
    last_turn: Record[TurnNote] | None
    results: Sequence[Record[Resolution]]
    going_on: Mapping[CallId, TaskId]
    """Calls whose end will be told by a task that outlived its process."""

    @property
    def was_cut_off(self) -> bool:
        """Its process ended in the middle of a turn."""
        return self.last_turn is not None and self.last_turn.open

    def check(self, agent: str, user: str | None) -> None:
        """Refuse to go on with another agent, or for another user.

        Raises:
            InvalidInputError: It is somebody else's.
        """
        record = self.record
        if record is None:
            return
        if record.agent != agent:
            raise InvalidInputError(
                f"{record.id} is a conversation with {record.agent!r}, not with {agent!r}: use"
                " another conversation_id"
            )
        if user is not None and user != record.user:
            raise InvalidInputError(f"{record.id} is a conversation of another user")


async def find(store: Store, key: ConversationId) -> Kept | None:
    """What the store has of a conversation; None: it is a new one."""
    record = await store.conversation(key)
    seq = await store.last_seq(key)
    if record is None and not seq:
        return None
    return Kept(
        record=record,
        seq=seq,
        messages=await store.history(key),
        compactions=[each.value for each in await _all_compactions(store, key)],
        last_turn=await store.get(TURNS, key, f"turn-{record.turns}") if record else None,
        results=()
        if store.durable  # the task manager keeps them, and takes them up itself
        else await store.find(RESULTS, conversation_id=key, open=True, limit=_PAGE),
        going_on=await find_calls(store, key) if store.durable else {},
    )


async def _all_compactions(store: Store, key: ConversationId) -> Sequence[Record[Compaction]]:
    found: list[Record[Compaction]] = []
    while True:
        last = found[-1] if found else None
        page = await store.find(COMPACTIONS, conversation_id=key, after=last, limit=_PAGE)
        found += page
        if len(page) < _PAGE:
            return found


async def resume(
    conversation: Conversation, kept: Kept, manager: AsyncTaskManager, around: Surroundings
) -> None:
    """Make a conversation what it was, before anything of it runs."""
    around.outbox.journal(conversation.id).seq = kept.seq
    conversation.history.extend(kept.messages)
    for message in kept.messages:
        if isinstance(message, AssistantMessage):
            conversation.call_ids.update(dict.fromkeys([call.id for call in message.calls]))
    conversation.context.indices = tuple([each.end for each in kept.compactions[:-1]])
    for compaction in kept.compactions[-1:]:
        conversation.context.resume(compaction.summary, compaction.end)
    if kept.record is not None:
        conversation.turns = kept.record.turns
    if kept.last_turn is not None:
        conversation.usage = kept.last_turn.value.usage
        conversation.last_usage = kept.last_turn.value.last_usage
        spent = kept.last_turn.value.spent
        if spent is not None and conversation.config.budget is not None:
            assert conversation.meter is not None
            conversation.meter.go_on(spent)
    await _put_in_order(conversation, kept, around)
    for result in kept.results:
        if not manager.mailbox.holds(conversation.id, result.value.task_id):
            manager.mailbox.restore(result.value, to_loop=result.status != "host")


async def _put_in_order(conversation: Conversation, kept: Kept, around: Surroundings) -> None:
    last = kept.last_turn
    run_id = None if last is None else last.value.run_id
    log = TurnLog(around, conversation, TurnId(f"turn-{conversation.turns}"), run_id)
    unanswered = _unanswered(conversation.history, kept.going_on)
    if unanswered is not None:
        await log.commit(unanswered)
    if last is not None and last.open:
        around.store.put(replace(last, status=CUT))  # in the tick of its end
        log.fact(RunCancelled, reason=GONE)
    if last is not None and (last.open or last.status == CUT):
        conversation.unheard = _unheard(conversation.history)


def _unheard(history: Sequence[Message]) -> tuple[TaskId, ...]:
    """The results that a turn began with which nobody had asked for, if it came no further."""
    if len(history) < 2 or not isinstance(history[-1], NotificationMessage):
        return ()
    before = history[-2]
    if not isinstance(before, AssistantMessage) or before.calls:
        return ()
    return tuple([item.task_id for item in history[-1].items])


def _unanswered(
    history: Sequence[Message], going_on: Mapping[CallId, TaskId]
) -> ToolMessage | None:
    """The answer to the last calls, if nothing has answered them."""
    last = history[-1] if history else None
    if not isinstance(last, AssistantMessage) or not last.calls:
        return None
    results = [
        ToolResult(call.id, call.name, receipt(going_on[call.id]))
        if call.id in going_on
        else ToolResult(call.id, call.name, LOST, is_error=True)
        for call in last.calls
    ]
    return ToolMessage(tuple(results))

"""What is true after every crash, of any story, when its next life has come to rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidetask.core.events import (
    AssistantMessageCommitted,
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    TaskCancelled,
    TaskDenied,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from sidetask.core.ids import ConversationId
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    NotificationMessage,
    ToolMessage,
    UserMessage,
)
from sidetask.runtime.keeping.notes import TURNS
from sidetask.stores.base import RUNS, ConversationRecord, Record, StateEntry
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.stored import APPROVALS, ORDERS, RESULTS, SUB_AGENTS, TASKS
from tests.durable.crashes.lives import KEY, USER
from tests.durable.crashes.world import World
from tests.runtime.harness import assert_valid

KINDS: Sequence[Any] = (TASKS, APPROVALS, RESULTS, TURNS, RUNS, ORDERS, SUB_AGENTS)
_TASK_ENDS = (TaskSucceeded, TaskFailed, TaskCancelled, TaskTimedOut, TaskDenied)
_RUN_ENDS = (RunCompleted, RunFailed, RunCancelled)


@dataclass
class Found:
    """All that a store has of a conversation, and what is open of any."""

    record: ConversationRecord | None
    messages: Sequence[Message]
    facts: Sequence[Event]
    records: Sequence[Record[Any]]
    state: Sequence[StateEntry]
    open: Sequence[Record[Any]]
    """Of all conversations."""

    @property
    def answers(self) -> dict[str, str]:
        """What each call was answered, by its id."""
        return {
            result.call_id: result.content
            for message in self.messages
            if isinstance(message, ToolMessage)
            for result in message.results
        }

    @property
    def failures(self) -> list[str]:
        """What went wrong, as the model has read it."""
        answers = [r for m in self.messages if isinstance(m, ToolMessage) for r in m.results]
        wrong = [each.content for each in answers if each.is_error]
        return wrong + [each.content for each in self.told if each.status == "failed"]

    @property
    def told(self) -> list[Any]:
        """The notifications."""
        return [
            item
            for message in self.messages
            if isinstance(message, NotificationMessage)
            for item in message.items
        ]


async def look(store: SqlStore, key: ConversationId = KEY) -> Found:
    """Read it all."""
    found = [each for kind in KINDS for each in await store.find(kind, conversation_id=key)]
    return Found(
        record=await store.conversation(key),
        messages=await store.history(key),
        facts=await store.facts(key),
        records=found,
        state=await store.load_state(key, user=USER),
        open=[each for kind in KINDS for each in await store.find(kind, open=True)],
    )


def check(world: World, found: Found) -> None:
    """All promises."""
    _check_world(world)
    if found.record is None:
        assert not found.messages
        assert not found.facts
        assert not world.events, "what a reader was told is gone"
        assert not world.answers, "an answer was given, and is gone"
        assert not world.said
        return
    assert_valid(found.messages)
    _check_facts(world, found)
    _check_results(found)
    _check_told(world, found)
    left = [f"{e.kind.name} {e.id} of {e.conversation_id} {e.status}" for e in found.open]
    assert not left, f"nobody works on {left}"


def _check_world(world: World) -> None:
    assert not world.repeated, "a finished step ran again"
    assert not world.doubles, "two facts were told under one number"
    assert not world.unheard, "a result is in the history, and nobody is told to read it"
    assert not world.unpaid, f"usage: {world.unpaid}"
    assert {what: n for what, n in world.effects.items() if n > 1} == {}, "it was done twice"


def _check_facts(world: World, found: Found) -> None:
    seqs = [fact.seq for fact in found.facts]
    assert seqs == list(range(1, len(seqs) + 1)), "there is a gap, or a double"
    kept = {fact.seq: fact for fact in found.facts}
    lost = {seq: event for seq, event in world.events.items() if kept.get(seq) != event}
    assert not lost, "a reader was told what is not there"
    # A child begins anew with its parent, under the same id; what it has done is not done again.
    ends = Counter(
        fact.task_id
        for fact in found.facts
        if isinstance(fact, _TASK_ENDS) and fact.parent_id is None
    )
    assert {task: n for task, n in ends.items() if n != 1} == {}, "a task has ended twice"
    begun = Counter(fact.run_id for fact in found.facts if isinstance(fact, RunStarted))
    ended = Counter(fact.run_id for fact in found.facts if isinstance(fact, _RUN_ENDS))
    assert set(begun.values()) <= {1}
    assert begun == ended, "each run has one end"


def _check_results(found: Found) -> None:
    """Each receipt is followed by one result, and each result has its receipt."""
    receipts = {
        call_id: content.split()[5].rstrip(".")
        for call_id, content in found.answers.items()
        if content.startswith("Running in the background as ")
    }
    told = Counter(call_id for item in found.told for call_id in item.call_ids)
    missing = {call: task for call, task in receipts.items() if told[call] == 0}
    missing = {call: task for call, task in missing.items() if not _was_read(found, task)}
    assert not missing, "a result was promised and never told"
    assert {call: n for call, n in told.items() if n > 1} == {}, "a result was told twice"
    both = {call: found.answers.get(call) for call in told if call not in receipts}
    assert not both, "a call was answered with something else than a receipt, and told"
    tasks = {each.id: each for each in found.records if each.kind is TASKS}
    for item in found.told:
        assert item.task_id not in tasks or item.status == tasks[item.task_id].status


def _was_read(found: Found, task_id: str) -> bool:
    """The model has asked for the result by itself, or the host took it."""
    delivered = [e for e in found.records if e.kind is RESULTS and e.id == task_id]
    return bool(delivered) and delivered[0].status == "delivered"


def _check_told(world: World, found: Found) -> None:
    """What somebody was told is so."""
    replies = Counter(m.text for m in found.messages if isinstance(m, AssistantMessage))
    if "history" in world.gone:
        replies = Counter(
            fact.message.text for fact in found.facts if isinstance(fact, AssistantMessageCommitted)
        )
    assert not Counter(world.answers) - replies, "an answer was given, and is gone"
    said = Counter(m.text for m in found.messages if isinstance(m, UserMessage))
    assert {text: said[text] for text in world.said if said[text] != 1} == {}, "what was said"
    for approval in found.records:
        if approval.kind is APPROVALS and approval.id in world.decided:
            assert approval.status == world.decided[approval.id], "a decision is gone"
    state = {entry.key: entry.value for entry in found.state if not entry.deleted}
    gone = {key: value for key, value in world.state.items() if state.get(key) != value}
    assert not gone, "what was written to the state is gone"


def check_stable(before: Found, after: Found) -> None:
    """Another life, which nobody asks anything, changes nothing."""
    assert after.messages == before.messages
    assert after.facts == before.facts
    assert [(e.kind.name, e.id, e.status) for e in after.records] == [
        (e.kind.name, e.id, e.status) for e in before.records
    ]
    assert [(e.key, e.version, e.value) for e in after.state] == [
        (e.key, e.version, e.value) for e in before.state
    ]

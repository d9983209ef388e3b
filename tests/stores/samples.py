"""Facts, messages and records to store."""

from dataclasses import dataclass
from typing import Any

from sidetask.core.events import TaskStarted
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.stores.base import ConversationRecord, Kind, Record, StateEntry
from sidetask.tasks.stored import result_record
from sidetask.tasks.values import Resolution

C, D = ConversationId("c"), ConversationId("d")


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    decided_by: str | None = None


QUESTION = Kind("question", Question, open=frozenset({"open"}), kept=3)


def fact(seq: int, conversation: ConversationId = C, *, at: float = 1.0) -> TaskStarted:
    return TaskStarted(
        seq=seq,
        at=at,
        conversation_id=conversation,
        task_id=TaskId("task-1"),
        call_id=CallId("call-1"),
        name="tool",
        attempt=1,
    )


def result(
    id: str, conversation: ConversationId = C, *, status: str = "loop"
) -> Record[Resolution]:
    value = Resolution(
        task_id=TaskId(id),
        conversation_id=conversation,
        turn_id=None,
        call_ids=(CallId("call-1"),),
        name="crawl",
        status=TaskStatus.SUCCEEDED,
        content="é \N{SNOWMAN}",
        value={"pages": [1, None, 2.5]},
    )
    return result_record(value, to_loop=status == "loop", at=1.0)


def question(
    id: str, status: str = "open", conversation: ConversationId = C, **more: Any
) -> Record[Question]:
    value = Question("may I?", **more)
    return Record(
        kind=QUESTION, conversation_id=conversation, id=id, status=status, at=1.0, value=value
    )


def conversation(
    id: str, *, user: str | None = None, at: float = 1.0, **more: Any
) -> ConversationRecord:
    return ConversationRecord(
        id=ConversationId(id), agent="a", user=user, created_at=1.0, updated_at=at, **more
    )


def entry(key: str, value: Any, version: int = 1, **more: Any) -> StateEntry:
    return StateEntry(key=key, value=value, version=version, at=1.0, **more)

"""Facts, messages and records to store."""

from dataclasses import dataclass, replace
from typing import Any

from sidetask.core.events import TaskStarted
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.stores.base import ConversationRecord, Kind, Record, StateEntry
from sidetask.stores.members import Member
from sidetask.stores.queue import NewJob
from sidetask.tasks.stored import result_record
from sidetask.tasks.values import Resolution

C, D = ConversationId("c"), ConversationId("d")
KEY = "agent/tool"


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


def job(id: str = "task-1:1", of: ConversationId = C, **more: Any) -> NewJob:
    made = NewJob(
        id=id,
        conversation_id=of,
        task_id=TaskId(id.partition(":")[0]),
        key=KEY,
        fingerprint="f",
        on_crash="retry",
        at=1.0,
        data={"arguments": {"x": [1, None, 2.5, "é \0 \ud800"]}},
    )
    return replace(made, **more)


def a_member(id: str, **more: Any) -> Member:
    made = Member(id=id, role="worker", host="h", pid=1, started_at=1.0, version="0")
    return replace(made, tools={KEY: "f"}, concurrency=2, **more)

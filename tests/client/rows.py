"""Rows of tasks and what belongs to them, as a runtime leaves them in a store."""

from dataclasses import replace
from typing import Any

from sidetask.core.ids import ApprovalId, CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DEFAULT_POLICY, TaskKind
from sidetask.stores.members import Member
from sidetask.stores.queue import NewJob
from sidetask.tasks.values import NOTHING, Approval, TaskSnapshot

C = ConversationId("chat-1")
T = TaskId("task-1")
KEY = "clerk/report"
NOW = 1_000_000.0


def a_task(status: TaskStatus = TaskStatus.RUNNING, **more: Any) -> TaskSnapshot:
    made = TaskSnapshot(
        id=T,
        conversation_id=C,
        turn_id=None,
        call_ids=(CallId("call-1"),),
        parent_id=None,
        name="report",
        arguments='{"month": "May"}',
        kind=TaskKind.BACKGROUND,
        detached=False,
        status=status,
        attempt=1,
        policy=DEFAULT_POLICY,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW if status in TERMINAL else None,
        progress=None,
        error=None,
        metadata=NOTHING,
    )
    return replace(made, **more)


def a_job(task: TaskId = T, **more: Any) -> NewJob:
    made = NewJob(
        id=f"{task}:1",
        conversation_id=C,
        task_id=task,
        key=KEY,
        fingerprint="f",
        on_crash="retry",
        at=NOW,
        data={},
    )
    return replace(made, **more)


def an_approval(**more: Any) -> Approval:
    made = Approval(
        id=ApprovalId("approval-1"),
        task_id=T,
        conversation_id=C,
        call=ToolCall.make("report", {"month": "May"}, id="call-1"),
        kind="tool",
        reason="it costs money",
        summary="report(month='May')",
        metadata=NOTHING,
        digest="d",
        created_at=NOW,
    )
    return replace(made, **more)


def a_member(id: str = "worker-1", **more: Any) -> Member:
    made = Member(
        id=id,
        role="worker",
        host="h",
        pid=7,
        started_at=NOW,
        version="1",
        tools={KEY: "f"},
        concurrency=1,
    )
    return replace(made, **more)

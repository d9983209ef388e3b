"""What tasks leave behind, in every store."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sidetask.core.errors import AlreadyDecidedError, ApprovalNotFoundError
from sidetask.core.ids import ApprovalId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall, user_message
from sidetask.core.routing import TaskKind, TaskPolicy
from sidetask.stores.base import Store
from sidetask.tasks.stored import (
    APPROVALS,
    RESULTS,
    TASKS,
    approval_record,
    decide,
    result_record,
    task_record,
)
from sidetask.tasks.values import Approval, Decision, Progress, TaskSnapshot
from tests.stores.samples import QUESTION, C, D, question, result

CALL = ToolCall.make("pay", {"amount": 5}, id="call-1")
ASKED = Approval(
    id=ApprovalId("approval-1"),
    task_id=TaskId("task-1"),
    conversation_id=C,
    call=CALL,
    kind="tool",
    reason="it costs money",
    summary="pay 5",
    metadata={"usd": 5},
    digest=CALL.digest(),
    created_at=1.0,
)
TASK = TaskSnapshot(
    id=TaskId("task-1"),
    conversation_id=C,
    turn_id=None,
    call_ids=(CALL.id,),
    parent_id=None,
    name="pay",
    arguments=CALL.arguments,
    kind=TaskKind.BACKGROUND,
    detached=True,
    status=TaskStatus.QUEUED,
    attempt=1,
    policy=TaskPolicy(on_complete="notify", timeout=3.0),
    created_at=1.0,
    started_at=None,
    finished_at=None,
    progress=None,
    error=None,
    metadata={"a": [1]},
)


def decided(decision: Decision, by: str) -> Approval:
    return replace(ASKED, decision=decision, decided_by=by, decided_at=2.0, note="ok")


async def test_an_approval_is_decided_once_and_a_second_decision_is_told_who_was_first(
    opened: Callable[[], Store], url: str
) -> None:
    store = opened()
    store.put(approval_record(ASKED))
    assert [each.value for each in await store.find(APPROVALS, open=True)] == [ASKED]
    elsewhere = store if url == "memory:" else opened()
    yes = decided(Decision.APPROVED, "ana")
    assert await decide(elsewhere, yes) == yes
    for again in (decided(Decision.DENIED, "bob"), decided(Decision.APPROVED, "ana")):
        with pytest.raises(
            AlreadyDecidedError, match="already approved by ana at 1970-01-01 00:00:02"
        ):
            await decide(store, again)
    assert list(await store.find(APPROVALS, open=True)) == []


async def test_a_decision_on_what_was_never_asked_is_refused(store: Store) -> None:
    with pytest.raises(ApprovalNotFoundError, match="approval-1"):
        await decide(store, decided(Decision.APPROVED, "ana"))
    assert list(await store.find(APPROVALS)) == []


async def test_another_process_sees_the_tasks_that_live(
    opened: Callable[[], Store], url: str
) -> None:
    store = opened()
    running = replace(
        TASK, status=TaskStatus.RUNNING, started_at=2.0, progress=Progress(0.5, "half")
    )
    store.put(task_record(TASK))
    store.put(task_record(replace(TASK, id=TaskId("task-2"), conversation_id=D)))
    store.put(task_record(running))
    await store.stored()
    elsewhere = store if url == "memory:" else opened()
    living = await elsewhere.find(TASKS, conversation_id=C, open=True)
    assert [each.value for each in living] == [running]
    store.put(task_record(replace(running, status=TaskStatus.SUCCEEDED, finished_at=3.0)))
    store.put(task_record(running))  # late: the end stands
    await store.stored()
    assert list(await elsewhere.find(TASKS, conversation_id=C, open=True)) == []
    ended = await elsewhere.get(TASKS, C, "task-1")
    assert ended is not None
    assert (ended.status, ended.at) == ("succeeded", 3.0)


async def test_a_result_may_be_sent_another_way_until_it_is_taken(store: Store) -> None:
    store.put(result("task-1"))
    store.put(result_record(result("task-1").value, to_loop=False, at=2.0))
    waiting = await store.find(RESULTS, conversation_id=C, open=True)
    assert [(each.status, each.value) for each in waiting] == [("host", result("task-1").value)]
    await store.commit_turn(C, [], ack=[TaskId("task-1")])
    assert list(await store.find(RESULTS, conversation_id=C, open=True)) == []


async def test_what_a_message_carries_out_is_closed_with_it_and_written_once(store: Store) -> None:
    store.put(question("q1"))
    done = question("q1", "done")
    for _ in range(2):  # nobody has heard that the first try went well
        await store.commit_turn(C, [user_message("hi")], closing=[done])
    assert list(await store.history(C)) == [user_message("hi")]
    assert await store.get(QUESTION, C, "q1") == done
    await store.commit_turn(C, [user_message("new")], closing=[question("q2", "done")])
    assert list(await store.history(C)) == [user_message("hi"), user_message("new")]


async def test_what_is_told_closes_the_result_and_nothing_else_of_that_name(store: Store) -> None:
    store.put(result("task-1"))
    store.put(result("task-1", D))
    store.put(question("task-1"))
    await store.commit_turn(C, [user_message("told")], ack=[TaskId("task-1")])
    open_results = await store.find(RESULTS, open=True)
    assert [each.conversation_id for each in open_results] == [D]
    assert await store.get(QUESTION, C, "task-1") == question("task-1")


async def test_a_question_is_decided_in_its_own_conversation_alone(store: Store) -> None:
    for of in (C, D):
        store.put(question("q", conversation=of))
    answered = question("q", "approved")
    assert await store.swap(answered, expect="open") == answered
    assert await store.get(QUESTION, D, "q") == question("q", conversation=D)


async def test_each_history_has_its_own_length(store: Store) -> None:
    for at, text in enumerate(("one", "two")):
        await store.commit_turn(D, [user_message(text)], at=at)
    await store.commit_turn(C, [user_message("first")], at=0)
    assert list(await store.history(C)) == [user_message("first")]

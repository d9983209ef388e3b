"""What a restart does with the tasks that an earlier process has left."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sidetask.core.errors import AlreadyDecidedError, StoreUnavailableError
from sidetask.core.ids import TaskId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import Record
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.runner import Scope
from sidetask.tasks.stored import APPROVALS, RESULTS, TASKS, decide
from sidetask.tasks.values import Approval, Completed, Decision, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.durable.lives import Lives
from tests.tasks.harness import TOOLS, C, settle

RETRY = TaskPolicy(idempotent=True, on_crash="retry")
ASK = TaskPolicy(on_crash="ask")


@pytest.fixture
def lives(clock: VirtualClock) -> Lives:
    return Lives(clock)


async def test_a_result_that_nobody_took_is_given_again_until_it_is_part_of_the_history(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("quick", {"value": 7})
    await bench.ended(task)
    assert [each.task_id for each in bench.pending()] == [task]  # taken, and not acknowledged
    bench = await lives.begin()
    [again] = bench.pending()
    assert (again.task_id, again.value) == (task, 7)
    assert bench.kinds() == ["continue_requested"]
    kept = bench.manager.kept
    assert kept is not None
    await lives.disk.commit_turn(C, (), ack=kept.covered(C, [task]))
    bench.manager.ack(C, [task])
    bench = await lives.begin()
    assert bench.pending() == ()
    assert bench.kinds() == []


async def test_what_was_running_fails_with_an_unknown_outcome_and_does_not_run_again(
    lives: Lives,
) -> None:
    ran = 0

    async def pay(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        nonlocal ran
        ran += 1
        await asyncio.sleep(100)
        return Completed("paid", "paid")

    bench = await lives.begin({"pay": pay})
    task = bench.start_in_background("pay")
    await asyncio.sleep(1)
    for life in range(2):
        bench = await lives.begin({"pay": pay})
        [told] = bench.pending()
        assert (told.task_id, told.status, told.error_type) == (
            task,
            "failed",
            "OutcomeUnknownError",
        )
        assert "outcome is unknown" in told.content
        assert bench.told(task) == ([] if life else ["task_failed"])
    assert ran == 1


async def test_what_may_run_twice_runs_again_with_the_same_idempotency_key(lives: Lives) -> None:
    keys: list[tuple[str, int]] = []

    async def fetch(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        keys.append((ctx.idempotency_key, ctx.attempt))
        await asyncio.sleep(100)
        return Completed("fetched", "fetched")

    bench = await lives.begin({"fetch": fetch})
    task = bench.start_in_background("fetch", policy=RETRY)
    await asyncio.sleep(50)
    bench = await lives.begin({"fetch": fetch})
    assert bench.told(task) == ["task_queued"]
    assert (await bench.ended(task)).content == "fetched"
    assert [number for _, number in keys] == [1, 2]
    assert len({key for key, _ in keys}) == 1
    assert bench.told(task) == ["task_queued", "task_started", "task_succeeded"]


async def test_a_finished_step_is_not_run_again_and_one_that_failed_is(lives: Lives) -> None:
    ran: list[str] = []

    async def note(word: str) -> object:
        ran.append(word)
        if word == "two" and ran.count("two") == 1:
            raise OSError("no luck")
        return (word, 1)

    async def stepping(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        got = [await ctx.step("a", note, "one"), await ctx.step("a", note, "another")]
        try:
            got.append(await ctx.step("b", note, "two"))
        except OSError:
            got.append("failed")
        got.append(await ctx.step("c", note, "three"))
        await ctx.step("end", asyncio.sleep, 100)
        return Completed(None, str(got))

    bench = await lives.begin({"stepping": stepping})
    task = bench.start_in_background("stepping", policy=RETRY)
    await asyncio.sleep(50)
    bench = await lives.begin({"stepping": stepping})
    told = await bench.ended(task)
    assert ran == ["one", "another", "two", "three", "two"]
    # A first run gets what a second one would: lists, as JSON has no tuples.
    assert told.content == "[['one', 1], ['another', 1], ['two', 1], ['three', 1]]"


async def test_a_step_that_returns_no_json_is_refused_by_its_name(lives: Lives) -> None:
    async def strange() -> object:
        return object()

    async def stepping(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await ctx.step("odd", strange)
        return Completed(None, "")

    bench = await lives.begin({"stepping": stepping})
    told = await bench.ended(bench.start_in_background("stepping"))
    assert (told.status, told.error_type) == ("failed", "InvalidInputError")
    assert "'odd'" in told.content


async def test_what_must_not_run_twice_begins_when_its_row_is_safe(lives: Lives) -> None:
    began: list[str] = []

    async def begins(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        began.append(call.name)
        return Completed(None, "")

    bench = await lives.begin({"pay": begins, "fetch": begins})
    lives.disk.slow = asyncio.Event()
    bench.start_in_background("pay")
    bench.start_in_background("fetch", policy=RETRY)
    await asyncio.sleep(1)
    assert began == ["fetch"]
    lives.disk.slow.set()
    await bench.idle()
    assert began == ["fetch", "pay"]


async def test_what_was_queued_begins(lives: Lives) -> None:
    bench = await lives.begin()
    bench.start_in_background("sleep", {"seconds": 100}, policy=TaskPolicy(cap=1))
    second = bench.start_in_background("sleep", {"seconds": 1}, policy=TaskPolicy(cap=1))
    await asyncio.sleep(1)
    bench = await lives.begin()
    assert (await bench.ended(second)).status == "succeeded"
    assert bench.told(second) == ["task_started", "task_succeeded"]


async def test_a_person_is_asked_whether_it_runs_again(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 10}, policy=ASK)
    await asyncio.sleep(1)
    bench = await lives.begin()
    [asked] = bench.handle.approvals(C)
    assert (asked.kind, asked.task_id) == ("crash", task)
    bench = await lives.begin()  # the question survives, too
    [again] = bench.handle.approvals(C)
    assert again == asked
    bench.handle.approve(asked.id, by="ana")
    assert (await bench.ended(task)).status == "succeeded"
    assert bench.record(task).attempt == 2


async def test_an_open_question_is_open_again_and_its_answer_runs_the_task(lives: Lives) -> None:
    bench = await lives.begin()
    yes = bench.start_in_background("gated", {"kinds": ["tool", "money"]})
    no = bench.start_in_background("gated")
    await settle()
    bench.handle.approve(bench.handle.approvals(C)[0].id, by="ana")
    await settle()
    bench = await lives.begin()
    left = bench.handle.approvals(C)
    assert [(each.task_id, each.kind) for each in left] == [(yes, "money"), (no, "tool")]
    bench.handle.approve(left[0].id, by="ana")
    bench.handle.deny(left[1].id, "too dear", by="bob")
    assert (await bench.ended(yes)).status == "succeeded"
    denied = await bench.ended(no)
    assert (denied.status, "too dear" in denied.content) == ("denied", True)
    assert len(bench.pending()) == 2


async def test_a_question_that_a_foreground_call_waited_for_outlives_its_turn(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start("gated")
    await settle()
    bench = await lives.begin()
    [asked] = bench.handle.approvals(C)
    assert bench.told(task) == ["task_detached"]
    bench.handle.approve(asked.id, by="ana")
    assert (await bench.ended(task)).status == "succeeded"
    assert [each.task_id for each in bench.pending()] == [task]


async def test_a_body_that_had_asked_runs_again_and_is_not_asked_twice(lives: Lives) -> None:
    done: list[str] = []

    async def work(word: str) -> str:
        done.append(word)
        return word

    async def asks(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await ctx.step("before", work, "before")
        await ctx.request_approval("first?")
        await ctx.step("between", work, "between")
        await ctx.request_approval("second?")
        return Completed(None, "done")

    bench = await lives.begin({"asks": asks})
    task = bench.start_in_background("asks")
    await settle()
    for question in ("first?", "second?"):
        bench = await lives.begin({"asks": asks})
        [asked] = bench.handle.approvals(C)
        assert asked.reason == question
        bench.handle.approve(asked.id, by="ana")
        await settle()
    assert (await bench.ended(task)).content == "done"
    assert done == ["before", "between"]


async def test_what_was_decided_while_nobody_was_there_counts(lives: Lives) -> None:
    bench = await lives.begin()
    yes = bench.start_in_background("gated")
    no = bench.start_in_background("gated")
    await settle()
    asked = bench.handle.approvals(C)
    disk = lives.disk.view()
    await lives.die()
    await decide(disk, _decided(asked[0], Decision.APPROVED))
    await decide(disk, _decided(asked[1], Decision.DENIED))
    bench = await lives.begin()
    assert (await bench.ended(yes)).status == "succeeded"
    assert (await bench.ended(no)).status == "denied"


async def test_other_arguments_that_were_approved_while_nobody_was_there_are_the_ones_that_run(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("gated", {"kinds": ["tool", "money"]})
    await settle()
    [tool, _] = bench.handle.approvals(C)
    disk = lives.disk.view()
    await lives.die()
    changed = ToolCall.make("gated", {"kinds": ["tool"], "less": 1}, id=tool.call.id)
    yes = replace(_decided(tool, Decision.APPROVED), call=changed, digest=changed.digest())
    await decide(disk, yes)
    bench = await lives.begin()
    assert (await bench.ended(task)).content == changed.arguments
    assert list(await lives.disk.find(APPROVALS, conversation_id=C, open=True)) == []


async def test_a_question_that_was_given_up_takes_no_answer_of_another(lives: Lives) -> None:
    async def impatient(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        try:
            async with asyncio.timeout(1):
                await ctx.request_approval("quick?")
        except TimeoutError:
            await ctx.request_approval("slow?")
            return Completed(None, "slow way")
        return Completed(None, "quick way")

    bench = await lives.begin({"impatient": impatient})
    task = bench.start_in_background("impatient")
    await asyncio.sleep(5)
    disk, [asked] = lives.disk.view(), bench.handle.approvals(C)
    await lives.die()
    await decide(disk, _decided(asked, Decision.APPROVED))
    bench = await lives.begin({"impatient": impatient})
    assert (await bench.ended(task)).content == "slow way"


async def test_a_conversation_that_was_let_go_and_begins_anew_is_kept(lives: Lives) -> None:
    bench = await lives.begin()
    assert bench.manager.kept is not None
    bench.manager.kept.let_go(C)
    bench.manager.open_conversation(C, Scope(TOOLS))
    task = bench.start_in_background("quick")
    await bench.idle()
    assert bench.told(task)[-1] == "task_succeeded"
    assert [each.id for each in await lives.disk.find(TASKS, conversation_id=C)] == [task]


async def test_of_two_decisions_in_two_processes_the_first_stands(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    await decide(lives.disk.view(), _decided(asked, Decision.DENIED))  # elsewhere, unheard of here
    bench.handle.approve(asked.id, by="ana")
    assert (await bench.ended(task)).status == "denied"
    with pytest.raises(AlreadyDecidedError, match="denied by zoe"):
        bench.handle.approve(asked.id, by="ana")


async def test_the_host_has_taken_what_it_drained(lives: Lives) -> None:
    bench = await lives.begin()
    manual = TaskPolicy(delivery="manual")
    task = bench.start_in_background("quick", policy=manual)
    await bench.ended(task)
    bench.handle.drain_ready_items(C, ack=False)
    bench = await lives.begin()
    assert bench.pending() == ()
    [item] = bench.handle.drain_ready_items(C)
    assert not isinstance(item, Approval)
    assert item.task_id == task
    bench = await lives.begin()
    assert bench.handle.drain_ready_items(C) == []


async def test_ids_of_two_lives_are_never_the_same(lives: Lives) -> None:
    ids: set[TaskId] = set()
    for _ in range(3):
        bench = await lives.begin()
        ids.add(bench.start_in_background("quick"))
        await bench.idle()
    assert len(ids) == 3
    assert len(await lives.disk.find(RESULTS, conversation_id=C)) == 3


async def test_a_foreground_call_leaves_no_row(lives: Lives) -> None:
    bench = await lives.begin()
    bench.start("quick")
    await bench.answer()
    assert list(await lives.disk.find(TASKS, conversation_id=C)) == []
    bench.start("sleep", {"seconds": 10})
    await asyncio.sleep(1)
    [task] = bench.handle.list_running(C)
    bench.handle.detach(task.id)
    rows: list[Record[Any]] = [*await lives.disk.find(TASKS, conversation_id=C)]
    assert [(each.id, each.status) for each in rows] == [(task.id, "running")]


async def test_a_tool_that_is_no_longer_there_is_a_typed_error(lives: Lives) -> None:
    async def old(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await asyncio.sleep(100)
        return Completed(None, "")

    bench = await lives.begin({"old": old})
    task = bench.start_in_background("old", policy=RETRY)
    await asyncio.sleep(1)
    bench = await lives.begin()
    told = await bench.ended(task)
    assert (told.status, told.error_type) == ("failed", "UnknownToolError")


async def test_tasks_that_are_let_go_are_found_as_they_were(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 10}, policy=RETRY)
    await asyncio.sleep(1)
    assert bench.manager.kept is not None
    bench.manager.kept.let_go(C)
    await bench.handle.cancel(task)
    assert bench.told(task) == ["task_queued", "task_started"]  # it has not ended
    bench = await lives.begin()
    assert (await bench.ended(task)).status == "succeeded"


async def test_reviving_twice_finds_nothing_new(lives: Lives) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 10}, policy=RETRY)
    await asyncio.sleep(1)
    bench = await lives.begin()
    await lives.revive()
    assert (await bench.ended(task)).status == "succeeded"
    assert bench.told(task).count("task_started") == 1


async def test_children_that_had_ended_do_not_run_again_and_the_others_go_on_where_they_were(
    lives: Lives,
) -> None:
    ran: list[str] = []
    keys: dict[str, set[str]] = {}

    async def note(word: str) -> str:
        ran.append(word)
        return word

    async def child(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        name = str(call.parsed()["word"])
        keys.setdefault(name, set()).add(ctx.idempotency_key)
        await ctx.step("begin", note, f"{name} begins")
        await ctx.step("wait", asyncio.sleep, 0 if name == "quick" else 100)
        return Completed(f"{name} is done", f"{name} is done")

    async def parent(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        children = [ctx.spawn("child", word=word) for word in ("quick", "slow", "quick")]
        return Completed(None, str([await each for each in children]))

    tools = {"child": child, "parent": parent}
    bench = await lives.begin(tools)
    task = bench.start_in_background("parent", policy=RETRY)
    await asyncio.sleep(50)
    bench = await lives.begin(tools)
    told = await bench.ended(task)
    assert told.content == "['quick is done', 'slow is done', 'quick is done']"
    assert sorted(ran) == ["quick begins", "quick begins", "slow begins"]
    assert {name: len(found) for name, found in keys.items()} == {"quick": 2, "slow": 1}


async def test_a_question_of_a_child_is_asked_anew_by_its_next_life(lives: Lives) -> None:
    async def parent(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await ctx.spawn("gated")
        return Completed(None, "done")

    tools = {"parent": parent}
    bench = await lives.begin(tools)
    task = bench.start_in_background("parent", policy=RETRY)
    await settle()
    [before] = bench.handle.approvals(C)
    bench = await lives.begin(tools)
    await settle()
    [now] = bench.handle.approvals(C)
    rows = await lives.disk.find(APPROVALS, conversation_id=C, open=True)
    assert [each.id for each in rows] == [now.id]
    assert now.id != before.id
    bench.handle.approve(now.id, by="ana")
    assert (await bench.ended(task)).content == "done"


async def test_a_result_that_a_full_disk_did_not_take_is_kept_before_it_is_acknowledged(
    lives: Lives,
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    bench = await lives.begin()
    task = bench.start_in_background("sleep", {"seconds": 1})
    await settle()
    lives.disk.full = True
    assert (await bench.ended(task)).status == "succeeded"
    lives.disk.full = False
    assert [each.task_id for each in bench.pending()] == [task]
    kept = bench.manager.kept
    assert kept is not None
    await lives.disk.commit_turn(C, (), ack=kept.covered(C, [task]))
    bench = await lives.begin()
    assert (bench.pending(), bench.kinds()) == ((), [])


async def test_a_launch_that_a_full_disk_does_not_take_leaves_no_row_behind(lives: Lives) -> None:
    bench = await lives.begin()
    lives.disk.full = True
    with pytest.raises(StoreUnavailableError, match="full"):
        bench.start_in_background("quick")
    lives.disk.full = False
    await bench.ended(bench.start_in_background("quick"))
    assert len(await lives.disk.find(TASKS, conversation_id=C)) == 1


async def test_a_decision_is_entered_when_the_disk_takes_it_and_nothing_runs_before(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    lives.disk.full = True
    bench.handle.approve(asked.id, by="ana")
    await asyncio.sleep(10)
    assert bench.handle.get(task).status == "awaiting_approval"
    with pytest.raises(AlreadyDecidedError, match="approved by ana"):
        bench.handle.deny(asked.id, by="bob")
    lives.disk.full = False
    assert (await bench.ended(task)).status == "succeeded"


def _decided(asked: Approval, decision: Decision) -> Approval:
    return Approval(
        id=asked.id,
        task_id=asked.task_id,
        conversation_id=asked.conversation_id,
        call=asked.call,
        kind=asked.kind,
        reason=asked.reason,
        summary=asked.summary,
        metadata=asked.metadata,
        digest=asked.digest,
        created_at=asked.created_at,
        decision=decision,
        decided_by="zoe",
        decided_at=1.0,
    )

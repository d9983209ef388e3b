"""What a restart does with the tasks that an earlier process has left."""

import asyncio
from typing import Any

import pytest

from sidetask.core.ids import TaskId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import Record
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.runner import Scope
from sidetask.tasks.stored import RESULTS, TASKS
from sidetask.tasks.values import Approval, Completed, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.durable.lives import Lives
from tests.tasks.harness import TOOLS, C

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


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


async def test_a_conversation_that_was_let_go_and_begins_anew_is_kept(lives: Lives) -> None:
    bench = await lives.begin()
    assert bench.manager.kept is not None
    bench.manager.kept.let_go(C)
    bench.manager.open_conversation(C, Scope(TOOLS))
    task = bench.start_in_background("quick")
    await bench.idle()
    assert bench.told(task)[-1] == "task_succeeded"
    assert [each.id for each in await lives.disk.find(TASKS, conversation_id=C)] == [task]


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
    # A million lives of all programs on one store: one in a thousand that two draw the same.
    [drawn] = {len(id.split("-")[1]) * 4 for id in ids}
    assert drawn >= 48, "bits"


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

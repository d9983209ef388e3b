"""Questions to people outlive their process, and are decided once by any of them."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sidetask.core.errors import AlreadyDecidedError
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.stored import APPROVALS, decide
from sidetask.tasks.values import Approval, Completed, Decision, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.durable.lives import Lives
from tests.tasks.harness import C, settle

RETRY = TaskPolicy(idempotent=True, on_crash="retry")
ASK = TaskPolicy(on_crash="ask")


@pytest.fixture
def lives(clock: VirtualClock) -> Lives:
    return Lives(clock)


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


async def test_one_yes_is_one_answer_also_to_who_asks_the_same_twice(lives: Lives) -> None:
    async def asks(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await ctx.request_approval("really?", page=1)
        await asyncio.sleep(100)
        await ctx.request_approval("really?", page=2)
        return Completed(None, "done")

    bench = await lives.begin({"asks": asks})
    task = bench.start_in_background("asks", policy=RETRY)
    await settle()
    [first] = bench.handle.approvals(C)
    bench.handle.approve(first.id, by="ana")
    await asyncio.sleep(50)
    bench = await lives.begin({"asks": asks})
    await asyncio.sleep(150)
    [second] = bench.handle.approvals(C)
    assert second.metadata == {"page": 2}
    bench.handle.approve(second.id, by="ana")
    assert (await bench.ended(task)).content == "done"


async def test_a_yes_to_arguments_that_were_not_stored_denies_when_it_is_read_after_a_restart(
    lives: Lives,
) -> None:
    bench = await lives.begin()
    task = bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    disk = lives.disk.view()
    await lives.die()
    yes = _decided(asked, Decision.APPROVED)
    await decide(disk, replace(yes, digest="of a call that was left out"))
    bench = await lives.begin()
    ended = await bench.ended(task)
    assert (ended.status, "not stored" in ended.content) == ("denied", True)


@pytest.mark.parametrize("away", [30, 300])
async def test_a_question_expires_when_it_would_have_expired_in_its_own_process(
    lives: Lives, away: float
) -> None:
    bench = await lives.begin(limits=Limits(approval_age=100))
    task = bench.start_in_background("gated")
    await asyncio.sleep(10)
    [asked] = bench.handle.approvals(C)
    await lives.die()
    await asyncio.sleep(away)
    bench = await lives.begin()
    ended = await bench.ended(task)
    assert (ended.status, ended.content.count("in time")) == ("denied", 1)
    told = bench.events[-1].at - asked.created_at
    assert told == pytest.approx(max(100, away + 10), abs=0.1)


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


async def test_who_waits_for_idle_waits_for_what_a_yes_lets_begin(lives: Lives) -> None:
    """A yes is entered in the store first, which takes a while, and the task begins then."""
    bench = await lives.begin()
    task = bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    assert (await bench.handle.wait_for_idle(C)).approvals == 1, "a person has all the time"
    bench.handle.approve(asked.id, by="ana")
    assert (await bench.handle.wait_for_idle(C)).undelivered == 1
    assert bench.record(task).status == "succeeded"


async def test_a_question_whose_answer_cannot_be_entered_is_open_again(lives: Lives) -> None:
    bench = await lives.begin()
    bench.start_in_background("gated")
    await settle()
    [asked] = bench.handle.approvals(C)
    lives.disk.refuses = True
    bench.handle.approve(asked.id, by="ana")
    assert (await bench.handle.wait_for_idle(C)).approvals == 1
    lives.disk.refuses = False
    bench.handle.deny(asked.id, by="bob")
    await bench.handle.wait_for_idle(C)
    assert [each.status for each in bench.pending()] == ["denied"]


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

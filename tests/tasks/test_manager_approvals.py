"""Questions to people: before a body runs, inside it, with other arguments, and decided once."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import (
    AlreadyDecidedError,
    ApprovalDeniedError,
    ApprovalNotFoundError,
    InvalidInputError,
)
from sidetask.core.events import ApprovalDecided, TaskDenied
from sidetask.core.ids import CallId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import Route, background, detach_after, foreground
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import (
    Approval,
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Decision,
    Detached,
    Refused,
    TaskLaunch,
    ToolOutcome,
    TurnSettled,
)
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, C, T, settle, timers


async def asked(bench: Bench) -> list[Approval]:
    """What is asked once everything that can run has run."""
    await settle()
    return bench.handle.approvals()


# -- before the body ---------------------------------------------------------------------------


async def test_a_call_that_asks_first_has_done_nothing_and_runs_when_it_is_approved(
    bench: Bench,
) -> None:
    task = bench.start("gated", {"x": 1}, call_id="call-1")
    [approval] = await asked(bench)
    snapshot = bench.handle.get(task)
    assert (snapshot.status, snapshot.attempt) == (TaskStatus.AWAITING_APPROVAL, 1)
    assert approval.digest == approval.call.digest()
    assert (approval.task_id, approval.decision) == (task, Decision.OPEN)
    decided = bench.handle.approve(approval.id, by="ana", note="fine")
    assert (decided.decision, decided.decided_by, decided.note) == (
        Decision.APPROVED,
        "ana",
        "fine",
    )
    answer = await bench.answer()
    assert (answer.task_id, answer.status, answer.call_ids) == (task, "succeeded", ("call-1",))
    assert bench.handle.get(task).attempt == 2
    assert bench.told(task) == [
        "task_queued",
        "task_started",
        "approval_requested",
        "approval_decided",
        "task_queued",
        "task_started",
        "task_succeeded",
    ]
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_denied_call_ends_as_denied_and_the_model_is_told_why(bench: Bench) -> None:
    task = bench.start("gated")
    [approval] = await asked(bench)
    bench.handle.deny(approval.id, "too dangerous", by="ana")
    answer = await bench.answer()
    assert (answer.status, answer.is_error) == ("denied", True)
    assert "too dangerous" in answer.content
    end = bench.end_of(task)
    assert isinstance(end, TaskDenied)
    assert (end.reason, end.abandoned) == ("too dangerous", False)
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_call_that_a_policy_refuses_ends_as_denied(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        return Refused("not on Sundays")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    answer = await bench.answer()
    assert (answer.status, answer.content) == ("denied", "The call was denied: not on Sundays.")


async def test_a_second_decision_is_told_who_decided_and_when(
    bench: Bench, clock: VirtualClock
) -> None:
    bench.start("gated")
    [approval] = await asked(bench)
    at = clock.now()
    bench.handle.approve(approval.id, by="ana")
    for again in (bench.handle.approve, bench.handle.deny):
        with pytest.raises(AlreadyDecidedError, match="already approved by ana") as caught:
            again(approval.id, by="bob")
        assert (caught.value.by, caught.value.at) == ("ana", at)


async def test_decisions_without_a_name_or_about_nothing_are_refused(bench: Bench) -> None:
    bench.start("gated")
    [approval] = await asked(bench)
    with pytest.raises(InvalidInputError, match="who decides"):
        bench.handle.approve(approval.id, by="")
    with pytest.raises(InvalidInputError, match="who decides"):
        bench.handle.deny(approval.id, by="")
    with pytest.raises(ApprovalNotFoundError, match="no approval 'approval-99'"):
        bench.handle.approve("approval-99", by="ana")
    assert bench.handle.approvals() == [approval]


async def test_two_approvals_on_one_call_are_both_needed(bench: Bench) -> None:
    task = bench.start("gated", {"kinds": ["tool", "policy"]})
    first, second = await asked(bench)
    bench.handle.approve(first.id, by="ana")
    await settle()
    assert bench.handle.get(task).status is TaskStatus.AWAITING_APPROVAL
    bench.handle.approve(second.id, by="bob")
    assert (await bench.answer()).status == "succeeded"


async def test_any_denial_wins_and_withdraws_the_other_questions(bench: Bench) -> None:
    bench.start("gated", {"kinds": ["tool", "policy", "third"]})
    first, second, third = await asked(bench)
    bench.handle.approve(first.id, by="ana")
    bench.handle.deny(second.id, by="bob")
    assert (await bench.answer()).status == "denied"
    assert bench.handle.approvals() == []
    with pytest.raises(AlreadyDecidedError, match="withdrawn"):
        bench.handle.approve(third.id, by="ana")


# -- with other arguments ----------------------------------------------------------------------


async def test_changed_arguments_are_exactly_what_is_approved_and_what_runs(
    bench: Bench,
) -> None:
    task = bench.start("gated", {"x": 1})
    [approval] = await asked(bench)
    bench.handle.approve(approval.id, by="ana", arguments={"x": 2})
    assert (await bench.answer()).content == '{"x": 2}'
    assert bench.handle.get(task).arguments == '{"x": 2}'
    assert bench.handle.approvals() == []


async def test_changed_arguments_pass_the_policy_gate_again(bench: Bench) -> None:
    bench.start("gated", {"kinds": ["tool"]})
    [approval] = await asked(bench)
    bench.handle.approve(approval.id, by="ana", arguments={"kinds": ["tool", "policy"]})
    [other] = await asked(bench)  # what the gate says of the new arguments
    assert (other.kind, other.digest) == ("policy", other.call.digest())
    assert other.digest != approval.digest
    bench.handle.deny(other.id, by="bob")
    assert (await bench.answer()).status == "denied"


async def test_an_approval_of_the_old_arguments_does_not_count_for_the_new_ones(
    bench: Bench,
) -> None:
    bench.start("gated", {"kinds": ["tool", "policy"], "x": 1})
    first, second = await asked(bench)
    bench.handle.approve(first.id, by="ana")
    bench.handle.approve(second.id, by="bob", arguments={"kinds": ["tool", "policy"], "x": 2})
    [again] = await asked(bench)
    assert (again.kind, again.call.parsed()["x"]) == ("tool", 2)


async def test_a_question_about_old_arguments_is_withdrawn_when_others_are_approved(
    bench: Bench,
) -> None:
    bench.start("gated", {"kinds": ["tool", "policy"], "x": 1})
    first, second = await asked(bench)
    bench.handle.approve(second.id, by="bob", arguments={"kinds": ["tool", "policy"], "x": 2})
    with pytest.raises(AlreadyDecidedError) as late:
        bench.handle.approve(first.id, by="ana")
    assert late.value.decision == Decision.WITHDRAWN
    [again] = await asked(bench)
    assert (again.kind, again.call.parsed()["x"]) == ("tool", 2)
    bench.handle.approve(again.id, by="ana")
    assert '"x": 2' in (await bench.answer()).content


async def test_arguments_that_are_changed_back_are_asked_about_anew(bench: Bench) -> None:
    old, new = ({"kinds": ["tool", "policy"], "x": x} for x in (1, 2))
    bench.start("gated", old)
    _, policy = await asked(bench)
    bench.handle.approve(policy.id, by="bob", arguments=new)
    [tool] = await asked(bench)
    bench.handle.approve(tool.id, by="ana", arguments=old)
    [again] = await asked(bench)  # bob has seen the old ones, and did not approve them
    assert (again.kind, again.call.parsed()["x"]) == ("policy", 1)


async def test_the_same_arguments_in_another_order_are_no_change(bench: Bench) -> None:
    bench.start("gated", {"a": 1, "b": 2})
    [approval] = await asked(bench)
    bench.handle.approve(approval.id, by="ana", arguments={"b": 2, "a": 1})
    assert (await bench.answer()).content == '{"a": 1, "b": 2}'


async def test_an_approved_relaunch_is_routed_anew(clock: VirtualClock) -> None:
    def routing(call: ToolCall) -> Route:
        return background() if call.parsed().get("long") else foreground()

    bench = Bench(clock, routing=routing)
    task = bench.start("gated", {})
    [approval] = await asked(bench)
    bench.handle.approve(approval.id, by="ana", arguments={"long": True})
    assert isinstance(await bench.news(), Detached)
    assert (await bench.ended(task)).status == "succeeded"
    assert len(bench.pending()) == 1


async def test_arguments_that_are_no_json_cannot_be_approved_and_end_as_an_error(
    clock: VirtualClock,
) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        return ApprovalNeeded((ApprovalRequest(),))

    bench = Bench(clock, {"tool": tool})
    call = ToolCall(CallId("call-1"), "tool", "{broken")
    bench.manager.start_nowait(TaskLaunch(call=call, conversation_id=C, turn_id=T))
    answer = await bench.answer()
    assert (answer.status, answer.error_type) == ("failed", "InvalidInputError")
    assert (await bench.news(), bench.handle.approvals()) == (TurnSettled(), [])
    await bench.assert_no_leaks()


# -- in the body -------------------------------------------------------------------------------


async def test_a_body_waits_for_its_approval_and_goes_on(bench: Bench) -> None:
    task = bench.start("asking", {"seconds": 3})
    [approval] = await asked(bench)
    await asyncio.sleep(1000)
    bench.handle.approve(approval.id, by="ana")
    assert (await bench.answer()).content == "approved"
    assert bench.handle.get(task).attempt == 2
    with pytest.raises(AlreadyDecidedError):
        bench.handle.approve(approval.id, by="ana")


async def test_a_body_hears_of_a_denial_and_ends_as_denied_whatever_it_returns(
    clock: VirtualClock,
) -> None:
    heard: list[str | None] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        try:
            await ctx.request_approval("really?")
        except ApprovalDeniedError as error:
            heard.append(error.note)
        return Completed("anyway", "anyway")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    [approval] = await asked(bench)
    bench.handle.deny(approval.id, "no", by="ana")
    answer = await bench.answer()
    assert (heard, answer.status, answer.value) == (["no"], "denied", None)


async def test_a_running_tools_arguments_cannot_be_changed(bench: Bench) -> None:
    bench.start("asking", {"x": 1})
    [approval] = await asked(bench)
    with pytest.raises(InvalidInputError, match="as it is"):
        bench.handle.approve(approval.id, by="ana", arguments={"x": 2})
    assert bench.handle.approvals() == [approval]


async def test_a_body_that_gives_up_waiting_goes_on_without_an_answer(
    clock: VirtualClock,
) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        try:
            async with asyncio.timeout(5):
                await ctx.request_approval("really?")
        except TimeoutError:
            await asyncio.sleep(100)
        return Completed("without", "without")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool", route=detach_after(10))
    [approval] = await asked(bench)
    assert isinstance(await bench.news(), Detached)
    assert round(clock.time()) == 15  # the attempt that goes on has a timer of its own
    assert (await bench.ended(task)).content == "without"
    assert [approval.id] == [e.approval_id for e in bench.events if isinstance(e, ApprovalDecided)]
    assert (bench.handle.approvals(), timers()) == ([], 0)


async def test_a_body_asks_one_question_at_a_time(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.request_approval("first?"))
            group.create_task(ctx.request_approval("second?"))
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    answer = await bench.answer()  # it does not hang
    assert answer.status == "failed"
    assert bench.handle.approvals() == []
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_body_that_ends_with_an_open_question_ends_and_withdraws_it(
    clock: VirtualClock,
) -> None:
    strays: list[asyncio.Task[None]] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        strays.append(asyncio.create_task(ctx.request_approval("never mind")))
        await asyncio.sleep(1)
        return Completed("done", "done")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool")
    assert (await bench.answer()).content == "done"
    assert (bench.handle.approvals(), bench.end_of(task).kind) == ([], "task_succeeded")
    await asyncio.sleep(1)
    assert isinstance(strays[0].exception(), ApprovalDeniedError)

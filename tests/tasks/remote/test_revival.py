"""A home dies at each step, and the next one goes on: nothing runs twice, nothing is lost."""

import asyncio
from dataclasses import replace

import pytest

from sidetask.agents.policies.hooks import Change, Decision, HookContext, Hooks, ToolUse
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import Record
from sidetask.tasks.remote.values import ASKS
from sidetask.tasks.stored import APPROVALS, ORDERS, Order, decide
from sidetask.tasks.values import Decision as Ruling
from sidetask.tasks.values import Errored
from sidetask.testing import VirtualClock
from tests.tasks.harness import C, settle
from tests.tasks.remote.town import AGAIN, ASKING, ONCE, Town, result_of


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    return Town(clock)


every_policy = pytest.mark.parametrize(
    "policy", [ONCE, AGAIN, ASKING], ids=["fail", "retry", "ask"]
)


@every_policy
async def test_a_job_that_is_queued_when_its_home_dies_is_waited_for_again(
    town: Town, policy: TaskPolicy
) -> None:
    worker = town.worker()
    first = await town.home()
    task_id = first.start_in_background("work", policy=policy)
    await settle()
    await town.crash(first)
    home = await town.home()
    await settle()
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"
    assert home.handle.get(task_id).attempt == 1
    assert len(await town.jobs()) == 1


@every_policy
async def test_a_job_that_runs_when_its_home_dies_is_waited_for_again(
    town: Town, policy: TaskPolicy
) -> None:
    worker, first, task_id, job = await town.claimed(policy)
    await town.crash(first)
    home = await town.home()
    await settle()
    assert home.handle.get(task_id).status is TaskStatus.RUNNING
    assert await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"
    assert len(await town.jobs()) == 1


@every_policy
async def test_an_outcome_that_came_while_nobody_was_at_home_is_read_then(
    town: Town, policy: TaskPolicy
) -> None:
    worker, first, task_id, job = await town.claimed(policy)
    await town.crash(first)
    await worker.finish(job)
    home = await town.home()
    await settle()
    assert result_of(home, task_id).content == "done by w1"
    await town.crash(home)
    again = await town.home()
    assert result_of(again, task_id).content == "done by w1"
    assert town.runs == []


@pytest.mark.parametrize("placement", ["auto", "here", "workers"])
async def test_it_is_waited_for_wherever_new_calls_run(town: Town, placement: str) -> None:
    worker, first, task_id, job = await town.claimed()
    await town.crash(first)
    home = await town.home(placement=placement)  # type: ignore[arg-type]
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_a_worker_that_dies_while_nobody_is_at_home_is_noticed_by_the_next(
    town: Town,
) -> None:
    worker = town.worker()
    first = await town.home()
    task_id = first.start_in_background("work")
    await settle()
    await worker.claim()
    await town.crash(first)
    await worker.die()
    home = await town.home()
    assert (await home.ended(task_id)).error_type == "OutcomeUnknownError"


async def test_what_was_lost_is_asked_about_once_by_whoever_comes(town: Town) -> None:
    worker = town.worker()
    first = await town.home()
    task_id = first.start_in_background("work", policy=ASKING)
    await settle()
    await worker.claim()
    await worker.die()
    await asyncio.sleep(1.1)
    [asked] = first.handle.approvals()
    await town.crash(first)
    home = await town.home()
    [approval] = home.handle.approvals()
    assert approval.id == asked.id
    other = town.worker("w2")
    await asyncio.sleep(1.1)
    home.handle.approve(approval.id, by="ana")
    await settle()
    await other.finish(await other.claim())
    assert result_of(home, task_id).content == "done by w2"


@pytest.mark.parametrize(("policy", "status"), [(AGAIN, "queued"), (ONCE, "ended")])
async def test_what_was_taken_back_by_a_home_that_died(
    town: Town, policy: TaskPolicy, status: str
) -> None:
    worker = town.worker()
    town.gate.clear()
    first = await town.home()
    task_id = first.start_in_background("work", policy=policy)
    await settle()
    await worker.die()
    await asyncio.sleep(1.1)
    assert town.runs == ["work 0"]
    await town.crash(first)
    town.gate.set()
    home = await town.home()
    resolution = await home.ended(task_id)
    if policy is AGAIN:
        assert town.runs == ["work 0", "work 0"]
        assert resolution.content == "worked 0 at home"
    else:
        assert town.runs == ["work 0"]
        assert resolution.error_type == "OutcomeUnknownError"


async def test_a_job_whose_task_ended_in_the_crash_is_cancelled_by_the_next_home(
    town: Town,
) -> None:
    _, first, task_id, job = await town.claimed()
    first.view.line.full = True  # the cancel does not get through
    await first.handle.cancel(task_id, grace=1)
    await town.crash(first)
    assert (await town.job(job.id)).status == "running"
    await town.home()
    await settle()
    assert (await town.job(job.id)).status == "cancelling"


async def test_a_second_look_cancels_nothing_of_what_is_out(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    assert home.manager.kept is not None
    await home.manager.kept.revive(C)
    await settle()
    assert (await town.job(job.id)).status == "running"
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_a_conversation_that_is_let_go_leaves_its_jobs_to_whoever_resumes_it(
    town: Town,
) -> None:
    worker, first, task_id, job = await town.claimed()
    assert first.manager.kept is not None
    first.manager.kept.let_go(C)
    assert await first.handle.cancel(task_id, "disconnected") == "cancelled"
    await settle()
    assert (await town.job(job.id)).status == "running"
    await first.handle.close()
    home = await town.home()
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


@pytest.mark.parametrize("policy", [ONCE, AGAIN])
async def test_what_runs_at_home_after_all_is_left_as_its_on_crash_says(
    town: Town, policy: TaskPolicy
) -> None:
    worker = town.worker()
    town.gate.clear()
    first = await town.home()
    task_id = first.start_in_background("work", policy=policy)
    await settle()
    await worker.die()
    await asyncio.sleep(1.1)
    assert first.manager.kept is not None
    first.manager.kept.let_go(C)
    await first.handle.cancel(task_id)
    await first.handle.close()
    town.gate.set()
    home = await town.home()
    resolution = await home.ended(task_id)
    if policy is AGAIN:
        assert resolution.content == "worked 0 at home"
    else:
        assert resolution.error_type == "OutcomeUnknownError"


async def test_an_order_of_another_process_cancels_a_job(town: Town) -> None:
    worker, first, task_id, job = await town.claimed()
    await town.crash(first)
    order = Order(kind="cancel", by="ana", task_id=task_id)
    town.store.put(
        Record(kind=ORDERS, conversation_id=C, id="o1", status="open", at=0.0, value=order)
    )
    home = await town.home()
    await settle()
    assert (await town.job(job.id)).status == "cancelling"
    await worker.finish(job)
    assert "ana cancelled it" in (await home.ended(task_id)).content


async def test_a_parked_job_is_still_shown_after_a_restart(town: Town) -> None:
    worker, first, task_id, job = await town.claimed(AGAIN)
    await worker.park(job)
    await town.crash(first)
    home = await town.home()
    await settle()
    assert home.handle.get(task_id).error == "parked: three workers died of it"
    await town.store.line.retry(job.id)
    await settle()
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"


# -- the gate --------------------------------------------------------------------------------------


class Counting(Hooks):
    def __init__(self) -> None:
        self.before = 0
        self.after: list[str] = []

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision | None:
        self.before += 1
        return Change({"n": 40 + self.before})

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        self.after.append(f"{call.arguments} {result}")


async def test_hooks_are_not_asked_again_about_what_has_begun(town: Town) -> None:
    hooks = Counting()
    town.hooks.append(hooks)
    worker = town.worker()
    first = await town.home()
    task_id = first.start_in_background("work", {"n": 1})
    await settle()
    job = await worker.claim()
    assert worker.order(job).call.parsed() == {"n": 41}
    assert worker.order(job).exactly
    await town.crash(first)
    home = await town.home()
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"
    assert hooks.before == 1
    assert hooks.after == ["{'n': 41} done by w1"]


async def test_arguments_that_a_gate_has_judged_are_read_exactly(town: Town) -> None:
    town.hooks.append(Hooks())
    worker = town.worker()
    home = await town.home()
    home.start_in_background("work", {"n": 1})
    await settle()
    assert not worker.order(await worker.claim()).exactly  # no hook looks: there is no gate


# -- questions -------------------------------------------------------------------------------------


async def test_a_question_that_is_open_when_its_home_dies_is_asked_by_the_next(
    town: Town,
) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job)
    [asked] = first.handle.approvals()
    await town.crash(first)
    home = await town.home()
    await settle()
    [approval] = home.handle.approvals()
    assert approval == asked  # people were sent links to it
    home.handle.approve(approval.id, by="ana")
    await settle()
    assert (await worker.answer(job)).answer == "approved"
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


@pytest.mark.parametrize("decision", ["approved", "denied"])
async def test_a_question_that_another_process_decides_while_its_home_comes_back(
    town: Town, decision: str
) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job)
    [asked] = first.handle.approvals()
    await town.crash(first)
    decided = replace(asked, decision=Ruling(decision), decided_by="bob", decided_at=1.0)
    home = await town.home()
    home.view.line.deaf = True
    await decide(town.store, decided)  # after it was read, and before it is asked again
    home.view.line.deaf = False
    await settle()
    assert home.handle.approvals() == []
    assert (await worker.answer(job)).answer == decision
    await worker.finish(job)
    ends = {"approved": "succeeded", "denied": "denied"}
    assert result_of(home, task_id).status == ends[decision]


async def test_a_question_that_nobody_asks_again_is_closed_with_its_task(town: Town) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job)
    [asked] = first.handle.approvals()
    await town.crash(first)
    await worker.stop_asking(job)
    home = await town.home()
    await settle()
    assert home.handle.approvals() == []
    await worker.finish(job)
    assert result_of(home, task_id).status == "succeeded"
    found = await town.store.get(APPROVALS, C, asked.id)
    assert found is not None
    assert found.status == "withdrawn"


async def test_an_answer_that_was_given_before_the_crash_is_handed_on(town: Town) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job)
    [approval] = first.handle.approvals()
    first.handle.approve(approval.id, by="ana")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await town.crash(first)
    home = await town.home()
    await settle()
    for again in home.handle.approvals():  # it had not got as far as the store
        home.handle.approve(again.id, by="ana")
    await settle()
    assert (await worker.answer(job)).answer == "approved"
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_one_answer_is_not_given_to_a_second_question_of_the_same_words(
    town: Town,
) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job, 1)
    [approval] = first.handle.approvals()
    first.handle.approve(approval.id, by="ana")
    await settle()
    assert (await worker.answer(job, 1)).answer == "approved"
    await town.crash(first)
    home = await town.home()
    await worker.ask(job, 2)
    assert len(home.handle.approvals()) == 1
    assert (await town.store.find(ASKS, conversation_id=C, open=True)) != []
    home.handle.approve(home.handle.approvals()[0].id, by="ana")
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_an_end_that_came_while_a_person_was_asked_and_nobody_at_home(town: Town) -> None:
    worker, first, task_id, job = await town.claimed()
    await worker.ask(job)
    await town.crash(first)
    await worker.finish(job, Errored("gave up"))
    home = await town.home()
    await settle()
    assert result_of(home, task_id).content == "gave up"
    assert home.handle.approvals() == []


async def test_a_call_that_cannot_be_read_is_still_waited_for(town: Town) -> None:
    worker, first, task_id, job = await town.claimed()
    await town.crash(first)
    town.store.line._jobs.of[job.id].data.clear()  # type: ignore[attr-defined]
    home = await town.home()
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"
    assert ToolCall.make("work").name == home.handle.get(task_id).name


async def test_a_tool_that_is_not_portable_any_more_does_not_run_a_second_time(
    town: Town,
) -> None:
    worker, first, task_id, job = await town.claimed()
    await town.crash(first)
    tools = [replace(each, portable=False) for each in town.tools]
    home = await town.home(tools=tools)
    await settle()
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"
    assert town.runs == []

"""How a call that is out ends: one end, whatever comes first."""

import asyncio

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy
from sidetask.engines.base import JobSpec
from sidetask.stores.base import Record
from sidetask.stores.members import HOME, Member, Membership
from sidetask.tasks.durable.steps import StoredSteps
from sidetask.tasks.stored import HOMES
from sidetask.tasks.stored import Home as HomeNote
from sidetask.tasks.values import Completed
from sidetask.testing import VirtualClock
from tests.tasks.harness import C, settle
from tests.tasks.remote.town import AGAIN, ASKING, ONCE, Town, result_of


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    return Town(clock)


async def test_an_outcome_whose_hint_is_lost_is_found_by_a_later_look(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    home.view.line.deaf = True
    await worker.finish(await worker.claim())
    assert home.handle.get(task_id).status is TaskStatus.RUNNING
    await asyncio.sleep(6)
    assert result_of(home, task_id).content == "done by w1"


async def test_a_cancelled_call_ends_when_its_worker_has_stopped(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    cancelling = asyncio.ensure_future(home.handle.cancel(task_id, "enough"))
    await settle()
    assert (await town.job(job.id)).status == "cancelling"
    assert (await town.job(job.id)).error == "enough"
    assert not cancelling.done()
    await worker.finish(job, Completed("late", "late"))
    assert await cancelling == "cancelled"
    assert "enough" in result_of(home, task_id).content
    assert home.end_of(task_id).kind == "task_cancelled"


async def test_a_call_that_nobody_has_begun_is_cancelled_at_once(town: Town) -> None:
    town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    assert await home.handle.cancel(task_id) == "cancelled"
    assert [job.status for job in await town.jobs()] == ["cancelled"]
    assert asyncio.get_running_loop().time() < 1


async def test_a_worker_that_does_not_stop_is_left_alone_after_the_grace(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    assert await home.handle.cancel(task_id, grace=2) == "cancelled"
    assert "may still be running" in result_of(home, task_id).content
    await worker.finish(job, Completed("late", "late"))
    await asyncio.sleep(10)
    assert len(home.pending()) == 1
    assert not home.parts.runner._working


async def test_an_end_that_was_written_before_the_cancel_does_not_undo_it(town: Town) -> None:
    """The task was asked to stop first: what its worker says meanwhile is too late."""
    worker, home, task_id, job = await town.claimed()
    home.view.line.deaf = True
    await worker.finish(job)
    assert await home.handle.cancel(task_id) == "cancelled"
    assert (await town.job(job.id)).status == "ended"
    await asyncio.sleep(10)
    assert len(home.pending()) == 1


async def test_a_call_that_was_heard_of_ends_as_it_did_and_not_cancelled(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    await worker.finish(await worker.claim())
    assert await home.handle.cancel(task_id) == "already_finished"
    assert result_of(home, task_id).content == "done by w1"


@pytest.mark.parametrize("policy", [ONCE, AGAIN])
async def test_a_job_that_somebody_else_cancels_ends_its_call(
    town: Town, policy: TaskPolicy
) -> None:
    town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", policy=policy)
    await settle()
    await town.store.line.cancel(f"{task_id}:1", "an operator did")
    resolution = await home.ended(task_id)
    assert resolution.status is TaskStatus.CANCELLED
    assert "an operator did" in resolution.content


async def test_when_a_worker_dies_what_may_not_run_twice_is_told_as_unknown(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    await worker.claim()
    await worker.die()
    resolution = await home.ended(task_id)
    assert resolution.error_type == "OutcomeUnknownError"
    assert asyncio.get_running_loop().time() < 2


async def test_when_a_worker_dies_what_may_run_again_runs_on_another(town: Town) -> None:
    worker, other = town.worker("w1"), town.worker("w2")
    home = await town.home()
    task_id = home.start_in_background("work", policy=AGAIN)
    await settle()
    await worker.claim()
    await worker.die()
    await asyncio.sleep(1.1)
    await other.finish(await other.claim())
    assert result_of(home, task_id).content == "done by w2"
    assert home.handle.get(task_id).attempt == 1


async def test_when_a_worker_dies_a_person_is_asked_and_a_yes_sends_it_out_again(
    town: Town,
) -> None:
    worker, other = town.worker("w1"), town.worker("w2")
    home = await town.home()
    task_id = home.start_in_background("work", policy=ASKING)
    await settle()
    await worker.claim()
    await worker.die()
    await asyncio.sleep(1.1)
    [approval] = home.handle.approvals()
    assert approval.kind == "crash"
    assert (await town.row(task_id)).job is None
    home.handle.approve(approval.id, by="ana")
    await settle()
    job = await other.claim()
    assert job.id == f"{task_id}:2"
    await other.finish(job)
    assert result_of(home, task_id).content == "done by w2"


async def test_a_no_after_a_worker_died_denies_the_call(town: Town) -> None:
    worker = town.worker("w1")
    home = await town.home()
    task_id = home.start_in_background("work", policy=ASKING)
    await settle()
    await worker.claim()
    await worker.die()
    await asyncio.sleep(1.1)
    [approval] = home.handle.approvals()
    home.handle.deny(approval.id, by="ana")
    assert (await home.ended(task_id)).status is TaskStatus.DENIED
    assert len(await town.jobs()) == 1


async def test_a_parked_job_is_shown_and_goes_on_when_somebody_says_so(town: Town) -> None:
    worker, home, task_id, job = await town.claimed(AGAIN)
    await worker.park(job)
    shown = home.handle.get(task_id)
    assert shown.status is TaskStatus.RUNNING
    assert shown.error == "parked: three workers died of it"
    assert shown.progress is not None
    assert "three workers died" in shown.progress.note
    assert (await town.row(task_id)).error == shown.error
    await asyncio.sleep(1000)
    await town.store.line.retry(job.id)
    await settle()
    assert home.handle.get(task_id).error is None
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"
    assert (await town.row(task_id)).error is None


async def test_a_parked_call_can_be_cancelled(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", policy=AGAIN)
    await settle()
    await worker.park(await worker.claim())
    assert await home.handle.cancel(task_id) == "cancelled"
    assert [job.status for job in await town.jobs()] == ["cancelled"]


async def test_closing_the_home_cancels_what_is_out_and_leaves(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    first, second = home.start_in_background("work"), home.start_in_background("work", {"n": 2})
    await settle()
    job = await worker.claim()
    closing = asyncio.ensure_future(home.handle.close())
    await settle()
    await worker.finish(job)
    assert await closing == []
    assert [each.status for each in await town.jobs()] == ["ended", "cancelled"]
    assert home.handle.get(first).status is home.handle.get(second).status is TaskStatus.CANCELLED
    assert [each.role for each in await town.store.register.living()] == ["worker"]


async def test_closing_takes_no_longer_than_its_grace_where_a_worker_does_not_stop(
    town: Town,
) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    await worker.claim()
    assert await home.handle.close(grace=1) == [task_id]
    assert asyncio.get_running_loop().time() < 1.5


async def test_a_cancel_is_written_when_the_store_is_back(town: Town) -> None:
    _, home, task_id, job = await town.claimed()
    home.view.line.full = True
    assert await home.handle.cancel(task_id, grace=1) == "cancelled"
    assert (await town.job(job.id)).status == "running"
    home.view.line.full = False
    await asyncio.sleep(10)
    assert (await town.job(job.id)).status == "cancelling"


async def test_what_the_queue_does_not_take_runs_at_home(town: Town) -> None:
    town.worker()
    home = await town.home()
    home.view.line.full = True
    task_id = home.start_in_background("work")
    assert (await home.ended(task_id)).content == "worked 0 at home"
    assert (await town.row(task_id)).job is None


async def test_with_workers_alone_what_the_queue_does_not_take_fails(town: Town) -> None:
    home = await town.home(placement="workers")
    home.view.line.full = True
    task_id = home.start_in_background("work")
    assert (await home.ended(task_id)).error_type == "StoreUnavailableError"


async def test_a_job_that_was_deleted_ends_its_call(town: Town) -> None:
    town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    town.store.line.drop(C)
    await asyncio.sleep(6)
    assert (await home.ended(task_id)).error_type == "OutcomeUnknownError"


async def test_an_outcome_of_another_release_is_an_error(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await town.store.line.finish(job.id, worker.id, {"v": 99, "type": "completed"})
    assert (await home.ended(task_id)).error_type == "CodecError"


# -- taken back ------------------------------------------------------------------------------------


async def test_what_runs_at_home_after_all_is_cancelled_there(town: Town) -> None:
    worker = town.worker()
    town.gate.clear()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    await worker.die()
    await asyncio.sleep(1.1)
    assert town.runs == ["work 0"]
    assert await home.handle.cancel(task_id) == "cancelled"
    await settle()
    assert [job.status for job in await town.jobs()] == ["ended"]


async def test_a_cancel_while_it_is_taken_back_leaves_nothing_behind(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    home.view.line.slow = asyncio.Event()
    await worker.die()
    await asyncio.sleep(1.1)
    cancelling = asyncio.ensure_future(home.handle.cancel(task_id))
    await settle()
    home.view.line.slow.set()
    assert await cancelling == "cancelled"
    await asyncio.sleep(10)
    assert [job.status for job in await town.jobs()] == ["cancelled"]
    assert town.runs == []
    assert len(home.pending()) == 1


async def test_a_job_that_a_new_worker_takes_first_is_not_run_at_home(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    home.view.line.slow = asyncio.Event()
    await worker.die()
    await asyncio.sleep(1.1)
    other = town.worker("w2")
    job = await other.claim()
    home.view.line.slow.set()
    await settle()
    await other.finish(job)
    assert result_of(home, task_id).content == "done by w2"
    assert town.runs == []


async def test_what_a_worker_has_finished_is_not_done_again_at_home(town: Town) -> None:
    worker = town.worker("w1", "steps")
    home = await town.home()
    task_id = home.start_in_background("steps", policy=AGAIN)
    await settle()
    job = await worker.claim()
    spec = JobSpec(job.id, task_id, 1, "steps", "{}", C)
    await StoredSteps(town.store, town.clock.now).write(spec, "s0#0", 0)
    await worker.die()
    assert (await home.ended(task_id)).content == "[0, 1, 2]"
    assert town.runs == ["step 1", "step 2"]


async def test_a_home_that_was_taken_for_dead_joins_again(town: Town) -> None:
    home = await town.home()
    before = home.member
    town.store.register.holds[before].lost.set()
    await settle()
    assert home.member != before
    worker = town.worker()
    await asyncio.sleep(2)
    task_id = home.start_in_background("work")
    await settle()
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"


async def test_a_home_that_is_let_in_again_joins_again(town: Town) -> None:
    """While a server comes up its answer may be that there is no such user or database."""
    home = await town.home()
    before, join = home.member, town.store.register.join
    refusals = 3

    async def refuse(member: Member) -> Membership:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise ConfigurationError("database does not exist")
        return await join(member)

    town.store.register.join = refuse
    town.store.register.holds[before].lost.set()
    await asyncio.sleep(10)
    assert home.member != before


async def test_who_has_the_conversation_no_more_does_not_end_the_call_of_who_has(
    town: Town,
) -> None:
    """Two processes opened it, and the first one goes."""
    worker, home, task_id, job = await town.claimed()
    theirs = Record(
        kind=HOMES, conversation_id=C, id=HOME, status="another", at=0.0, value=HomeNote()
    )
    home.view.put(theirs)
    assert await home.handle.cancel(task_id, "the agent was shut down", grace=60) == "cancelled"
    assert asyncio.get_running_loop().time() < 1, "it does not wait for what is not its own"
    assert (await town.job(job.id)).status == "running"
    assert await worker.finish(job)


async def test_a_job_that_was_taken_from_its_home_is_not_done_for_a_task_that_has_ended(
    town: Town,
) -> None:
    """The home took it back, was taken for dead, and ends the task: a worker has the job now."""
    worker = town.worker()
    home = await town.home()
    town.gate.clear()
    task_id = home.start_in_background("work", policy=AGAIN)
    await settle()
    await worker.leave()
    await asyncio.sleep(2)
    assert town.runs == ["work 0"]
    await town.store.line.reap(home.member)
    job = await town.worker("w2").claim()
    assert await home.handle.cancel(task_id, "enough") == "cancelled"
    await settle()
    assert (await town.job(job.id)).status == "cancelling"

"""What the body of a job asks a person, at its home."""

import asyncio

import pytest

from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy
from sidetask.tasks.values import Errored
from sidetask.testing import VirtualClock
from tests.tasks.harness import settle
from tests.tasks.remote.town import Town, result_of


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    return Town(clock)


async def test_a_question_is_put_to_a_person_and_its_answer_to_the_worker(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    [approval] = home.handle.approvals()
    assert (approval.kind, approval.reason, approval.metadata) == ("body", "go on?", {"n": 1})
    assert home.handle.get(task_id).status is TaskStatus.AWAITING_APPROVAL
    home.handle.approve(approval.id, by="ana")
    await settle()
    assert (await worker.answer(job)).answer == "approved"
    assert home.handle.get(task_id).status is TaskStatus.RUNNING
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_two_questions_are_asked_one_after_the_other(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    for number in (1, 2):
        await worker.ask(job, number)
        [approval] = home.handle.approvals()
        home.handle.approve(approval.id, by="ana")
        await settle()
        assert (await worker.answer(job, number)).answer == "approved"
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_a_no_is_told_to_the_worker_and_denies_the_call(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    [approval] = home.handle.approvals()
    home.handle.deny(approval.id, "too dear", by="ana")
    await settle()
    answer = await worker.answer(job)
    assert (answer.answer, answer.note) == ("denied", "too dear")
    assert (await town.job(job.id)).status == "running"
    await worker.finish(job, Errored("cleaned up"))
    assert (await home.ended(task_id)).status is TaskStatus.DENIED


async def test_a_worker_that_does_not_end_after_a_no_is_cancelled(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    [approval] = home.handle.approvals()
    home.handle.deny(approval.id, by="ana")
    assert (await home.ended(task_id)).status is TaskStatus.DENIED
    await asyncio.sleep(2)
    assert (await town.job(job.id)).status == "cancelling"
    assert not home.parts.runner._working


async def test_a_worker_that_goes_on_without_an_answer_withdraws_its_question(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    assert len(home.handle.approvals()) == 1
    await worker.stop_asking(job)
    assert home.handle.approvals() == []
    assert home.handle.get(task_id).status is TaskStatus.RUNNING
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_a_job_that_ends_while_it_asks_withdraws_its_question(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    await worker.finish(job)
    assert home.handle.approvals() == []
    assert result_of(home, task_id).content == "done by w1"
    assert home.parts.permits.queued == 0


async def test_a_cancel_while_a_person_is_asked_ends_the_question(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.ask(job)
    cancelling = asyncio.ensure_future(home.handle.cancel(task_id))
    await settle()
    assert home.handle.approvals() == []
    await worker.finish(job)
    assert await cancelling == "cancelled"


async def test_time_stands_still_while_a_person_is_asked(town: Town) -> None:
    worker, home, task_id, job = await town.claimed(TaskPolicy(timeout=10))
    await worker.ask(job)
    await asyncio.sleep(100)
    [approval] = home.handle.approvals()
    home.handle.approve(approval.id, by="ana")
    await settle()
    await worker.finish(job)
    assert (await home.ended(task_id)).status is TaskStatus.SUCCEEDED

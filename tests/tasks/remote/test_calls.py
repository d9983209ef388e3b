"""A background call that a worker carries out, from its home's side: exactly one result."""

import asyncio

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy, background
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Completed, Errored
from sidetask.testing import VirtualClock
from tests.tasks.harness import settle
from tests.tasks.remote.town import AGAIN, ASKING, Town, result_of


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    return Town(clock)


async def test_a_worker_carries_out_what_is_begun_at_home(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", {"n": 3}, call_id="c1")
    await settle()
    job = await worker.claim()
    order = worker.order(job)
    assert (job.id, job.task_id, job.key) == (f"{task_id}:1", task_id, "smith/work")
    assert (order.call.id, order.call.parsed(), order.user) == ("c1", {"n": 3}, "u42")
    assert (await town.row(task_id)).job == job.id
    await worker.finish(job, Completed({"a": 1}, "the text", metadata={"m": 1}))
    resolution = result_of(home, task_id)
    assert (resolution.value, resolution.content) == ({"a": 1}, "the text")
    assert home.told(task_id)[-1] == "task_succeeded"
    assert town.runs == []
    assert (await town.row(task_id)).status is TaskStatus.SUCCEEDED


async def test_what_goes_wrong_on_a_worker_is_an_error_at_home(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work")
    await settle()
    await worker.finish(await worker.claim(), Errored("no luck", "ValueError"))
    resolution = result_of(home, task_id)
    assert (resolution.content, resolution.error_type) == ("no luck", "ValueError")


async def test_where_no_worker_knows_the_tool_it_runs_at_home(town: Town) -> None:
    town.worker("w1", "careful")
    town.worker("w2", "work", draining=True)
    home = await town.home()
    task_id = home.start_in_background("work", {"n": 1})
    await home.ended(task_id)
    assert town.runs == ["work 1"]
    assert await town.jobs() == []


async def test_what_is_not_portable_runs_at_home(town: Town) -> None:
    town.worker("w1", "work", "local", "parent")
    home = await town.home()
    foreground = home.start("work", {"n": 1})
    await home.ended(foreground)
    local = home.start_in_background("local")
    await home.ended(local)
    assert town.runs == ["work 1", "local 0"]
    assert await town.jobs() == []


async def test_a_child_runs_where_its_parent_does(town: Town) -> None:
    town.worker("w1", "work")
    home = await town.home()
    task_id = home.start_in_background("parent")
    assert (await home.ended(task_id)).content == "worked 7 at home"
    assert await town.jobs() == []


async def test_what_was_in_the_foreground_stays_at_home_when_it_is_detached(town: Town) -> None:
    town.worker()
    town.gate.clear()
    home = await town.home()
    task_id = home.start("work")
    await settle()
    home.handle.detach(task_id)
    town.gate.set()
    await home.ended(task_id)
    assert town.runs == ["work 0"]


async def test_background_here_sends_nothing_out(town: Town) -> None:
    town.worker()
    home = await town.home(placement="here")
    await home.ended(home.start_in_background("work"))
    assert await town.jobs() == []


async def test_background_workers_waits_until_there_is_one(town: Town) -> None:
    home = await town.home(placement="workers")
    task_id = home.start_in_background("work")
    await settle()
    await asyncio.sleep(100)
    worker = town.worker()
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"


def test_workers_need_a_store_that_is_shared() -> None:
    for store in (None, MemoryStore()):
        with pytest.raises(ConfigurationError, match="postgresql"):
            AsyncTaskManager(store=store, placement="workers")
    with pytest.raises(ConfigurationError, match="'auto', 'here', 'workers'"):
        AsyncTaskManager(placement="somewhere")  # type: ignore[arg-type]


async def test_a_worker_that_joins_later_gets_the_next_call(town: Town) -> None:
    home = await town.home()
    first = home.start_in_background("work", {"n": 1})
    await home.ended(first)
    worker = town.worker()
    await settle()
    await asyncio.sleep(1)
    second = home.start_in_background("work", {"n": 2})
    await settle()
    await worker.finish(await worker.claim())
    assert result_of(home, second).content == "done by w1"
    assert town.runs == ["work 1"]


async def test_an_approval_is_asked_for_at_home_before_anything_is_sent(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("careful", {"n": 1})
    await settle()
    assert await town.jobs() == []
    [approval] = home.handle.approvals()
    home.handle.approve(approval.id, by="ana")
    await settle()
    job = await worker.claim()
    assert [each.kind for each in worker.order(job).approved] == ["tool"]
    assert job.id == f"{task_id}:2"
    await worker.finish(job)
    assert result_of(home, task_id).content == "done by w1"


async def test_arguments_that_do_not_fit_are_told_without_a_worker(town: Town) -> None:
    town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", {"n": "many"})
    resolution = await home.ended(task_id)
    assert resolution.error_type == "ToolArgumentsError"
    assert await town.jobs() == []


async def test_progress_of_a_worker_is_seen_at_home(town: Town) -> None:
    worker, home, task_id, job = await town.claimed()
    await worker.note(job, 0.5, "half")
    progress = home.handle.get(task_id).progress
    assert progress is not None
    assert (progress.fraction, progress.note) == (0.5, "half")
    assert home.told(task_id).count("task_progressed") == 1
    await worker.finish(job)


@pytest.mark.parametrize("policy", [TaskPolicy(timeout=10)])
async def test_waiting_in_the_queue_does_not_count_as_time(town: Town, policy: TaskPolicy) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", policy=policy)
    await asyncio.sleep(100)
    assert home.handle.get(task_id).status is TaskStatus.RUNNING
    job = await worker.claim()
    await asyncio.sleep(10.5)
    assert (await town.job(job.id)).status == "cancelling"
    await worker.finish(job)
    assert (await home.ended(task_id)).status is TaskStatus.TIMED_OUT


@pytest.mark.parametrize(("policy", "text"), [(AGAIN, "worked 0 at home"), (ASKING, "worked")])
async def test_what_is_queued_when_the_last_worker_goes_is_taken_back(
    town: Town, policy: TaskPolicy, text: str
) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start_in_background("work", policy=policy)
    await settle()
    await worker.die()
    assert text in (await home.ended(task_id)).content
    [job] = await town.jobs()
    assert (job.status, job.owner) == ("ended", home.member)


async def test_what_two_workers_have_died_of_is_not_taken_back(town: Town) -> None:
    home = await town.home()
    workers = [town.worker("w1"), town.worker("w2")]
    await asyncio.sleep(2)
    task_id = home.start_in_background("work", policy=AGAIN)
    await settle()
    for worker in workers:
        await worker.claim()
        await worker.die()
        await asyncio.sleep(1.1)
    await asyncio.sleep(10)
    [job] = await town.jobs()
    assert (job.status, job.claims) == ("queued", 2)
    await town.crash(home)
    home = await town.home()
    await asyncio.sleep(10)
    [job] = await town.jobs()
    assert (job.status, job.claims) == ("queued", 2), "the next home leaves it to workers, too"
    third = town.worker("w3")
    await third.finish(await third.claim())
    assert (await home.ended(task_id)).content == "done by w3"


async def test_a_route_says_nothing_of_where(town: Town) -> None:
    worker = town.worker()
    home = await town.home()
    task_id = home.start("work", route=background())
    await settle()
    await worker.finish(await worker.claim())
    assert result_of(home, task_id).content == "done by w1"

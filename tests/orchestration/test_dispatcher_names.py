"""The same name again: who may write its keys, and that nothing stale is left in them."""

import asyncio
from typing import get_args

import pytest

from sidetask.core.errors import DuplicateTaskError, TaskFailedError
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import OnDuplicateLike
from sidetask.orchestration import BackgroundAgentDispatcher, as_agent
from sidetask.state import State, StateView, failed, resolved, settled
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Held, fleet, settle


async def give_back(input: object) -> object:
    return input


async def fail(input: object) -> object:
    raise ValueError(str(input))


async def test_a_newer_run_replaces_the_older_which_is_stopped(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 2) as f:
        old = f.agents.dispatch("a", held, input="old")
        await settle()
        new = f.agents.dispatch("a", held, input="new")
        await settle()
        assert (await old.wait()).status is TaskStatus.CANCELLED
        assert "replaced" in (await old.wait()).content
        assert f.keys("a") == {"status": "running"}
        held.let_go("new", "fresh")
        assert await new == "fresh"
        assert f.keys("a") == {"status": "succeeded", "result": "fresh"}
        assert f.origin("a:result").task_id == new.id


async def test_a_replaced_run_that_goes_on_and_returns_writes_nothing(clock: VirtualClock) -> None:
    stubborn = Held(stubborn=True)
    async with fleet(clock, 2) as f:
        old = f.agents.dispatch("a", stubborn, input="old")
        await settle()
        new = f.agents.dispatch("a", as_agent(give_back), input="new")
        assert await new == "new"
        assert (f.agents.active_count, f.agents.available_permits) == (1, 1)
        assert [task.id for task in f.manager.handle().list_running()] == [old.id]
        assert (await old.wait()).status is TaskStatus.CANCELLED
        assert (f.agents.active_count, f.agents.available_permits) == (0, 1)  # it still runs
        await asyncio.sleep(200)
        assert f.agents.available_permits == 2
        assert len(stubborn.late_errors) == 1
        assert "late" not in f.state
        assert f.keys("a") == {"status": "succeeded", "result": "new"}


async def test_a_cancelled_run_that_goes_on_and_returns_writes_nothing(
    clock: VirtualClock,
) -> None:
    stubborn = Held(stubborn=True)
    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", stubborn, input="x")
        await settle()
        assert f.agents.cancel("a")
        assert f.keys("a") == {"status": "running"}  # it is still stopping
        await handle.wait()
        assert f.keys("a") == {"status": "cancelled"}
        await asyncio.sleep(200)
        assert f.keys("a") == {"status": "cancelled"}
        assert "late" not in f.state


async def test_a_name_that_is_alive_may_be_refused(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, on_duplicate="reject") as f:
        first = f.agents.dispatch("a", held, input=1)
        await settle()
        with pytest.raises(DuplicateTaskError, match="'a' is at work already"):
            f.agents.dispatch("a", held, input=2)
        assert f.keys("a") == {"status": "running"}
        held.let_go(1, "one")
        assert await first == "one"
        assert await f.agents.dispatch("a", as_agent(give_back), input=2) == 2


async def test_a_name_that_is_alive_may_be_joined(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, on_duplicate="join") as f:
        first = f.agents.dispatch("a", held, input=1)
        second = f.agents.dispatch("a", held, input=2)
        assert second.id == first.id
        held.let_go(1, "one")
        assert (await first, await second) == ("one", "one")
        assert held.begun == [1]


async def test_nobody_joins_a_run_that_is_being_stopped(clock: VirtualClock) -> None:
    async with fleet(clock, 2, on_duplicate="join") as f:
        old = f.agents.dispatch("a", Held(stubborn=True))
        await settle()
        f.agents.cancel("a")
        new = f.agents.dispatch("a", as_agent(give_back), input="new")
        assert new.id != old.id
        assert await new == "new"


async def test_runs_of_one_name_may_go_side_by_side_and_the_newest_has_the_keys(
    clock: VirtualClock,
) -> None:
    held = Held()
    async with fleet(clock, 2, on_duplicate="allow") as f:
        slow = f.agents.dispatch("a", held, input="slow")
        fast = f.agents.dispatch("a", held, input="fast")
        await settle()
        held.let_go("fast", "new value")
        assert await fast == "new value"
        held.let_go("slow", "old value")
        assert await slow == "old value"  # its handle has it; the name's keys are another's
        assert f.keys("a") == {"status": "succeeded", "result": "new value"}
        assert f.origin("a:result").task_id == fast.id


async def test_the_status_of_a_name_is_that_of_its_latest_run(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, on_duplicate="allow") as f:
        f.agents.dispatch("a", held, input=1)
        f.agents.dispatch("a", held, input=2)
        await settle()
        assert (f.agents.status("a"), f.agents.is_running("a")) == ("queued", True)
        held.let_go(1)
        await settle()
        assert (f.agents.status("a"), f.agents.is_running("a")) == ("running", True)


@pytest.mark.parametrize("word", get_args(get_args(OnDuplicateLike)[1]))
async def test_one_name_in_two_states_is_two_runs(clock: VirtualClock, word: str) -> None:
    held = Held()
    async with fleet(clock, 2, on_duplicate=word) as f:
        other = State()
        f.agents.dispatch("a", held, input=1)
        f.agents.dispatch("a", held, other, input=2)
        await settle()
        assert sorted(map(str, held.begun)) == ["1", "2"]
        held.let_go(1)
        held.let_go(2)
        await settle()
        assert resolved(f.state, "a")
        assert resolved(other, "a")


async def test_a_refused_replacement_leaves_the_old_run_alone(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=1) as f:
        f.agents.dispatch("a", held, input="a")
        f.agents.dispatch("b", held, input="b")
        await settle()
        with pytest.raises(Exception, match="too many runs"):
            f.agents.dispatch("a", held, input="a2")
        newer = f.agents.dispatch("b", held, input="b2")  # takes the place of the one that waits
        await settle()
        assert f.agents.status("a") is TaskStatus.RUNNING
        held.let_go("a")
        await settle()
        held.let_go("b2", "yes")
        assert await newer == "yes"
        assert held.begun == ["a", "b2"]


async def test_no_end_leaves_anything_of_the_end_before(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:

        async def run(agent: object, input: object = None) -> None:
            await f.agents.dispatch("a", as_agent(agent), input=input).wait()  # type: ignore[arg-type]

        await run(fail, "first")
        await run(give_back, "")
        assert f.keys("a") == {"status": "succeeded", "result": ""}
        assert resolved(f.state, "a")
        await run(fail, "third")
        assert f.keys("a") == {"status": "failed", "error": "third"}
        await run(give_back, None)
        assert f.keys("a") == {"status": "succeeded", "result": None}
        handle = f.agents.dispatch("a", Held())
        assert not resolved(f.state, "a")
        assert not failed(f.state, "a")
        await settle()
        assert not settled(f.state, "a")
        handle.cancel()
        await handle.wait()
        assert f.keys("a") == {"status": "cancelled"}


async def test_the_last_result_may_stay_until_there_is_a_new_one(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1) as f:
        await f.agents.dispatch("a", as_agent(give_back), input="old")
        f.agents.dispatch("a", held, keep_stale=True)
        await settle()
        assert f.keys("a") == {"status": "running", "result": "old"}
        held.let_go(None, "new")
        await settle()
        assert f.keys("a") == {"status": "succeeded", "result": "new"}


async def test_a_run_on_the_view_of_a_task_outlives_that_task(clock: VirtualClock) -> None:
    inner = Held("inner")

    async def outer(input: object, state: StateView) -> str:
        inner_runs.dispatch("inner", inner, state)
        return "outer is done"

    async with fleet(clock, 1) as f, BackgroundAgentDispatcher(1, tasks=f.manager) as inner_runs:
        assert await f.agents.dispatch("outer", as_agent(outer)) == "outer is done"
        await settle()
        inner.let_go(None, "late and welcome")
        await settle()
        assert f.keys("inner") == {"status": "succeeded", "result": "late and welcome"}


async def test_a_run_whose_fork_is_gone_still_ends(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    async with fleet(clock, 1) as f:
        fork = f.state.fork()
        handle = f.agents.dispatch("a", held, fork)
        await settle()
        fork.discard()
        held.let_go(None, "nowhere to put it")
        assert await handle == "nowhere to put it"
        assert f.agents.active_count == 0
        assert "is not in the state" in caplog.text


async def test_awaiting_a_stopped_run_says_so(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", Held())
        f.agents.cancel("a", "no longer needed")
        with pytest.raises(TaskFailedError, match=r"cancelled: .*no longer needed"):
            await handle

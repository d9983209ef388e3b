"""Dispatchers at the edges of their room: who gets it, who is refused, what is left behind."""

import asyncio

import pytest

from sidetask.core.errors import ManagerClosedError, TooManyTasksError
from sidetask.core.events import TaskSucceeded
from sidetask.core.lifecycle import TaskStatus
from sidetask.orchestration import BackgroundAgentDispatcher, call
from sidetask.state import Change, State
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Held, fleet, settle


async def test_alone_it_runs_as_many_at_once_as_it_says() -> None:
    held = Held()
    async with BackgroundAgentDispatcher(100, max_queue=0) as agents:
        for number in range(100):
            agents.dispatch(f"a{number}", held, input=number)
        await settle()
        assert (held.most, agents.available_permits) == (100, 0)
        for number in range(100):
            held.let_go(number)


async def test_who_waits_for_room_is_refused_as_soon_as_it_closes(clock: VirtualClock) -> None:
    async with fleet(clock, 1, max_queue=0) as f:
        held = Held()
        f.agents.dispatch("a", held)
        asked = asyncio.ensure_future(f.agents.submit("b", Held()))
        await settle()
        closing = asyncio.ensure_future(f.agents.close())
        await settle()
        assert isinstance(asked.exception(), ManagerClosedError)  # and "a" is at work still
        assert not closing.done()
        held.let_go()
        await closing


async def test_who_waits_for_room_goes_on_waiting_when_another_takes_it(
    clock: VirtualClock,
) -> None:
    async with fleet(clock, 1, max_queue=0) as f:
        held = Held()

        def take_its_room(event: object) -> None:
            if isinstance(event, TaskSucceeded) and event.name == "a":
                f.agents.dispatch("b", held, input="b")

        f.told = take_its_room
        f.agents.dispatch("a", held, input="a")
        asked = asyncio.ensure_future(f.agents.submit("c", held, input="c"))
        await settle()
        held.let_go("a")
        await settle()
        assert (held.begun, asked.done()) == (["a", "b"], False)
        held.let_go("b")
        held.let_go("c", "mine at last")
        assert await (await asked) == "mine at last"


async def test_a_replacement_that_the_manager_refuses_stops_nobody(clock: VirtualClock) -> None:
    manager, held = AsyncTaskManager(limits=Limits(queued=1)), Held()
    async with BackgroundAgentDispatcher(1, tasks=manager) as agents:
        agents.dispatch("a", held)
        await settle()
        agents.dispatch("b", held, input="b")
        with pytest.raises(TooManyTasksError):
            agents.dispatch("a", held)
        await settle()
        assert (agents.status("a"), agents.state["a:status"]) == ("running", "running")
        held.let_go(None, "kept")
        held.let_go("b")
    assert agents.state["a:result"] == "kept"
    await manager.handle().close()


async def test_a_run_that_an_action_stops_as_it_starts_is_gone(clock: VirtualClock) -> None:
    async with fleet(clock) as f:

        def stop(change: Change) -> None:
            assert change.provenance.task_id is not None
            f.manager.handle().task(change.provenance.task_id).cancel("not wanted")

        when = f.state.when(lambda change: change.new == "queued", stop)
        handle = f.agents.dispatch("a", Held())
        when.cancel()
        assert (f.agents.active_count, f.agents.is_running("a")) == (0, False)
        assert (await handle.wait()).status is TaskStatus.CANCELLED
        assert f.keys("a") == {"status": "cancelled"}


async def test_of_what_is_cancelled_before_it_began_nothing_begins(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        held = Held()
        handles = [f.agents.dispatch(name, held, input=name) for name in "abcd"]
        assert f.agents.cancel_queued() == 4
        ends = [await handle.wait() for handle in handles]
        assert {end.status for end in ends} == {TaskStatus.CANCELLED}
        assert (held.begun, f.agents.available_permits) == ([], 1)
        assert not [kind for name in "abcd" for kind in f.kinds(name) if kind == "started"]


async def test_a_dispatcher_of_its_own_leaves_no_manager_behind() -> None:
    async with BackgroundAgentDispatcher(1) as agents:
        pass
    with pytest.raises(ManagerClosedError):
        await call("a", Held(), State(), tasks=agents)

"""Invoking an agent in each mode: who is told, what is written, on whose permits."""

import asyncio
from functools import partial
from typing import Any

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    InvalidInputError,
    TaskFailedError,
    TaskFencedError,
)
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.orchestration import BackgroundAgentDispatcher, Mode, as_agent, call, invoke
from sidetask.orchestration.functions import FunctionAgent
from sidetask.orchestration.invoker import EXECUTOR, Invoker
from sidetask.state import State, StateView, start_result
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import TaskLaunch
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Held, fleet, settle
from tests.orchestration.steps import Slow


async def give_back(input: Json) -> Json:
    return input


# -- agents of functions -----------------------------------------------------------------------


async def test_a_function_takes_the_input_the_state_or_both() -> None:
    async def both(input: Json, state: StateView) -> Json:
        return [input, state["key"]]

    async def only_state(state: StateView) -> Json:
        return state["key"]

    class Callable:
        async def __call__(self, input: Json) -> Json:
            return input

    state = State()
    state.set("key", "kept")
    assert await as_agent(both).invoke(1, state) == [1, "kept"]
    assert await as_agent(give_back).invoke(1, state) == 1
    assert await as_agent(only_state, name="s").invoke(1, state) == "kept"
    assert await as_agent(Callable(), name="c").invoke(1, state) == 1
    assert [as_agent(both).name, as_agent(both, name="mine").name] == ["both", "mine"]


def test_what_is_no_async_function_of_an_input_is_refused() -> None:
    async def none() -> None: ...
    async def three(input: Json, state: StateView, more: int) -> None: ...
    def plain(input: Json) -> None: ...

    nameless = partial(give_back)
    wrongs: list[tuple[Any, str]] = [
        (none, r"takes \[\]"),
        (three, "'more'"),
        (plain, "takes an async function"),
        (nameless, "has a name"),
    ]
    for wrong, why in wrongs:
        with pytest.raises(ConfigurationError, match=why):
            as_agent(wrong)


# -- call --------------------------------------------------------------------------------------


async def test_a_call_returns_the_value_and_writes_the_keys(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        value = await call("a", as_agent(give_back), f.state, input={"b": 1}, tasks=f.manager)
        assert value == {"b": 1}
        assert f.keys("a") == {"status": "succeeded", "result": {"b": 1}}
        (task,) = f.manager.handle().list_completed()
        told = f.origin("a:result")
        assert (told.task_id, told.source, told.resolver) == (task.id, "agent", "a")
        assert task.name == "a"
        assert f.kinds("a") == ["queued", "started", "succeeded"]


async def test_a_call_raises_the_agents_own_error() -> None:
    class OwnError(Exception): ...

    raised = OwnError("mine")

    async def fail(input: Json) -> None:
        raise raised

    state = State()
    with pytest.raises(OwnError) as caught:
        await call("a", as_agent(fail), state)
    assert caught.value is raised
    assert state.snapshot() == {"a:status": "failed", "a:error": "mine"}


async def test_a_call_that_takes_too_long_is_stopped() -> None:
    state = State()
    async with asyncio.timeout(100):
        with pytest.raises(TaskFailedError, match="timed out after 3 s"):
            await call("a", Held(), state, timeout=3)
    assert state["a:status"] == "timed_out"


async def test_cancelling_a_call_stops_the_agent_before_it_is_told() -> None:
    held, state = Held(), State()
    calling = asyncio.ensure_future(call("a", held, state))
    await settle()
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    assert state.snapshot() == {"a:status": "cancelled"}
    assert held.gate(None).cancelled()


async def test_who_cancels_a_call_waits_until_the_agent_has_stopped() -> None:
    slow, state = Slow("slow", 100, cleanup=3), State()
    calling = asyncio.ensure_future(call("a", slow, state))
    await settle()
    calling.cancel()
    await asyncio.wait({calling}, timeout=2)
    assert (slow.running, calling.done()) == (1, False)
    await asyncio.wait({calling})
    assert (slow.running, state.snapshot()) == (0, {"a:status": "cancelled"})


async def test_somebody_else_may_cancel_what_is_called(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        calling = asyncio.ensure_future(call("a", Held(), f.state, tasks=f.manager))
        await settle()
        (task,) = f.manager.handle().list_running()
        await f.manager.handle().cancel(task.id, "the host has changed its mind")
        with pytest.raises(TaskFailedError, match="the host has changed its mind"):
            await calling


# -- nesting -----------------------------------------------------------------------------------


def nested(depth: int) -> FunctionAgent:
    """Calls itself down to nothing, each level in the state that it was given."""

    async def descend(input: Json, state: StateView) -> Json:
        assert isinstance(input, int)
        if not input:
            await asyncio.sleep(1)
            return 0
        below = await call(f"level-{input}", nested(input), state, input=input - 1)
        assert isinstance(below, int)
        return below + 1

    return as_agent(descend, name=f"nested-{depth}")


async def test_three_nested_calls_go_on_one_permit(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("top", nested(3), input=3)
        await settle()
        running = f.manager.handle().list_running()
        assert [task.name for task in running] == ["top", "level-3", "level-2", "level-1"]
        assert [task.parent_id for task in running] == [None, *[t.id for t in running[:3]]]
        assert f.agents.available_permits == 0
        assert await handle == 3
        assert f.keys("level-1") == {"status": "succeeded", "result": 0}


async def test_nested_calls_go_on_one_permit_of_a_manager_that_has_but_one() -> None:
    manager = AsyncTaskManager(limits=Limits(total=1, conversation=1))
    async with asyncio.timeout(100):
        assert await call("top", nested(3), State(), input=3, tasks=manager) == 3
    assert not manager.handle().list_running()


async def test_naming_the_own_manager_or_dispatcher_makes_no_second_root(
    clock: VirtualClock,
) -> None:
    async def outer(input: Json, state: StateView) -> Json:
        first = await call("by-manager", as_agent(give_back), state, input=1, tasks=f.manager)
        second = await call("by-dispatcher", as_agent(give_back), state, input=2, tasks=f.agents)
        return [first, second]

    async with fleet(clock, 1) as f:
        assert await f.agents.dispatch("top", as_agent(outer)) == [1, 2]
        parents = {task.name: task.parent_id for task in f.manager.handle().list_completed()}
        assert parents["by-manager"] == parents["by-dispatcher"] is not None


async def test_stopping_a_run_stops_what_it_called(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("top", nested(3), input=3)
        await settle()
        handle.cancel()
        await handle.wait()
        assert not f.manager.handle().list_running()
        assert f.keys("level-1") == {"status": "cancelled"}


async def test_code_of_a_stopped_run_starts_nothing(clock: VirtualClock) -> None:
    errors: list[Exception] = []

    async def clings(input: Json, state: StateView) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            for home in (state, f.state, State()):
                try:
                    await call("too-late", as_agent(give_back), home)
                except TaskFencedError as error:
                    errors.append(error)

    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", as_agent(clings))
        await settle()
        handle.cancel()
        await handle.wait()
        assert len(errors) == 3
        assert f.keys("too-late") == {}


async def test_what_a_run_calls_on_another_manager_is_not_its_child(clock: VirtualClock) -> None:
    other = AsyncTaskManager()
    held = Held()

    async def ask_there(input: Json, state: StateView) -> Json:
        return await call("there", held, state, tasks=other)

    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", as_agent(ask_there))
        await settle()
        (there,) = other.handle().list_running()
        assert (there.name, there.parent_id) == ("there", None)
        held.let_go(value="done there")
        assert await handle == "done there"
        assert f.keys("there") == {"status": "succeeded", "result": "done there"}
    await other.handle().close()


async def test_from_another_thread_nothing_is_started_and_the_error_says_how(
    clock: VirtualClock,
) -> None:
    async with fleet(clock) as f:
        with pytest.raises(ConfigurationError, match=r"call_soon_threadsafe\(dispatcher\.dispatch"):
            await asyncio.to_thread(f.agents.dispatch, "a", as_agent(give_back))
        assert (f.state.snapshot(), f.events, f.agents.active_count) == ({}, [], 0)


async def test_code_that_a_task_left_behind_is_nobodys_child(clock: VirtualClock) -> None:
    left: list[asyncio.Future[Json]] = []

    async def leaves(input: Json, state: StateView) -> None:
        async def later() -> Json:
            await asyncio.sleep(10)
            return await call("later", as_agent(give_back), f.state, input=1)

        left.append(asyncio.ensure_future(later()))

    async with fleet(clock, 1) as f:
        await f.agents.dispatch("a", as_agent(leaves))
        assert await left[0] == 1
        assert f.keys("later") == {"status": "succeeded", "result": 1}


# -- the one door ------------------------------------------------------------------------------


async def test_a_mode_is_a_member_or_its_word(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        agent = as_agent(give_back)
        for mode in (Mode.CALL, "call"):
            assert await invoke(mode, "a", agent, f.state, input=1) == 1
        for mode in (Mode.DISPATCH, "dispatch"):
            handle = await invoke(mode, "b", agent, input=2, tasks=f.agents)
            assert isinstance(handle, TaskHandle)
            assert await handle == 2
        assert f.keys("b") == {"status": "succeeded", "result": 2}
        with pytest.raises(ConfigurationError, match="'call', 'dispatch', 'background'"):
            await invoke("aside", "a", agent, f.state)  # type: ignore[call-overload]


async def test_each_mode_writes_the_same_keys_with_ids_of_its_own(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        agent = as_agent(give_back)
        await call("a", agent, f.state, input=[1], tasks=f.manager)
        called = f.origin("a:result")
        await f.agents.dispatch("a", agent, input=[1])
        dispatched = f.origin("a:result")
        await (await invoke("dispatch", "a", agent, f.state, input=[2], tasks=f.manager))
        other = f.origin("a:result")
        assert called.input_digest == dispatched.input_digest != other.input_digest
        assert len({each.run_id for each in (called, dispatched, other)}) == 3
        assert len({each.task_id for each in (called, dispatched, other)}) == 3
        assert {each.attempt for each in (called, dispatched, other)} == {1}
        assert other.version > dispatched.version > called.version
        events = [each for each in f.events if each.run_id == called.run_id]
        assert {getattr(each, "task_id", None) for each in events} == {called.task_id}


async def test_a_dispatch_without_a_manager_needs_nobody_to_end_it() -> None:
    held, state = Held(), State()
    handle = await invoke("dispatch", "a", held, state)
    await settle()
    held.let_go(None, "fine")
    assert await handle == "fine"
    assert state["a:result"] == "fine"


async def test_a_dispatch_on_a_dispatcher_obeys_its_cap(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        held = Held()
        for name in ("a", "b"):
            await invoke("dispatch", name, held, input=name, tasks=f.agents, timeout=9)
        await settle()
        assert (f.agents.status("a"), f.agents.status("b")) == ("running", "queued")
        await asyncio.sleep(20)  # the time of each counts from its start
        assert (f.state["a:status"], f.state["b:status"]) == ("timed_out", "timed_out")
        assert held.most == 1


async def test_options_hold_in_every_mode(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        for tasks in (f.agents, f.manager):
            for mode in ("call", "dispatch"):
                start_result(f.state, "a").settle(TaskStatus.SUCCEEDED, value="stale")
                asked = invoke(mode, "a", Held(), f.state, tasks=tasks, timeout=3, keep_stale=True)
                running = asyncio.ensure_future(asked)
                await settle()
                assert f.keys("a") == {"status": "running", "result": "stale"}, mode
                await asyncio.sleep(3)
                assert f.keys("a")["status"] == "timed_out", mode
                await asyncio.wait({running})
                assert (running.exception() is not None) is (mode == "call")


async def test_what_cannot_be_invoked_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="conversation=chat"):
        await invoke("background", "a", as_agent(give_back), State())
    with pytest.raises(InvalidInputError, match="give it one"):
        await invoke("call", "a", as_agent(give_back))
    wrong: Any = {"inputs": 1, "wait": True}
    with pytest.raises(ConfigurationError, match="no option inputs, wait; there are: input, task"):
        await invoke("call", "a", as_agent(give_back), State(), **wrong)


async def test_dispatched_results_wait_for_nobody_to_take_them() -> None:
    manager = AsyncTaskManager(limits=Limits(undelivered=3))
    async with BackgroundAgentDispatcher(2, tasks=manager) as agents:
        for i in range(10):
            agents.dispatch(f"r{i}", as_agent(give_back), input=i)
    assert manager.handle().drain_ready_items() == []
    assert (await manager.handle().wait_for_idle()).undelivered == 0


async def test_a_run_is_found_again_by_its_registered_name_and_its_arguments_alone() -> None:
    """What an engine has after a restart: no object, only the name and the JSON."""
    state = State()
    manager = AsyncTaskManager(state=state)
    Invoker(manager, agents={"echo": as_agent(give_back, name="echo")})
    for agent, status in (("echo", TaskStatus.SUCCEEDED), ("gone", TaskStatus.FAILED)):
        launch = TaskLaunch(
            call=ToolCall.make("a", {"agent": agent, "input": [1]}),
            conversation_id=ConversationId("c"),
            executor=EXECUTOR,
        )
        pending = manager.start_nowait(launch)
        assert (await manager.handle().wait(pending.task_id)).status is status
    assert state["a:result"] == [1]

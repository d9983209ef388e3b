"""Options of resolvers that hold whoever runs them, and results that others are making anew."""

import asyncio

from sidetask.core.errors import TaskFailedError
from sidetask.core.lifecycle import TaskStatus
from sidetask.orchestration.calling import call
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.resolvers import Resolver
from sidetask.state import State, start_result
from sidetask.testing import VirtualClock
from tests.orchestration.steps import Quick
from tests.orchestration.test_resolver import Source


async def test_a_dispatched_run_takes_no_longer_than_its_resolver_says(clock: VirtualClock) -> None:
    state = State(now=clock.now)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        handle = Resolver.fetch("rates", Source(seconds=9), timeout=3).dispatch(state, dispatcher)
        assert handle is not None
        assert (await handle.wait()).status is TaskStatus.TIMED_OUT
    assert (clock.time(), state["rates:status"]) == (3, "timed_out")


async def test_a_shared_run_takes_no_longer_than_its_resolver_says(clock: VirtualClock) -> None:
    state, source = State(now=clock.now), Source(seconds=9)
    resolver = Resolver.fetch("rates", source, timeout=3, dedupe=True)
    asked = [asyncio.ensure_future(resolver(state)) for _ in range(2)]
    await asyncio.wait(asked)
    assert [type(each.exception()) for each in asked] == [TaskFailedError] * 2
    assert (clock.time(), source.begun, state["rates:status"]) == (3, 1, "timed_out")


async def test_the_last_result_may_stay_while_the_next_is_dispatched(clock: VirtualClock) -> None:
    state = State(now=clock.now)
    resolver = Resolver.fetch("rates", Source("old", "new"), keep_stale=True)
    await resolver(state)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        resolver.dispatch(state, dispatcher)
        await asyncio.sleep(0.5)
        assert (state["rates:result"], state["rates:status"]) == ("old", "running")
    assert state["rates:result"] == "new"


async def test_a_result_that_somebody_makes_anew_is_not_fresh(clock: VirtualClock) -> None:
    state = State(now=clock.now)
    resolver = Resolver.fetch("rates", Source("old", "new"), ttl=60)
    assert await resolver(state) == "old"
    start_result(state, "rates", keep_stale=True)
    assert state["rates:result"] == "old"
    assert await resolver(state) == "new"


async def test_a_resolver_that_is_called_like_an_agent_gets_the_input_of_the_call(
    clock: VirtualClock,
) -> None:
    state, agent = State(now=clock.now), Quick("agent", lambda text, _: text)
    state.update({"input": "not this one", "file": "main.py"})
    greeting = Resolver.agent("greeting", agent, input="{input} for {file}")
    assert await call("outer", greeting, state, input="Hello") == "Hello for main.py"
    assert (state["greeting:result"], state["outer:result"]) == ("Hello for main.py",) * 2
    assert state["input"] == "not this one"

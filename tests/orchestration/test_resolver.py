"""Values that take time, by name."""

import asyncio
from typing import Any, cast

import pytest

from sidetask.core.errors import (
    AllFailedError,
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    ModelUnavailableError,
    RateLimitedError,
    TaskFailedError,
    TemplateError,
)
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.orchestration.combinators import parallel, sequence
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.functions import as_agent
from sidetask.orchestration.resolvers import Resolver
from sidetask.orchestration.template import Template
from sidetask.state.state import State, StateView
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.testing import ScriptedModel, VirtualClock
from tests.orchestration.fleet import fleet, settle
from tests.orchestration.steps import Quick, Slow, appending


class Source:
    """A function to fetch from: it counts, and takes a second."""

    def __init__(self, *answers: "Json | Exception", seconds: float = 1) -> None:
        self.answers = answers or ("value",)
        self.seconds = seconds
        self.begun = 0
        self.stopped = 0

    async def __call__(self, state: StateView) -> Json:
        self.begun += 1
        answer = self.answers[min(self.begun, len(self.answers)) - 1]
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def state(clock: VirtualClock) -> State:
    return State(now=clock.now)


# -- inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("Review {file} for {user.name}", "Review main.py for Ann"),
        (Template("{file}{gone}", missing="empty"), "main.py"),
        ("user", {"name": "Ann"}),
        (" user.name ", "Ann"),
        (("file", "user.name"), {"file": "main.py", "user.name": "Ann"}),
        (None, "what is there"),
    ],
)
async def test_an_agent_is_given_what_its_input_says(state: State, spec: Any, given: Json) -> None:
    state.update({"file": "main.py", "user": {"name": "Ann"}, "input": "what is there"})
    agent = Quick("agent", "done")
    assert await Resolver.agent("review", agent, input=spec)(state) == "done"
    assert agent.inputs == [given]


async def test_without_any_input_an_agent_is_given_null(state: State) -> None:
    agent = Quick("agent")
    await Resolver.agent("review", agent)(state)
    assert agent.inputs == [None]


@pytest.mark.parametrize("spec", ["{file}", "file", ("file", "user")])
async def test_a_missing_input_is_told_before_anything_has_changed(state: State, spec: Any) -> None:
    agent = Quick("agent")
    resolver = Resolver.agent("review", agent, input=spec)
    with pytest.raises(TemplateError, match="'file'"):
        await resolver(state)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        with pytest.raises(TemplateError, match="'file'"):
            resolver.dispatch(state, dispatcher)
    assert (agent.inputs, state.snapshot()) == ([], {})


# -- what it leaves in the state ---------------------------------------------------------------


async def test_a_fetched_value_lands_in_the_state_with_its_source(state: State) -> None:
    resolver = Resolver.fetch("rates", Source({"eur": 1.1}))
    assert await resolver(state) == {"eur": 1.1}
    assert state.snapshot() == {"rates:status": "succeeded", "rates:result": {"eur": 1.1}}
    told = state.provenance("rates:result")
    assert told is not None
    assert (told.source, told.resolver, resolver.name) == ("fetch", "rates", "rates")
    assert repr(resolver) == "<resolver rates>"


async def test_an_agents_value_is_told_as_an_agents(state: State) -> None:
    await Resolver.agent("review", Quick("agent", "done"))(state)
    told = state.provenance("review:result")
    assert told is not None
    assert told.source == "agent"


async def test_an_error_is_raised_as_it_is_and_stays_in_the_state(state: State) -> None:
    with pytest.raises(ValueError, match="no luck"):
        await Resolver.fetch("rates", Source(ValueError("no luck")))(state)
    assert state.snapshot() == {"rates:status": "failed", "rates:error": "no luck"}
    told = state.provenance("rates:error")
    assert told is not None
    assert (told.source, told.error_type) == ("fetch", "ValueError")


async def test_a_resolver_is_a_step_of_a_pipeline(state: State) -> None:
    resolver = Resolver.agent("upper", Quick("up", lambda text, _: str(text).upper()))
    shout = Resolver.agent("shout", appending("!"), input="{input}/{upper:result}")
    line = sequence(appending("a"), resolver, shout)
    assert await line.invoke("x", state) == "XA/XA!"
    assert state["upper:result"] == "XA"
    assert "input" not in state


async def test_its_run_is_a_task_of_whoever_is_named(state: State) -> None:
    manager = AsyncTaskManager()
    running = asyncio.create_task(Resolver.fetch("rates", Source())(state, tasks=manager))
    await asyncio.sleep(0.5)
    assert [task.name for task in manager.handle().list_running()] == ["rates"]
    assert state["rates:status"] == "running"
    await running


# -- dispatched --------------------------------------------------------------------------------


async def test_dispatched_runs_stay_within_the_cap(state: State) -> None:
    slow = Slow("slow", 1, "done")
    async with BackgroundAgentDispatcher(2) as dispatcher:
        handles = [Resolver.agent(f"r{at}", slow).dispatch(state, dispatcher) for at in range(5)]
        assert state["r0:status"] == "queued"
        assert [await handle for handle in handles if handle is not None] == ["done"] * 5
    assert slow.most == 2
    assert [state[f"r{at}:result"] for at in range(5)] == ["done"] * 5


# -- a limit of time ---------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_ends_as_timed_out(
    state: State, clock: VirtualClock
) -> None:
    source = Source(seconds=100)
    with pytest.raises(TaskFailedError) as told:
        await Resolver.fetch("rates", source, timeout=3)(state)
    assert (told.value.status, clock.time(), source.stopped) == (TaskStatus.TIMED_OUT, 3, 1)
    assert state["rates:status"] == "timed_out"


async def test_the_timeout_is_for_all_tries_together(state: State, clock: VirtualClock) -> None:
    source = Source(ConnectionError("down"), seconds=2)
    with pytest.raises(TaskFailedError):
        await Resolver.fetch("rates", source, timeout=5, retries=100)(state)
    assert (source.begun > 1, clock.time()) == (True, 5)


# -- again -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("down"),
        TimeoutError("late"),
        RateLimitedError("slow down"),
        ModelUnavailableError("down"),
        AllFailedError("race", [("a", ValueError("bad")), ("b", ConnectionError("down"))]),
    ],
)
async def test_what_may_pass_is_tried_again(
    state: State, clock: VirtualClock, error: Exception
) -> None:
    source = Source(error, error, "value")
    assert await Resolver.fetch("rates", source, retries=2)(state) == "value"
    assert source.begun == 3
    assert 3 < clock.time() < 3 + 5 + 5
    assert state["rates:status"] == "succeeded"


@pytest.mark.parametrize("error", [ValueError("bad"), AuthenticationError("bad key")])
async def test_what_does_not_pass_is_not_tried_again(state: State, error: Exception) -> None:
    source = Source(error, "value")
    with pytest.raises(type(error)):
        await Resolver.fetch("rates", source, retries=2)(state)
    assert source.begun == 1


async def test_after_the_last_try_its_own_error_is_raised(state: State) -> None:
    first, last = ConnectionError("first"), ConnectionError("last")
    with pytest.raises(ConnectionError, match="last"):
        await Resolver.fetch("rates", Source(first, last), retries=1)(state)


async def test_the_types_that_are_tried_again_can_be_named(state: State) -> None:
    source = Source(KeyError("k"), ConnectionError("down"))
    with pytest.raises(ConnectionError):
        await Resolver.fetch("rates", source, retries=5, retry_on=KeyError)(state)
    assert source.begun == 2


async def test_a_wait_that_the_error_asks_for_is_waited(state: State, clock: VirtualClock) -> None:
    source = Source(RateLimitedError("slow down", retry_after=30), "value")
    assert await Resolver.fetch("rates", source, retries=1)(state) == "value"
    assert clock.time() == 32


async def test_nobody_waits_an_hour_for_a_try(state: State, clock: VirtualClock) -> None:
    source = Source(RateLimitedError("slow down", retry_after=3_600), "value")
    with pytest.raises(RateLimitedError):
        await Resolver.fetch("rates", source, retries=1)(state)
    assert clock.time() == 1


async def test_cancelling_between_two_tries_ends_it(state: State) -> None:
    source = Source(RateLimitedError("slow down", retry_after=30), "value")
    asking = asyncio.create_task(Resolver.fetch("rates", source, retries=1)(state))
    await asyncio.sleep(10)
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.sleep(100)
    assert (asking.cancelled(), source.begun, state["rates:status"]) == (True, 1, "cancelled")


# -- fresh -------------------------------------------------------------------------------------


async def test_a_fresh_result_is_given_again(state: State, clock: VirtualClock) -> None:
    source = Source("old", "new")
    resolver = Resolver.fetch("rates", source, ttl=60)
    assert await resolver(state) == "old"
    await asyncio.sleep(59.9)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        assert resolver.dispatch(state, dispatcher) is None
    assert (await resolver(state), source.begun) == ("old", 1)
    await asyncio.sleep(0.1)
    assert (await resolver(state), source.begun) == ("new", 2)


async def test_a_result_of_another_input_is_not_fresh(state: State) -> None:
    agent = Quick("agent", lambda text, _: text)
    resolver = Resolver.agent("echo", agent, input="{word}", ttl=60)
    for word in ("a", "a", "b", "a"):
        state.set("word", word)
        assert await resolver(state) == word
    assert agent.inputs == ["a", "b", "a"]


async def test_a_failure_is_not_kept(state: State) -> None:
    source = Source(ValueError("no luck"), None)
    resolver = Resolver.fetch("rates", source, ttl=60)
    with pytest.raises(ValueError, match="no luck"):
        await resolver(state)
    assert (await resolver(state), await resolver(state), source.begun) == (None, None, 2)


async def test_the_last_result_may_stay_while_the_next_is_made(state: State) -> None:
    resolver = Resolver.fetch("rates", Source("old", "new"), keep_stale=True)
    await resolver(state)
    asking = asyncio.create_task(resolver(state))
    await asyncio.sleep(0.5)
    assert (state["rates:result"], state["rates:status"]) == ("old", "running")
    assert (await asking, state["rates:result"]) == ("new", "new")


# -- shared ------------------------------------------------------------------------------------


async def test_two_who_ask_at_once_share_one_run(state: State, clock: VirtualClock) -> None:
    source = Source("one", "two")
    resolver = Resolver.fetch("rates", source, dedupe=True)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(resolver(state)) for _ in range(3)]
    assert ([each.result() for each in asked], source.begun) == (["one"] * 3, 1)
    assert (await resolver(state), source.begun, clock.time()) == ("two", 2, 2)


async def test_one_who_gives_up_leaves_the_run_to_the_others(state: State) -> None:
    source = Source()
    resolver = Resolver.fetch("rates", source, dedupe=True)
    first, second = (asyncio.create_task(resolver(state)) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == "value"
    assert (first.cancelled(), source.begun, source.stopped) == (True, 1, 0)
    assert state["rates:status"] == "succeeded"


async def test_the_last_one_who_gives_up_stops_the_run(state: State) -> None:
    source = Source("one", "two", seconds=100)
    resolver = Resolver.fetch("rates", source, dedupe=True)
    asked = [asyncio.create_task(resolver(state)) for _ in range(2)]
    await asyncio.sleep(1)
    for each in asked:
        each.cancel()
    await asyncio.wait(asked)
    assert (source.stopped, state["rates:status"]) == (1, "cancelled")
    assert (await resolver(state), source.begun) == ("two", 2)


async def test_who_asks_while_a_run_is_being_stopped_gets_a_run_of_its_own(state: State) -> None:
    slow = Slow("slow", 10, "done", cleanup=3)
    resolver = Resolver.agent("r", slow, dedupe=True)
    first = asyncio.create_task(resolver(state))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    assert not first.done()
    assert await resolver(state) == "done"
    assert (slow.cancelled, slow.most) == (1, 2)
    assert state["r:result"] == "done"


async def test_who_asks_while_somebody_else_stops_a_run_gets_a_run_of_its_own(
    clock: VirtualClock,
) -> None:
    slow = Slow("slow", 10, "done", cleanup=3)
    resolver = Resolver.agent("r", slow, dedupe=True)
    async with fleet(clock) as f:
        stopped = resolver.dispatch(f.state, f.agents)
        assert stopped is not None
        await settle()
        f.agents.cancel("r")
        await settle()
        assert stopped.stopping
        assert await resolver(f.state, tasks=f.manager) == "done"
        assert (slow.cancelled, f.keys("r")["status"]) == (1, "succeeded")


async def test_an_error_of_a_shared_run_reaches_all(state: State) -> None:
    source = Source(ValueError("no luck"))
    resolver = Resolver.fetch("rates", source, dedupe=True)
    asked = [asyncio.create_task(resolver(state)) for _ in range(2)]
    await asyncio.wait(asked)
    assert [str(each.exception()) for each in asked] == ["no luck", "no luck"]
    assert source.begun == 1


async def test_other_inputs_and_other_states_are_other_runs(state: State) -> None:
    slow = Slow("slow", 1, lambda text, _: text)
    resolver = Resolver.agent("r", slow, input="{word}", dedupe=True)
    other = State()
    state.set("word", "a")
    other.set("word", "a")
    first, second = (asyncio.create_task(resolver(each)) for each in (state, other))
    await asyncio.sleep(0.5)
    state.set("word", "b")
    assert (await resolver(state), await first, await second) == ("b", "a", "a")
    assert sorted(map(str, slow.inputs)) == ["a", "a", "b"]


async def test_a_run_outlives_the_task_that_asked_first(state: State) -> None:
    source = Source()
    resolver = Resolver.fetch("rates", source, dedupe=True)
    asker = as_agent(resolver, name="asker")
    async with BackgroundAgentDispatcher(2) as dispatcher:
        first = dispatcher.dispatch("first", asker, state)
        second = dispatcher.dispatch("second", asker, state)
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == "value"
        assert first.status is TaskStatus.CANCELLED
    assert (source.begun, source.stopped, state["rates:result"]) == (1, 0, "value")


async def test_a_shared_run_needs_no_permit_that_its_askers_hold(state: State) -> None:
    resolver = Resolver.fetch("rates", Source(), dedupe=True)
    asker = as_agent(resolver, name="asker")
    async with BackgroundAgentDispatcher(1, max_queue=0) as dispatcher:
        assert await dispatcher.dispatch("only", asker, state) == "value"


async def test_a_dispatched_run_is_shared_and_stays_when_who_asked_gives_up(state: State) -> None:
    source = Source()
    resolver = Resolver.fetch("rates", source, dedupe=True)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        handle = resolver.dispatch(state, dispatcher)
        assert handle is not None
        again = resolver.dispatch(state, dispatcher)
        assert again is not None
        assert again.id == handle.id
        asking = asyncio.create_task(resolver(state))
        await asyncio.sleep(0.5)
        asking.cancel()
        await asyncio.wait({asking})
        assert await handle == "value"
        assert dispatcher.active_count == 0
    assert (source.begun, asking.cancelled()) == (1, True)


async def test_nobody_waits_for_a_run_that_waits_for_their_permit(state: State) -> None:
    source = Source()
    resolver = Resolver.fetch("rates", source, dedupe=True)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        asking = dispatcher.dispatch("asker", as_agent(resolver, name="asker"), state)
        queued = resolver.dispatch(state, dispatcher)
        assert queued is not None
        assert queued.waiting
        assert await asking == "value"
        assert await queued == "value"
    assert (source.begun, state["rates:status"]) == (2, "succeeded")


async def test_what_a_dispatcher_joins_to_a_run_for_another_input_is_not_shared(
    state: State,
) -> None:
    slow = Slow("slow", 1, lambda text, _: text)
    resolver = Resolver.agent("r", slow, input="{word}", dedupe=True)
    async with BackgroundAgentDispatcher(1, on_duplicate="join") as dispatcher:
        state.set("word", "a")
        first = resolver.dispatch(state, dispatcher)
        state.set("word", "b")
        second = resolver.dispatch(state, dispatcher)
        assert first is not None
        assert second is not None
        assert first.id == second.id
        assert await resolver(state) == "b"


async def test_shared_runs_leave_no_residue(state: State) -> None:
    resolver = Resolver.agent("r", Quick("q"), input="{word}", dedupe=True)
    for word in range(100):
        state.set("word", word)
        await resolver(state)
    async with BackgroundAgentDispatcher(1) as dispatcher:
        handle = resolver.dispatch(state, dispatcher)
        assert handle is not None
        await handle
    assert cast(Any, resolver)._sharing._runs == {}


async def test_a_shared_run_in_branches_of_a_pipeline_is_one_for_each_fork(state: State) -> None:
    source = Source("one", "two")
    resolver = Resolver.fetch("rates", source, dedupe=True)
    line = parallel(resolver, sequence(resolver))
    outputs = await line.invoke(None, state)
    assert isinstance(outputs, list)
    assert sorted(map(str, outputs)) == ["one", "two"]
    assert (source.begun, state["rates:result"]) == (2, outputs[1])


# -- refused when it is made -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"timeout": 0}, "timeout"),
        ({"ttl": -1}, "ttl"),
        ({"retries": -1}, "retries"),
        ({"retry_on": KeyError}, "retry_on"),
        ({"retry_on": "KeyError", "retries": 2}, "types of errors, not 'KeyError'"),
        ({"retry_on": (KeyError, 5), "retries": 2}, "types of errors, not 5"),
        ({"retry": 3}, "no option retry; there are: timeout, retries, "),
    ],
)
def test_options_that_are_none_or_out_of_range_are_refused(options: Any, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Resolver.fetch("rates", Source(), **options)


def test_what_cannot_be_a_resolver_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="named"):
        Resolver.fetch("rates:", Source())
    with pytest.raises(ConfigurationError, match="async function"):
        Resolver.fetch("rates", cast(Any, len))
    with pytest.raises(ConfigurationError, match="as_agent"):
        Resolver.agent("rates", cast(Any, len))
    for wrong in (5, {"file": 1}):
        with pytest.raises(ConfigurationError, match="the input of a resolver is of type Seq"):
            Resolver.agent("rates", Quick("echo"), input=cast(Any, wrong))
    with pytest.raises(ConfigurationError, match="a template is of type str, not 5"):
        Resolver.llm("verdict", ScriptedModel(), cast(Any, 5))
    with pytest.raises(TemplateError, match="not closed"):
        Resolver.llm("verdict", ScriptedModel(), "Review {file")

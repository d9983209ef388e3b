"""Pipelines in which one agent runs at a time."""

import asyncio
from typing import Any, cast

import pytest
from pydantic import BaseModel

from sidetask.core.errors import (
    AllFailedError,
    ConfigurationError,
    InvocationTimeoutError,
    RoundLimitError,
    StateClosedError,
    StateValueError,
    UnknownRouteError,
)
from sidetask.core.jsons import Json
from sidetask.orchestration.combinators import (
    fallback,
    loop,
    parallel,
    route,
    sequence,
    tap,
    with_timeout,
)
from sidetask.orchestration.template import Template
from sidetask.state.state import State, StateView
from sidetask.testing import VirtualClock, ignores_cancellation
from tests.orchestration.steps import Quick, Slow, appending, writing


def template(text: str) -> Quick:
    """An agent that says what a template gives."""
    made = Template(text)
    return Quick("template", lambda _, state: made.render(state))


# -- one after another -----------------------------------------------------------------------


async def test_each_output_is_the_next_input() -> None:
    line = sequence(appending("a"), appending("b"), appending("c"))
    assert await line.invoke("-", State()) == "-abc"
    assert (line.name, [agent.name for agent in line.agents]) == (
        "sequence(a, b, c)",
        ["a", "b", "c"],
    )
    assert repr(line) == "<pipeline sequence(a, b, c)>"


async def test_agents_find_input_and_output_in_the_state_and_nobody_else_does() -> None:
    state = State()
    state.update({"input": "the host's", "output": "the host's"})
    line = sequence(appending("a"), template("{input}|{output}"))
    assert await line.invoke("x", state) == "xa|xa"
    assert state.snapshot() == {"input": "the host's", "output": "the host's"}
    assert state.version("input") == 1


async def test_two_pipelines_on_one_state_see_each_their_own_input() -> None:
    state = State()
    seen = Slow("seen", 1, lambda _, view: [view["input"], view["output"]])
    line = sequence(appending("a"), seen)
    async with asyncio.TaskGroup() as group:
        one = group.create_task(line.invoke("one-", state))
        two = group.create_task(line.invoke("two-", state))
    assert (one.result(), two.result()) == (["one-a", "one-a"], ["two-a", "two-a"])
    assert state.snapshot() == {}


async def test_what_the_agents_wrote_lands_at_the_end_in_one_step() -> None:
    state = State()
    line = sequence(Quick("a", writing("a", 1)), Slow("b", 1, writing("b", 2)))
    with state.watch() as watch:
        running = asyncio.create_task(line.invoke(None, state))
        await asyncio.sleep(0.5)
        assert state.snapshot() == {}
        await running
        told = [await anext(watch) for _ in range(2)]
    assert [(change.key, change.new) for change in told] == [("a", 1), ("b", 2)]


async def test_a_pipeline_that_fails_leaves_nothing() -> None:
    state = State()
    line = sequence(Quick("a", writing("a", 1)), Quick("b", ValueError("no luck")))
    with pytest.raises(ValueError, match="no luck"):
        await line.invoke(None, state)
    assert state.snapshot() == {}


async def test_what_a_failed_pipeline_has_left_behind_writes_nothing() -> None:
    state, views = State(), list[StateView]()

    def fail(input: Json, view: StateView) -> Exception:
        views.append(view)
        return ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        await sequence(Quick("bad", fail)).invoke("x", state)
    with pytest.raises(StateClosedError):
        views[0].set("late", 1)
    with pytest.raises(StateClosedError):
        views[0].watch("a")
    assert state.snapshot() == {}


async def test_a_cancelled_pipeline_leaves_nothing_and_its_agent_has_ended() -> None:
    state, slow = State(), Slow("slow", 100, cleanup=5)
    line = sequence(Quick("a", writing("a", 1)), slow)
    running = asyncio.create_task(line.invoke(None, state))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait({running})
    assert (running.cancelled(), slow.cancelled, slow.running) == (True, 1, 0)
    assert state.snapshot() == {}


async def test_an_output_that_is_no_json_names_its_agent() -> None:
    line = sequence(appending("a"), Quick("bad", cast(Any, {1, 2})))
    with pytest.raises(StateValueError, match="'output of bad' holds set"):
        await line.invoke("x", State())


async def test_an_agent_cannot_change_what_another_one_was_given() -> None:
    def spoil(input: Json, _: StateView) -> Json:
        cast("list[Json]", input).append("spoilt")
        return None

    with pytest.raises(TypeError, match="cannot be changed in place"):
        await sequence(Quick("spoil", spoil)).invoke(["a"], State())


async def test_an_output_is_as_the_state_would_keep_it() -> None:
    class Grade(BaseModel):
        mark: int

    mine: list[Json] = [1]
    for answer, kept in ((Grade(mark=1), {"mark": 1}), ((1, 2), [1, 2]), (mine, [1])):
        last = Quick("last", cast(Any, answer))
        for line in (sequence(appending("a"), last), fallback(last), parallel(last)):
            output = await line.invoke("x", State())
            mine.append(2)  # it is the agent's own still
            assert output == ([kept] if line.name.startswith("parallel") else kept)
            mine.pop()


@pytest.mark.parametrize("make", [sequence, fallback, parallel])
def test_a_pipeline_without_agents_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="needs at least one agent"):
        make()


def test_what_is_no_agent_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"as_agent\(fn\)"):
        sequence(appending("a"), cast(Any, len))


# -- the first that can ----------------------------------------------------------------------


async def test_a_fallback_asks_on_until_one_succeeds_and_no_further() -> None:
    first, last = Quick("first", ValueError("no luck")), Quick("last", "too late")
    line = fallback(first, appending("b"), last)
    assert await line.invoke("x", State()) == "xb"
    assert (first.inputs, last.inputs) == (["x"], [])


async def test_failed_tries_leave_no_writes() -> None:
    state = State()
    state.set("kept", "before")
    line = fallback(
        Quick("first", writing("kept", "spoilt", ValueError("no luck"))),
        Quick("second", lambda _, view: [view["kept"], "scratch" in view]),
        name="tries",
    )
    assert await sequence(line, tap(Quick("w", writing("w", 1)))).invoke("x", state) == [
        "before",
        False,
    ]
    assert state.snapshot() == {"kept": "before", "w": 1}


async def test_when_all_tries_failed_the_error_tells_them_all() -> None:
    state = State()
    line = fallback(
        Quick("first", writing("a", 1, ValueError("no luck"))), Quick("second", KeyError("k"))
    )
    with pytest.raises(AllFailedError) as told:
        await line.invoke("x", state)
    assert [name for name, _ in told.value.failures] == ["first", "second"]
    assert told.value.__cause__ is told.value.failures[1][1]
    assert str(told.value) == (
        "fallback(first, second): all 2 failed\n  first: ValueError: no luck\n"
        "  second: KeyError: 'k'"
    )
    assert state.snapshot() == {}


async def test_an_error_that_no_other_try_can_help_is_raised_at_once() -> None:
    other = Quick("other")
    line = fallback(Quick("first", KeyError("k")), other, on=ValueError)
    with pytest.raises(KeyError):
        await line.invoke("x", State())
    assert other.inputs == []


def test_a_fallback_is_told_after_which_types_of_errors() -> None:
    for wrong in ("KeyError", (KeyError, None)):
        with pytest.raises(ConfigurationError, match="takes types of errors, not"):
            fallback(Quick("first"), on=cast(Any, wrong))


async def test_a_cancelled_fallback_tries_nothing_more() -> None:
    other = Quick("other")
    running = asyncio.create_task(fallback(Slow("slow", 100), other).invoke("x", State()))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait({running})
    assert (running.cancelled(), other.inputs) == (True, [])


# -- one of many -----------------------------------------------------------------------------


async def test_a_function_of_the_state_chooses_the_route() -> None:
    line = route(lambda state: state["kind"], {"a": appending("a"), "b": appending("b")})
    state = State()
    state.set("kind", "b")
    assert await line.invoke("x", state) == "xb"


async def test_an_agent_chooses_the_route_and_the_chosen_one_gets_the_input() -> None:
    chooser = Quick("chooser", lambda input, _: f" {cast(str, input)[0]}\n")
    line = route(chooser, {"a": appending("a"), "b": appending("b")}, name="triage")
    assert (await line.invoke("bx", State()), line.name) == ("bxb", "triage")


@pytest.mark.parametrize("choice", ["c", None, 3, ["a"]])
async def test_a_choice_that_is_no_route_names_those_there_are(choice: Json) -> None:
    routes = {"a": appending("a"), "b": appending("b")}
    with pytest.raises(UnknownRouteError, match="there are: a, b"):
        await route(lambda _: choice, routes).invoke("x", State())
    assert await route(lambda _: choice, routes, default=appending("d")).invoke("x", State()) == (
        "xd"
    )


async def test_routes_are_fixed_when_the_pipeline_is_made() -> None:
    routes = {"a": appending("a")}
    line = route(lambda _: "b", routes)
    routes["b"] = appending("b")
    with pytest.raises(UnknownRouteError):
        await line.invoke("x", State())


def test_a_route_to_nowhere_or_by_a_coroutine_function_is_refused() -> None:
    async def slow_choice(state: StateView) -> str:
        return "a"

    with pytest.raises(ConfigurationError, match="at least one agent"):
        route(lambda _: "a", {})
    with pytest.raises(ConfigurationError, match="ordinary function"):
        route(slow_choice, {"a": appending("a")})


# -- again and again -------------------------------------------------------------------------


async def test_a_loop_runs_until_its_guard_is_true() -> None:
    line = loop(appending("a"), until=lambda state: state["output"] == "-aaa", max_rounds=10)
    assert await line.invoke("-", State()) == "-aaa"


async def test_a_loop_without_a_guard_runs_all_its_rounds() -> None:
    assert await loop(appending("a"), max_rounds=4).invoke("-", State()) == "-aaaa"


async def test_a_loop_that_does_not_get_there_is_an_error_with_the_last_output() -> None:
    state = State()
    line = loop(Quick("a", writing("a", 1, "x")), until=lambda _: False, max_rounds=2)
    with pytest.raises(RoundLimitError, match=r"loop\(a\) did not get there in 2 rounds") as told:
        await line.invoke("-", state)
    assert (told.value.output, told.value.rounds, state.snapshot()) == ("x", 2, {})


async def test_a_loop_may_give_its_last_output_instead() -> None:
    line = loop(appending("a"), until=lambda _: False, max_rounds=2, on_limit="return")
    assert await line.invoke("-", State()) == "-aa"


@pytest.mark.parametrize("rounds", [0, -1])
def test_a_loop_of_no_rounds_is_refused(rounds: int) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        loop(appending("a"), max_rounds=rounds)


def test_a_loop_is_refused_that_looks_with_what_is_no_function_or_ends_in_another_word() -> None:
    with pytest.raises(ConfigurationError, match="ordinary function"):
        loop(appending("a"), max_rounds=1, until=cast(Any, "approved"))
    with pytest.raises(ConfigurationError, match="on_limit"):
        loop(appending("a"), max_rounds=1, on_limit=cast(Any, "stop"))


# -- in time, and on the side ----------------------------------------------------------------


async def test_an_agent_that_is_in_time_is_as_it_was(clock: VirtualClock) -> None:
    line = with_timeout(Slow("slow", 1, "done"), 2)
    assert (await line.invoke("x", State()), line.name, clock.time()) == ("done", "slow", 1)
    await asyncio.sleep(10)


async def test_an_agent_that_takes_too_long_is_cancelled_and_awaited(clock: VirtualClock) -> None:
    state, slow = State(), Slow("slow", 100, cleanup=3)
    with pytest.raises(InvocationTimeoutError, match="slow took longer than 2 s") as told:
        await with_timeout(slow, 2).invoke("x", state)
    assert isinstance(told.value, TimeoutError)
    assert (slow.cancelled, slow.running, clock.time(), state.snapshot()) == (1, 0, 5, {})


async def test_an_answer_after_the_timeout_does_not_count() -> None:
    class Stubborn(Quick):
        async def invoke(self, input: Json, state: StateView) -> Json:
            await ignores_cancellation(10)
            return "late"

    with pytest.raises(InvocationTimeoutError):
        await with_timeout(Stubborn("stubborn"), 1).invoke("x", State())


async def test_the_agents_own_timeout_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="mine") as told:
        await with_timeout(Quick("a", TimeoutError("mine")), 1).invoke("x", State())
    assert not isinstance(told.value, InvocationTimeoutError)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_of_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="seconds > 0"):
        with_timeout(appending("a"), seconds)


async def test_a_tap_passes_its_input_on_and_keeps_what_it_wrote() -> None:
    state = State()
    audit = Quick("audit", lambda input, view: view.set("seen", input) and "unheard")
    line = sequence(appending("a"), tap(audit), appending("b"))
    assert await line.invoke("x", state) == "xab"
    assert (audit.inputs, state.snapshot()) == (["xa"], {"seen": "xa"})


async def test_a_tap_that_fails_is_not_overlooked() -> None:
    with pytest.raises(ValueError, match="no luck"):
        await tap(Quick("audit", ValueError("no luck"))).invoke("x", State())

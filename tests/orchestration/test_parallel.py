"""Pipelines whose branches run side by side."""

import asyncio
from typing import cast

import pytest

from sidetask.core.errors import AllFailedError, ConfigurationError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.orchestration.combinators import fallback, map_over, parallel, race, sequence
from sidetask.state.state import State, StateView
from sidetask.testing import VirtualClock
from tests.orchestration.steps import Quick, Slow, appending, writing


class CancelsItself(Quick):
    """An agent whose inside is cancelled, though nobody cancelled whoever asked."""

    async def invoke(self, input: Json, state: StateView) -> Json:
        raise asyncio.CancelledError


# -- all of them -----------------------------------------------------------------------------


async def test_outputs_come_in_the_order_of_the_branches(clock: VirtualClock) -> None:
    line = parallel(Slow("slow", 3, "a"), Slow("quick", 1, "b"), Slow("medium", 2, "c"))
    assert await line.invoke("x", State()) == ["a", "b", "c"]
    assert clock.time() == 3


async def test_outputs_come_by_name_if_asked_for() -> None:
    line = parallel(Slow("slow", 3, "a"), Quick("quick", "b"), by_name=True)
    assert await line.invoke("x", State()) == {"slow": "a", "quick": "b"}


async def test_all_branches_get_the_input_and_what_follows_gets_the_list() -> None:
    line = sequence(appending("-"), parallel(appending("a"), appending("b")), Quick("c", _told))
    assert await line.invoke("x", State()) == [["x-a", "x-b"], ["x-a", "x-b"]]


def _told(input: Json, state: StateView) -> Json:
    return [input, state["output"]]


async def test_branches_see_their_own_input_and_not_each_others_writes() -> None:
    def look(input: Json, state: StateView) -> Json:
        return [state["input"], state.get("a"), state.get("shared")]

    state = State()
    state.set("shared", "seen")
    writer = Quick("writer", writing("a", 1))
    reader = Slow("reader", 1, look)
    line = parallel(writer, sequence(appending("2"), reader))
    assert await line.invoke("x", state) == [None, ["x2", None, "seen"]]


async def test_writes_land_in_the_order_of_the_branches_not_of_their_ends() -> None:
    state = State()
    line = parallel(
        Slow("late", 5, writing("key", "first branch")),
        Slow("early", 1, writing("key", "second branch")),
    )
    await line.invoke(None, state)
    assert (state["key"], state.version("key")) == ("second branch", 1)


async def test_a_failing_branch_cancels_and_awaits_the_others(clock: VirtualClock) -> None:
    state, slow = State(), Slow("slow", 100, cleanup=5)
    line = parallel(slow, Slow("bad", 1, ValueError("no luck")), Quick("ok", writing("ok", 1)))
    with pytest.raises(ValueError, match="no luck"):
        await line.invoke("x", state)
    assert (slow.cancelled, slow.running, clock.time(), state.snapshot()) == (1, 0, 6, {})


async def test_cancelling_from_outside_cancels_and_awaits_all(clock: VirtualClock) -> None:
    state, one, two = State(), Slow("one", 100, cleanup=5), Slow("two", 100, cleanup=2)
    running = asyncio.create_task(parallel(one, sequence(two)).invoke("x", state))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert (one.running, two.running, clock.time(), state.snapshot()) == (0, 0, 6, {})


async def test_a_cap_bounds_how_many_run_at_once(clock: VirtualClock) -> None:
    agent = Slow("agent", 1, "x")
    line = parallel(*[agent] * 7, cap=2)
    assert await line.invoke(None, State()) == ["x"] * 7
    assert (agent.most, clock.time()) == (2, 4)


async def test_what_waited_for_the_cap_is_never_begun_after_a_failure() -> None:
    never = Quick("never")
    with pytest.raises(ValueError, match="no luck"):
        await parallel(Quick("bad", ValueError("no luck")), never, cap=1).invoke("x", State())
    assert never.inputs == []


async def test_an_agent_cancelled_from_inside_is_told_as_that() -> None:
    with pytest.raises(asyncio.CancelledError):
        await parallel(CancelsItself("a"), Slow("b", 1)).invoke("x", State())


def test_two_branches_of_one_name_have_no_places_by_name() -> None:
    with pytest.raises(ConfigurationError, match="two agents of one name"):
        parallel(Quick("a"), Quick("a"), by_name=True)


@pytest.mark.parametrize("cap", [0, -3])
def test_a_cap_that_lets_nothing_run_is_refused(cap: int) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        parallel(Quick("a"), cap=cap)
    with pytest.raises(ConfigurationError, match="at least 1"):
        map_over(Quick("a"), cap=cap)


# -- the first of them -----------------------------------------------------------------------


async def test_a_fast_error_does_not_win_against_a_slow_success(clock: VirtualClock) -> None:
    line = race(Slow("bad", 1, ValueError("no luck")), Slow("good", 3, "won"), Slow("slow", 100))
    assert (await line.invoke("x", State()), clock.time()) == ("won", 3)


async def test_losers_are_cancelled_and_awaited_and_leave_no_writes(clock: VirtualClock) -> None:
    state = State()
    loser = Slow("loser", 100, cleanup=5)
    line = race(
        loser,
        Quick("bad", writing("bad", 1, ValueError("no luck"))),
        Slow("winner", 2, writing("won", 1, "yes")),
    )
    assert await line.invoke("x", state) == "yes"
    assert (loser.cancelled, loser.running, clock.time()) == (1, 0, 7)
    assert state.snapshot() == {"won": 1}


async def test_a_race_that_nobody_wins_tells_all_their_errors() -> None:
    line = race(
        Slow("b", 2, ValueError("no luck")), Quick("a", KeyError("k")), CancelsItself("c"), name="r"
    )
    with pytest.raises(AllFailedError, match="r: all 3 failed") as told:
        await line.invoke("x", State())
    assert [(name, type(error)) for name, error in told.value.failures] == [
        ("b", ValueError),
        ("a", KeyError),
        ("c", asyncio.CancelledError),
    ]


async def test_a_cancelled_race_ends_all_its_branches() -> None:
    one, two = Slow("one", 100, cleanup=5), Slow("two", 100)
    running = asyncio.create_task(race(one, two).invoke("x", State()))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait({running})
    assert (running.cancelled(), one.running, two.running) == (True, 0, 0)


def test_a_race_without_agents_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one agent"):
        race()


# -- one of them, for many -------------------------------------------------------------------


async def test_a_map_keeps_the_order_of_its_items(clock: VirtualClock) -> None:
    class Countdown(Slow):
        async def invoke(self, input: Json, state: StateView) -> Json:
            await asyncio.sleep(5 - cast(int, input))
            return [input, state["input"]]

    state = State()
    state.set("plan", {"files": [1, 2, 3]})
    line = map_over(Countdown("agent", 1), "plan.files")
    assert await line.invoke("ignored", state) == [[1, 1], [2, 2], [3, 3]]
    assert clock.time() == 4


async def test_a_map_goes_over_its_input_if_no_list_is_named() -> None:
    line = sequence(Quick("plan", ["a", "b"]), map_over(appending("!")))
    assert await line.invoke(None, State()) == ["a!", "b!"]
    assert await line.invoke(None, State()) == ["a!", "b!"]
    assert await map_over(appending("!")).invoke([], State()) == []


async def test_a_map_runs_at_most_its_cap_at_once() -> None:
    agent = Slow("agent", 1)
    await map_over(agent, cap=3).invoke(list(range(10)), State())
    assert agent.most == 3
    await map_over(agent).invoke(list(range(50)), State())
    assert agent.most == 16
    await map_over(agent, cap=None).invoke(list(range(50)), State())
    assert agent.most == 50


async def test_writes_of_a_map_land_in_the_order_of_the_items() -> None:
    def note(input: Json, state: StateView) -> Json:
        state.update({"last": input, f"item:{input}": True})
        return None

    state = State()
    await map_over(Quick("note", note), cap=2).invoke([1, 2, 3], state)
    assert state.snapshot() == {"last": 3, "item:1": True, "item:2": True, "item:3": True}


@pytest.mark.parametrize(
    ("items", "input", "what"),
    [
        ("plan.files", None, "'plan.files' is missing"),
        ("plan", None, "'plan' is of type dict"),
        (None, None, "its input is of type NoneType"),
        (None, "abc", "its input is of type str"),
    ],
)
async def test_a_map_says_when_its_list_is_missing(
    items: str | None, input: Json, what: str
) -> None:
    state = State()
    state.set("plan", {"dir": "src"})
    agent = Quick("agent")
    with pytest.raises(InvalidInputError, match=rf"map_over\(agent\) wants a list, and {what}"):
        await map_over(agent, items).invoke(input, state)
    assert agent.inputs == []


async def test_an_item_that_fails_ends_the_map() -> None:
    def pick(input: Json, state: StateView) -> Json:
        state.set(f"item:{input}", 1)
        if input == 2:
            raise ValueError("no luck")
        return input

    state = State()
    with pytest.raises(ValueError, match="no luck"):
        await map_over(Quick("agent", pick), cap=1).invoke([1, 2, 3], state)
    assert state.snapshot() == {}


# -- nested ----------------------------------------------------------------------------------


async def test_pipelines_are_agents_of_pipelines() -> None:
    state = State()
    best = race(
        sequence(appending("1"), Slow("slow", 5, "never")),
        fallback(Quick("bad", writing("bad", 1, ValueError("no luck"))), appending("2")),
    )
    line = sequence(parallel(best, Quick("w", writing("w", 1, "w"))), map_over(appending("!")))
    assert await line.invoke("x", state) == ["x2!", "w!"]
    assert state.snapshot() == {"w": 1}


async def test_a_thousand_items_leave_no_residue() -> None:
    state, before = State(), asyncio.all_tasks()
    agent = Quick("agent", lambda input, _: input)
    made = await map_over(agent, cap=100).invoke(list(range(1_000)), state)
    assert made == list(range(1_000))
    assert asyncio.all_tasks() == before
    assert state.snapshot() == {}

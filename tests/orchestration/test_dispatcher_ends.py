"""Dispatched runs whose ends are hard to tell."""

import asyncio
from typing import Any, cast

import pytest

from sidetask.core.errors import InvalidInputError, StateClosedError
from sidetask.core.jsons import Json
from sidetask.orchestration import as_agent, call
from sidetask.state import State, failed
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import fleet, settle


async def echo(input: Json) -> Json:
    return input


async def test_even_what_raises_beyond_exceptions_or_cannot_say_what_it_is_ends(
    clock: VirtualClock,
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("I have no words")

    async def leave(input: object) -> None:
        raise SystemExit(3)

    async def mute(input: object) -> None:
        raise MuteError

    async def surrogate(input: object) -> None:
        raise ValueError("half of a character: \ud800")

    async def mute_cause(input: object) -> None:
        error = ValueError("because of what has no words")
        error.add_note("half of a character: \ud800")
        raise error from MuteError()

    async def cancelled_inside(input: object) -> None:
        raise asyncio.CancelledError

    async with fleet(clock, 4) as f:
        agents = (leave, mute, surrogate, mute_cause, cancelled_inside)
        for each in agents:
            f.agents.dispatch(each.__name__, as_agent(each))
        await settle()
        assert f.agents.active_count == 0
        for each in agents:
            assert failed(f.state, each.__name__), each
        assert f.origin("mute_cause:error").error_details == {
            "cause": "MuteError: an error that has no text",
            "notes": ["half of a character: ?"],
        }
        assert f.agents.available_permits == 4


async def test_a_run_ends_in_a_state_whose_values_are_smaller_than_its_error(
    clock: VirtualClock,
) -> None:
    async def complain(input: object) -> None:
        raise ValueError("no" * 1_000)

    async with fleet(clock) as f:
        small = State(max_value=100)
        resolution = await f.agents.dispatch("a", as_agent(complain), small).wait()
        assert (resolution.status, small["a:status"]) == ("failed", "failed")
        assert small["a:error"] == "no" * 49


async def test_nothing_is_started_on_a_state_that_takes_no_writes(clock: VirtualClock) -> None:
    async with fleet(clock) as f:
        gone = f.state.fork()
        gone.discard()
        with pytest.raises(StateClosedError):
            f.agents.dispatch("a", as_agent(echo), gone)
        with pytest.raises(StateClosedError):
            await call("a", as_agent(echo), gone, tasks=f.manager)
        assert (f.events, f.agents.active_count, f.agents.invoker.runs) == ([], 0, {})
        assert f.manager.handle().list() == []


async def test_what_is_no_state_is_refused_and_says_where_an_input_goes(
    clock: VirtualClock,
) -> None:
    async with fleet(clock) as f:
        for none in ("an input", {"a": 1}):
            with pytest.raises(InvalidInputError, match="is no state; an input is given as input="):
                f.agents.dispatch("a", as_agent(echo), cast(Any, none))
        assert f.events == []

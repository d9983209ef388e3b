"""A turn that goes round in circles: told, and then stopped."""

import asyncio

import pytest
from tests.runtime.harness import Talk, beside, talking

from sidetask import TaskPolicy, tool
from sidetask.core.errors import DoomLoopError
from sidetask.core.events import DoomLoopDetected, RunFailed
from sidetask.core.ids import CallId
from sidetask.core.messages import ToolCall
from sidetask.testing import call


class Counted:
    """Tools that count how often they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def look(self, city: str = "", day: str = "") -> str:
        """Look."""
        self.ran.append("look")
        return "rain"

    def think(self) -> str:
        """Think."""
        self.ran.append("think")
        return "hm"


def _detected(talk: Talk) -> list[tuple[str, ...]]:
    return [event.names for event in talk.events if isinstance(event, DoomLoopDetected)]


def _look(arguments: str) -> ToolCall:
    return ToolCall(CallId(""), "look", arguments)


async def test_the_third_same_call_is_answered_with_an_error_and_not_run() -> None:
    tools = Counted()
    script = (
        _look('{"city": "Rome", "day": "now"}'),
        _look('{"day": "now", "city": "Rome"}'),
        _look('{"city":"Rome","day":"now"}'),
        "It rains.",
    )
    async with talking(*script, tools=[tools.look]) as talk:
        assert (await talk.chat.ask("go")).text == "It rains."
        assert (tools.ran, _detected(talk)) == (["look", "look"], [("look",)])
        assert [answer.is_error for answer in talk.answers()] == [False, False, True]
        assert "Not run: this call with these arguments came 3 times" in talk.answers()[2].content
        assert talk.runs() == ["run_completed"]


async def test_a_row_of_two_calls_is_seen_when_it_comes_a_third_time() -> None:
    tools = Counted()
    script = [call("look"), call("think")] * 3
    async with talking(*script, "enough", tools=[tools.look, tools.think]) as talk:
        await talk.chat.ask("go")
        assert _detected(talk) == [("look", "think")]
        assert len(tools.ran) == 5
        assert "look, think" in talk.answers()[5].content


async def test_a_model_that_goes_on_ends_its_turn_with_each_call_answered() -> None:
    tools = Counted()
    both = [call("look"), call("think")]
    async with talking(*[call("look")] * 3, both, "sorry", tools=[tools.look, tools.think]) as talk:
        with pytest.raises(DoomLoopError, match="calling look"):
            await talk.chat.ask("go")
        assert tools.ran == ["look", "look"]
        assert talk.runs() == ["run_failed"]
        [failed] = [event for event in talk.events if isinstance(event, RunFailed)]
        assert failed.error_type == "DoomLoopError"
        assert len(talk.answers()) == 5
        assert (await talk.chat.ask("and now?")).text == "sorry"


async def test_each_turn_begins_anew() -> None:
    tools = Counted()
    script = [call("look"), call("look"), "ok"] * 3
    async with talking(*script, tools=[tools.look]) as talk:
        for _ in range(3):
            await talk.chat.ask("go")
        assert (len(tools.ran), _detected(talk)) == (6, [])


async def test_what_the_user_says_meanwhile_is_a_reason_to_call_again() -> None:
    tools = Counted()
    pause = asyncio.Event()
    script = [call("look"), call("look"), [pause, call("look")], call("look"), "ok"]
    async with talking(*script, tools=[tools.look]) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("Look again!")
        pause.set()
        await asking
        assert _detected(talk) == [("look",)]
        assert tools.ran == ["look"] * 3


async def test_a_tool_that_may_repeat_is_run_as_often_as_it_is_called() -> None:
    ran: list[int] = []

    @tool(policy=TaskPolicy(repeatable=True))
    async def is_it_there() -> bool:
        """Look whether it is there."""
        ran.append(1)
        return False

    async with talking(*[call("is_it_there")] * 10, "no", tools=[is_it_there]) as talk:
        await talk.chat.ask("go")
        assert (len(ran), _detected(talk)) == (10, [])


async def test_a_tool_whose_argument_changes_is_left_alone() -> None:
    tools = Counted()
    script = [call("look", city=f"city {n}") for n in range(10)]
    async with talking(*script, "seen", tools=[tools.look]) as talk:
        await talk.chat.ask("go")
        assert (len(tools.ran), _detected(talk)) == (10, [])


async def test_the_tools_for_a_models_own_tasks_may_repeat() -> None:
    @tool(detach_after=1)
    async def slow() -> None:
        """Take your time."""

    async with talking(*[call("list_tasks")] * 5, "none", tools=[slow]) as talk:
        await talk.chat.ask("go")
        assert _detected(talk) == []

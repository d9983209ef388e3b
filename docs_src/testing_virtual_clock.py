"""Tests of an agent on a virtual clock: the examples of docs/guides/testing.md, run as they are."""

# region agent
import asyncio

import pytest

from sidetask import Agent, tool
from sidetask.core.errors import TurnCancelledError
from sidetask.core.messages import NotificationMessage
from sidetask.testing import ScriptedModel, VirtualClock, call, running_runtime, stall


@tool(detach_after=30)
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    await asyncio.sleep(45)
    return f"{site} has 12 pages"


# endregion agent


# region detached
async def test_detached_at_30_s_interrupted_at_31_s_result_at_45_s() -> None:
    now = asyncio.get_running_loop().time
    model = ScriptedModel(call("crawl", site="a.com"), stall("While I wait,"), "It has 12.")
    async with running_runtime() as runtime, runtime.open(Agent(model, tools=[crawl])) as chat:
        asking = await chat.chat("How big is a.com?")
        await asyncio.sleep(31)  # the call was detached a second ago, and the model talks on
        await chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        assert asking.text == "While I wait,"

        idle = await chat.wait_for_idle()
        assert (now(), idle.undelivered) == (45, 1)  # a Stop asks for silence
        assert str(await chat.ask("And?")) == "It has 12."


# endregion detached


# region run
def test_the_same_without_a_plugin() -> None:
    VirtualClock().run(test_detached_at_30_s_interrupted_at_31_s_result_at_45_s())


# endregion run


# region seen
async def test_a_late_result_is_told_to_the_model() -> None:
    model = ScriptedModel(call("crawl", site="a.com"), "I am reading.", "12 pages.")
    async with running_runtime() as runtime, runtime.open(Agent(model, tools=[crawl])) as chat:
        await chat.ask("How big is a.com?")
        [turn] = [turn async for turn in chat.turns(until="idle")]
        assert (turn.cause, turn.task_ids) == ("tasks", ("task-1",))

        told = model.requests[2].messages[-1]  # what the model was given at its third call
        assert isinstance(told, NotificationMessage)
        assert told.items[0].content == "a.com has 12 pages"


# endregion seen

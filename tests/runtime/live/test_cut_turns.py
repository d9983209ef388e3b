"""A turn that a crash has cut, before the model had read what had begun it."""

import asyncio

from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call, running_runtime, stall
from tests.runtime.harness import assert_valid, settle
from tests.tasks.durable.lives import Disk


@tool(route=background())
async def quick() -> str:
    """Be done in a second."""
    await asyncio.sleep(1)
    return "quick is done"


def clerk(*script: object) -> Agent:
    return Agent(ScriptedModel(*script), name="clerk", tools=[quick])  # type: ignore[arg-type]


async def test_results_that_had_begun_it_begin_another_one_and_no_more_than_that() -> None:
    disk = Disk()
    async with running_runtime(store=disk) as first:
        chat = await first.open(clerk(call("quick"), "Begun.", stall()), conversation_id="mine")
        await chat.ask("go")
        await asyncio.sleep(10)
        assert len(chat.history()) == 5, "the result is told, and nothing is said to it"
        disk.dead, rest = True, disk.view()
        rest.dead = False
        await chat.shutdown()
    async with running_runtime(store=rest) as second:
        agent = clerk("Quick is done.", "Never said.", "Nor this.")
        chat = await second.resume("mine", agent=agent)
        await chat.wait_for_idle()
        await settle()
        assert [getattr(each, "text", "") for each in chat.history()[-2:]] == ["", "Quick is done."]
        assert [turn.cause for turn in [chat.last_response] if turn is not None] == ["tasks"]
        assert chat.is_idle
        assert_valid(chat.history())
        await chat.shutdown()

"""A live agent whose conversation another process has taken up meanwhile."""

import asyncio
import logging
from pathlib import Path

import pytest

from sidetask import Agent, Runtime, background, tool
from sidetask.core.errors import ConversationTakenError
from sidetask.core.lifecycle import TaskStatus
from sidetask.models.scripted import Script
from sidetask.testing import ScriptedModel, call
from tests.runtime.harness import settle

pytestmark = pytest.mark.slow  # they write to a disk


class Village:
    """Two processes with one database, and what nobody is told of in the first."""

    def __init__(self, path: Path, log: pytest.LogCaptureFixture) -> None:
        self.url = f"sqlite:///{path / 'c.db'}"
        self.free = asyncio.Event(), asyncio.Event()
        self.unheard: list[object] = []
        self.log = log
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: self.unheard.append(told))

    def runtime(self, *script: Script) -> Runtime:
        @tool(route=background())
        async def work(number: int) -> str:
            """Work."""
            await self.free[number].wait()
            return "worked"

        clerk = Agent(ScriptedModel(*script), name="clerk", tools=[work])
        return Runtime(store=self.url, agents=[clerk])

    async def quiet(self) -> None:
        """What was said of it is one line."""
        await settle()
        said = [line for line in self.log.records if line.levelno >= logging.WARNING]
        assert [line.getMessage() for line in said] == [
            "another process has mine now: it has ended here"
        ]
        assert [line.exc_info for line in said] == [None]
        assert self.unheard == []


@pytest.fixture
async def village(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Village:
    return Village(tmp_path, caplog)


async def test_who_asks_is_told_so_and_its_tasks_stop_quietly(village: Village) -> None:
    async with (
        village.runtime((call("work", number=0), call("work", number=1)), "Begun.") as first,
        first.open("clerk", conversation_id="mine") as chat,
    ):
        await chat.ask("Begin.")
        async with village.runtime("Here I am.") as second:
            other = await second.resume("mine")
            await other.ask("Are you there?")
            waiting = asyncio.create_task(chat.wait_for_idle())
            await settle()
            village.free[0].set()
            with pytest.raises(ConversationTakenError, match="mine is not open here any more"):
                await chat.ask("Go on.")
            with pytest.raises(ConversationTakenError):
                await waiting
            with pytest.raises(ConversationTakenError):
                await chat.send("Go on.")
            assert [task.status for task in other.tasks] == [TaskStatus.FAILED] * 2
        await chat.disconnect()
        await chat.shutdown()
        with pytest.raises(ConversationTakenError):
            await chat.delete()
    await village.quiet()


async def test_an_agent_that_nobody_asks_ends_as_its_next_fact_is_refused(village: Village) -> None:
    async with (
        village.runtime((call("work", number=0), call("work", number=1)), "Begun.") as first,
        village.runtime("Here I am.", "And here.") as second,
    ):
        chat = await first.open("clerk", conversation_id="mine")
        await chat.ask("Begin.")
        heard: list[object] = []

        async def listen() -> None:
            async for event in chat.events():
                heard.append(event)

        listening = asyncio.create_task(listen())
        await settle()
        other = await second.resume("mine")
        await other.ask("Are you there?")
        village.free[0].set()
        async with asyncio.timeout(5):
            await listening
        assert heard == []
        assert first.live_agents == ()
        assert [task.status for task in chat.tasks] == []
        await other.ask("Still there?")
        await village.quiet()


async def test_what_is_let_go_of_too_late_is_let_go_of_without_an_error(village: Village) -> None:
    async with (
        village.runtime((call("work", number=0), call("work", number=1)), "Begun.") as first,
        village.runtime("Here I am.") as second,
    ):
        chat = await first.open("clerk", conversation_id="mine")
        await chat.ask("Begin.")
        other = await second.resume("mine")
        await other.ask("Are you there?")
        said = other.history()
        await chat.disconnect()
        await other.disconnect()
        again = await first.resume("mine")
        assert again.history() == said
    await village.quiet()


async def test_what_the_former_process_still_says_is_no_part_of_the_history(
    village: Village,
) -> None:
    thawed = asyncio.Event()
    async with (
        village.runtime((thawed, "I see.")) as first,
        village.runtime("Here I am.") as second,
    ):
        chat = await first.open("clerk", conversation_id="mine")
        turn = asyncio.create_task(chat.ask("Look!"))
        await settle()
        other = await second.resume("mine")  # the first one is frozen in its model call
        await other.ask("Are you there?")
        said = other.history()
        asked = asyncio.create_task(chat.ask("And then?"))
        await settle()
        thawed.set()
        for each in (turn, asked):
            with pytest.raises(ConversationTakenError):
                await each
        await other.disconnect()
        again = await first.resume("mine")  # here, once more
        assert again.history() == said
    await village.quiet()

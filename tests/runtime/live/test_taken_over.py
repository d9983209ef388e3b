"""A live agent whose conversation another process has taken up meanwhile."""

import asyncio
from pathlib import Path

import pytest

from sidetask import Agent, Runtime, background, tool
from sidetask.core.errors import StoreRefusedError
from sidetask.core.lifecycle import TaskStatus
from sidetask.models.scripted import Script
from sidetask.testing import ScriptedModel, call
from tests.runtime.harness import settle


@pytest.mark.slow
async def test_who_waits_for_idle_is_woken_by_an_end_that_no_store_takes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'c.db'}"
    free = asyncio.Event(), asyncio.Event()

    @tool(route=background())
    async def work(number: int) -> str:
        """Work."""
        await free[number].wait()
        return "worked"

    def runtime(*script: object) -> Runtime:
        model = ScriptedModel(*script)  # pyright: ignore[reportArgumentType]
        return Runtime(store=url, agents=[Agent(model, name="clerk", tools=[work])])

    told: list[object] = []  # what no caller hears of
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))
    first = runtime((call("work", number=0), call("work", number=1)), "Begun.")
    async with runtime("Here I am.") as second:
        chat = await first.open("clerk", conversation_id="mine")
        await chat.ask("Begin.")
        other = await second.resume("mine")
        await other.ask("Are you there?")
        free[0].set()
        with pytest.raises(StoreRefusedError):
            await chat.ask("Go on.")
        waiting = asyncio.create_task(chat.wait_for_idle())
        await settle()
        free[1].set()
        async with asyncio.timeout(5):
            await waiting
        assert [task.status for task in chat.tasks] == [TaskStatus.SUCCEEDED] * 2
        assert [type(error) for error in told] == [StoreRefusedError]
        with pytest.raises(StoreRefusedError, match="another process has gone on with it"):
            await chat.disconnect()
        with pytest.raises(StoreRefusedError):
            await first.close()


@pytest.mark.slow
async def test_what_the_former_process_still_says_is_no_part_of_the_history(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'c.db'}"
    thawed = asyncio.Event()

    def runtime(*script: Script) -> Runtime:
        return Runtime(store=url, agents=[Agent(ScriptedModel(*script), name="clerk")])

    first = runtime((thawed, "I see."))
    async with runtime("Here I am.") as second:
        chat = await first.open("clerk", conversation_id="mine")
        turn = asyncio.create_task(chat.ask("Look!"))
        await settle()
        other = await second.resume("mine")  # the first one is frozen in its model call
        await other.ask("Are you there?")
        said = other.history()
        thawed.set()
        with pytest.raises(StoreRefusedError):
            await turn
        await first.close()
        await other.disconnect()
        again = await second.resume("mine")
        assert again.history() == said

"""What is over is freed at once: nothing of it waits for the garbage collector."""

import asyncio
import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from sidetask import Agent, Runtime, tool
from sidetask.testing import ScriptedModel, call


@pytest.fixture(autouse=True)
def nothing_is_collected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_the_asyncio_task_of_a_call_is_freed_with_its_end() -> None:
    tasks: list[ref[asyncio.Task[object]]] = []

    @tool
    async def look() -> str:
        """Look who runs it."""
        running = asyncio.current_task()
        assert running is not None
        tasks.append(ref(running))
        return "done"

    async with Runtime() as runtime:
        chat = await runtime.open(Agent(ScriptedModel(call("look"), "ok"), tools=[look]))
        await chat.ask("go")
        await asyncio.sleep(0)  # the loop forgets it with its callbacks
        assert [each() for each in tasks] == [None]
        await chat.shutdown()


async def test_a_conversation_is_freed_with_its_last_holder() -> None:
    async with Runtime() as runtime:
        chat = await runtime.open(Agent(ScriptedModel("ok")))
        await chat.ask("go")
        driver = ref(chat._driver)  # pyright: ignore[reportPrivateUsage]
        await chat.shutdown()
        del chat
        await asyncio.sleep(1)
        assert driver() is None

"""Sources of tools: opened once for all agents that name them, and closed with the last."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.runtime.harness import settle

from sidetask import Agent, Runtime, Tool
from sidetask.agents.tools.outputs import to_completed
from sidetask.agents.tools.source import OpenTools, ToolSource
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    ToolServerError,
    UnknownModelError,
)
from sidetask.core.messages import Image
from sidetask.models.scripted import call
from sidetask.tasks.values import Completed
from sidetask.testing import ScriptedModel


class Shelf(ToolSource):
    """A source that tells what is done to it."""

    def __init__(self, *names: str, name: str = "shelf") -> None:
        self.name = name
        self.names = list(names)
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def open(self) -> OpenTools:
        self.log.append("open")
        await self.gate.wait()
        if self.broken:
            raise ToolServerError(self.name, "it does not start")
        return self

    async def tools(self) -> Sequence[AnyTool]:
        return [self._tool(each) for each in self.names]

    async def close(self) -> None:
        self.log.append("close")

    def _tool(self, name: str) -> AnyTool:
        async def body(arguments: object, ctx: object) -> str:
            return f"{name} of {self.name}"

        return Tool.from_schema(body, {"type": "object"}, name=name, description="Take.")


def _agent(*tools: ToolSource, name: str = "agent", model: str | None = None) -> Agent:
    return Agent(model or ScriptedModel(call("take"), "done"), name=name, tools=tools)


async def test_the_tools_of_a_source_are_tools_of_the_agent() -> None:
    shelf = Shelf("take")
    async with Runtime() as runtime, runtime.open(_agent(shelf)) as chat:
        assert [each.name for each in chat.available_tools] == ["take", "read_output"]
        await chat.ask("take one")
        assert "take of shelf" in str(chat.history())


async def test_two_agents_share_a_source_and_the_last_one_closes_it() -> None:
    shelf = Shelf("take")
    async with Runtime() as runtime:
        first = await runtime.open(_agent(shelf))
        second = await runtime.open(_agent(shelf))
        assert shelf.log == ["open"]
        await first.shutdown()
        assert shelf.log == ["open"]
        await second.shutdown()
        assert shelf.log == ["open", "close"]
        await (await runtime.open(_agent(shelf))).shutdown()
        assert shelf.log == ["open", "close"] * 2


async def test_a_source_of_the_runtime_is_open_until_the_runtime_is_closed() -> None:
    shelf = Shelf("take")
    async with Runtime(tools=[shelf]) as runtime:
        assert shelf.log == []
        for _ in range(2):
            async with runtime.open(_agent()) as chat:
                assert "take" in [each.name for each in chat.available_tools]
        assert shelf.log == ["open"]
    assert shelf.log == ["open", "close"]


async def test_closing_the_runtime_closes_what_its_agents_opened() -> None:
    shelf = Shelf("take")
    async with Runtime() as runtime:
        chat = await runtime.open(_agent(shelf))
    assert shelf.log == ["open", "close"]
    with pytest.raises(AgentNotStartedError):
        await chat.ask("again")


async def test_a_live_agent_keeps_its_tools_and_the_next_one_gets_the_new_ones() -> None:
    shelf = Shelf("take")
    async with Runtime() as runtime, runtime.open(_agent(shelf)) as early:
        shelf.names.append("put")
        async with runtime.open(_agent(shelf)) as late:
            assert "put" not in [each.name for each in early.available_tools]
            assert "put" in [each.name for each in late.available_tools]


async def test_two_tools_of_one_name_are_refused_and_nothing_stays_open() -> None:
    left, right = Shelf("take", name="left"), Shelf("take", name="right")
    async with Runtime() as runtime:
        with pytest.raises(ConfigurationError, match=r"'left' and 'right' both.*prefix=True"):
            await runtime.open(_agent(left, right))
        assert left.log == right.log == ["open", "close"]
        assert not runtime.live_agents


async def test_a_source_cannot_take_the_name_of_a_built_in_tool() -> None:
    async with Runtime() as runtime:
        with pytest.raises(ConfigurationError, match="the runtime and 'shelf' both"):
            await runtime.open(_agent(Shelf("read_output")))


async def test_a_source_that_does_not_open_is_an_error_and_the_others_are_closed() -> None:
    good, bad = Shelf("take", name="good"), Shelf(name="bad")
    bad.broken = True
    async with Runtime() as runtime:
        with pytest.raises(ToolServerError, match="the server 'bad': it does not start"):
            await runtime.open(_agent(good, bad))
        assert good.log == ["open", "close"]
        bad.broken = False
        await (await runtime.open(_agent(good, bad))).shutdown()


async def test_a_source_is_closed_when_the_rest_of_the_opening_fails() -> None:
    shelf = Shelf("take")
    async with Runtime() as runtime:
        with pytest.raises(UnknownModelError):
            await runtime.open(_agent(shelf, model="nobody:knows"))
    assert shelf.log == ["open", "close"]


async def test_who_gives_up_the_opening_leaves_it_to_the_others() -> None:
    shelf = Shelf("take")
    shelf.gate.clear()
    async with Runtime() as runtime, asyncio.TaskGroup() as group:

        async def opened() -> None:
            async with runtime.open(_agent(shelf)) as chat:
                assert "take" in [each.name for each in chat.available_tools]

        first, _ = group.create_task(opened()), group.create_task(opened())
        await settle()
        first.cancel()
        await settle()
        assert shelf.log == ["open", "open"]
        shelf.gate.set()
    assert shelf.log == ["open", "open", "close"]


async def test_all_sources_of_an_agent_open_side_by_side() -> None:
    shelves = [Shelf(f"take_{n}", name=f"shelf {n}") for n in range(3)]
    for each in shelves:
        each.gate.clear()
    async with Runtime() as runtime, asyncio.TaskGroup() as group:
        opening = group.create_task(runtime.start_agent(_agent(*shelves)))
        await settle()
        assert [each.log for each in shelves] == [["open"]] * 3
        for each in reversed(shelves):
            each.gate.set()
        chat = await opening
        names = [each.name for each in chat.available_tools]
        assert names[:3] == ["take_0", "take_1", "take_2"]


def test_a_tool_may_give_a_value_beside_the_text_for_the_model() -> None:
    given = Completed({"a": 1}, "one\n" * 5_000, (Image(data=b"x"),))
    completed = to_completed(given)
    assert completed.value == {"a": 1}
    assert "left out" in completed.content
    assert completed.attachments == given.attachments

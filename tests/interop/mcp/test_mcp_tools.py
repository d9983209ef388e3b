"""The tools of a server are tools like any other: here of one in this process."""

import asyncio
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from sidetask import Agent, Image, background
from sidetask.agents.policies import Policy, ask, deny
from sidetask.core.errors import ConfigurationError
from sidetask.core.events import TaskProgressed
from sidetask.core.routing import TaskPolicy
from sidetask.interop.mcp import McpServer
from sidetask.models.scripted import call, reply
from sidetask.testing import ScriptedModel, running_runtime
from tests.interop.mcp.visiting import answers, visiting
from tests.interop.mcp.workshop import server as workshop
from tests.runtime.harness import beside, settle

HERE = McpServer.local(workshop, name="workshop")
HOST: dict[str, Any] = {"on_approval": "host"}


class Gate:
    """A server whose one tool waits until the test lets it go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.stopped = False
        self.runs = 0
        self.server = MCPServer("gate")
        self.server.add_tool(self.pass_through)

    async def pass_through(self, ctx: Context) -> str:
        """Wait."""
        self.runs += 1
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return "passed"

    def named(self, **options: Any) -> McpServer:
        return McpServer.local(self.server, name="gate", **options)


async def test_a_model_calls_a_tool_and_reads_its_text_and_a_host_gets_its_value() -> None:
    script = reply(call("add", a=1, b=2), call("weather", city="Rome"))
    async with visiting(script, "ok", server=HERE) as talk:
        await talk.chat.ask("go")
        assert answers(talk)[0] == "3"
        assert "21.5" in answers(talk)[1]
        tasks = [talk.runtime.tasks.task(each.id) for each in talk.chat.tasks]
        values = [await each for each in tasks]
        assert values == [{"result": 3}, {"city": "Rome", "degrees": 21.5}]


async def test_the_schema_of_the_server_is_what_the_model_is_told() -> None:
    async with visiting("ok", server=HERE) as talk:
        await talk.chat.ask("go")
        told = {each.name: each for each in talk.model.requests[0].tools}
    assert told["add"].description == "Add two numbers."
    assert set(told["add"].parameters["properties"]) == {"a", "b"}  # pyright: ignore[reportArgumentType]
    assert told["add"].parameters["required"] == ["a", "b"]


async def test_an_error_of_the_tool_is_an_error_that_the_model_reads() -> None:
    async with visiting(call("add", a="one"), "ok", server=HERE) as talk:
        await talk.chat.ask("go")
        [answer] = talk.answers()
        assert answer.is_error
        assert "add" in answer.content
        assert talk.kinds().count("task_failed") == 1


async def test_images_and_resources_come_as_attachments_and_text() -> None:
    async with visiting(call("picture"), call("resources"), "ok", server=HERE) as talk:
        await talk.chat.ask("go")
        drawn, given = talk.answers()
        [image] = drawn.attachments
        assert isinstance(image, Image)
        assert image.data is not None
        assert image.data.startswith(b"\x89PNG")
        assert drawn.content == "a pixel"
        assert given.content.split("\n") == [
            "file:///a.txt:",
            "the text of a",
            "[resource: b.txt, file:///b.txt]",
            "two files",
        ]


async def test_what_the_server_tells_of_its_progress_is_the_progress_of_the_task() -> None:
    async with visiting(call("walk", steps=2), "ok", server=HERE) as talk:
        await talk.chat.ask("go")
        told = [e for e in talk.events if isinstance(e, TaskProgressed)]
        assert [(e.fraction, e.note) for e in told] == [(0.5, "step 1"), (1.0, "step 2")]


async def test_a_policy_decides_about_a_tool_of_a_server_as_about_any_other() -> None:
    policy = Policy(deny("add", reason="no sums"), ask("weather"))
    script = reply(call("add", a=1, b=2), call("weather", city="Rome"))
    async with visiting(script, "ok", server=HERE, policy=policy, runtime=HOST) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert approval.summary == "weather: Rome"
        talk.chat.approvals.approve(approval.id, by="ana")
        await asking
        denied, told = answers(talk)
        assert "no sums" in denied
        assert "21.5" in told
        assert talk.kinds().count("approval_requested") == 1


async def test_a_person_is_asked_once_where_both_server_and_policy_want_it() -> None:
    gate = Gate()
    server = gate.named(approval="ask")
    policy = Policy(ask("pass_*"))
    script = [call("pass_through"), "ok"]
    async with visiting(*script, server=server, policy=policy, runtime=HOST) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert gate.runs == 0
        talk.chat.approvals.approve(approval.id, by="ana")
        gate.let_go.set()
        await asking
        assert talk.kinds().count("approval_requested") == 1
    assert gate.runs == 1


async def test_a_slow_call_goes_on_in_the_background_and_its_result_comes_by_itself() -> None:
    gate = Gate()
    script = [call("pass_through"), "it takes long", "it has passed"]
    async with visiting(*script, server=gate.named(detach_after=5)) as talk:
        assert (await talk.chat.ask("go")).text == "it takes long"
        gate.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]
        assert talk.said()[-1] == "it has passed"


async def test_cancelling_the_task_stops_the_call_at_the_server() -> None:
    gate = Gate()
    script = [call("pass_through"), "ok", "it was cancelled"]
    async with visiting(*script, server=gate.named(route=background())) as talk:
        await talk.chat.ask("go")
        await gate.begun.wait()
        assert await talk.chat.tasks.cancel(talk.chat.tasks.running()[0].id) == "cancelled"
        assert gate.stopped
        await talk.chat.wait_for_idle()


async def test_a_timeout_and_a_cap_are_those_of_any_task() -> None:
    gate = Gate()
    server = gate.named(policy=TaskPolicy(timeout=3, cap=1))
    script = reply(call("pass_through"), call("pass_through"))
    async with visiting(script, "ok", server=server) as talk:
        asking = await beside(talk.chat.ask("go"))
        await gate.begun.wait()
        await settle()
        assert gate.runs == 1
        await asking
        assert talk.kinds().count("task_timed_out") == 2
        assert asyncio.get_running_loop().time() == pytest.approx(6, abs=0.1)


async def test_each_says_what_is_different_for_one_tool() -> None:
    each: Any = {"walk": {"route": background(), "name": "stroll"}, "add": {"approval": "ask"}}
    server = McpServer.local(workshop, name="w", detach_after=9, each=each, only=["walk", "add"])
    async with visiting("ok", server=server, runtime=HOST) as talk:
        tools = talk.inside.toolset.tools
        assert (tools["add"].approval, tools["add"].route.after) == ("ask", 9)
        assert tools["stroll"].route == background()
        assert "wordy" not in tools


async def test_a_tool_that_is_asked_for_and_is_not_there_is_told() -> None:
    server = McpServer.local(Gate().server, name="gate", only=["walk"])
    with pytest.raises(ConfigurationError, match="no tool 'walk'; there are: pass_through"):
        async with visiting("ok", server=server):
            pass


async def test_two_servers_with_the_same_tool_need_a_prefix() -> None:
    left, right = (McpServer.local(Gate().server, name=name) for name in ("left", "right"))
    apart = McpServer.local(Gate().server, name="right", prefix=True)
    async with running_runtime() as runtime:
        with pytest.raises(ConfigurationError, match=r"'left' and 'right' both.*pass_through"):
            await runtime.open(Agent(ScriptedModel("ok"), tools=[left, right]))
        async with runtime.open(Agent(ScriptedModel("ok"), tools=[left, apart])) as chat:
            names = [each.name for each in chat.available_tools]
            assert names[:2] == ["pass_through", "right_pass_through"]


async def test_two_agents_share_one_session_and_calls_run_side_by_side() -> None:
    gate = Gate()
    server = gate.named()
    first, second = (
        Agent(ScriptedModel(call("pass_through"), "ok"), tools=[server]) for _ in range(2)
    )
    async with (
        running_runtime() as runtime,
        runtime.open(first) as one,
        runtime.open(second) as two,
    ):
        asking = [await beside(each.ask("go")) for each in (one, two)]
        await gate.begun.wait()
        await settle()
        assert gate.runs == 2
        gate.let_go.set()
        for each in asking:
            await each


async def test_a_new_tool_is_there_for_the_next_agent_and_the_prompt_of_this_one_stays() -> None:
    server = MCPServer("growing")

    async def grow() -> str:
        """Get one more tool."""

        async def grown() -> str:
            return "grown"

        server.add_tool(grown)
        return "there is a new tool"

    server.add_tool(grow)
    source = McpServer.local(server, name="growing")
    agent = Agent(ScriptedModel(call("grow"), "ok", loop=True), tools=[source])
    async with running_runtime() as runtime, runtime.open(agent) as early:
        await early.ask("go")
        assert "grown" not in [each.name for each in early.available_tools]
        async with runtime.open(agent) as late:
            assert "grown" in [each.name for each in late.available_tools]


async def test_a_server_that_asks_the_user_is_refused_and_the_model_is_told() -> None:
    async with visiting(call("ask_the_user"), "ok", server=HERE) as talk:
        await talk.chat.ask("go")
        [answer] = talk.answers()
        assert answer.is_error
        assert "elicitation" in answer.content.lower()

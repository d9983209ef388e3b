"""The four tools by which a model looks after its own tasks."""

import asyncio
import json
from typing import Any

import pytest
from tests.runtime.harness import Held, beside, settle, talking

from sidetask import Agent, RunContext, TaskPolicy, background, tool
from sidetask.core.ids import ConversationId
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall, ToolMessage
from sidetask.core.routing import Route
from sidetask.testing import ScriptedModel, VirtualClock, call, running_runtime

NAMES = {"list_tasks", "wait_for_task", "cancel_task", "read_task_progress"}


def held(name: str = "held", **options: Any) -> Held:
    return Held(name, route=background(), **options)


async def test_they_are_there_where_a_tool_may_leave_its_turn() -> None:
    there: list[dict[str, Any]] = [
        {"route": background()},
        {"detach_after": 5},
        {"policy": TaskPolicy(on_interrupt="keep")},
    ]
    for options in there:
        async with talking(tools=[Held(**options).tool]) as talk:
            assert {schema.name for schema in talk.chat.available_tools} > NAMES
    async with talking(tools=[Held().tool]) as talk:
        assert {schema.name for schema in talk.chat.available_tools} == {"held", "read_output"}


async def test_a_tool_of_the_agent_with_the_same_name_stands() -> None:
    own = Held("list_tasks", route=background())
    async with talking(tools=[own.tool]) as talk:
        names = [schema.name for schema in talk.chat.available_tools]
        assert sorted(names) == sorted({*NAMES, "read_output"})
        assert talk.inside.toolset.tools["list_tasks"] is own.tool


async def test_the_list_tells_what_is_still_at_work_in_the_background() -> None:
    one, two = held("one"), held("two")
    calls = [call("one"), call("two")]
    async with talking(
        calls, "Begun.", call("list_tasks"), "ok", tools=[one.tool, two.tool]
    ) as talk:
        await talk.chat.ask("go")
        await talk.chat.interrupt()
        one.let_go.set()
        await settle()
        await talk.chat.ask("what runs?")
        assert json.loads(talk.answers()[-1].content) == [
            {"task_id": "task-2", "tool": "two", "arguments": "{}", "status": "running"}
        ]


async def test_a_result_that_was_waited_for_is_not_told_again(clock: VirtualClock) -> None:
    @tool(route=background())
    async def crawl() -> str:
        """Crawl."""
        await asyncio.sleep(20)
        return "12 pages"

    script = (call("crawl"), call("wait_for_task", task_id="task-1"), "It has 12.")
    async with talking(*script, tools=[crawl]) as talk:
        await talk.chat.ask("go")
        idle = await talk.chat.wait_for_idle()
        assert talk.answers()[-1].content == "task-1 succeeded:\n12 pages"
        assert (talk.told(), idle.undelivered, talk.runs()) == ([], 0, ["run_completed"])
        assert clock.time() == pytest.approx(20)


async def test_waiting_for_what_has_ended_gives_its_result_at_once_and_once() -> None:
    late = held()
    late.let_go.set()
    # The result comes while the model thinks.
    script = (call("held"), _after_a_second([call("wait_for_task", task_id="task-1")]), "ok")
    async with talking(*script, tools=[late.tool]) as talk:
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        assert talk.answers()[-1].content == "task-1 succeeded:\nheld is done"
        assert (talk.told(), talk.runs()) == ([], ["run_completed"])


def _after_a_second(answer: list[ToolCall]) -> Any:
    async def script(_: object) -> list[ToolCall]:
        await asyncio.sleep(1)
        return answer

    return script


async def test_a_wait_has_an_end(clock: VirtualClock) -> None:
    late = held()
    script = (call("held"), call("wait_for_task", task_id="task-1", seconds=7), "ok", "It came.")
    async with talking(*script, tools=[late.tool]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[-1].content == "task-1 is still running after 7 s."
        assert clock.time() == pytest.approx(7)
        late.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]


@pytest.mark.parametrize("seconds", [-1, 601, "x", None, True])
async def test_a_wait_of_no_length_is_an_error(seconds: Json) -> None:
    wait = call("wait_for_task", task_id="task-1", seconds=seconds)
    async with talking(call("held"), wait, "ok", tools=[held().tool]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[-1].is_error
        assert "seconds is a number" in talk.answers()[-1].content


async def test_a_wait_that_is_stopped_loses_no_result() -> None:
    late = held()
    script = (call("held"), call("wait_for_task", task_id="task-1"), "It came.")
    async with talking(*script, tools=[late.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        late.let_go.set()  # in the very tick of the Stop
        await talk.chat.interrupt()
        await asyncio.wait([asking])
        asking.exception()
        await talk.chat.wait_for_idle()
        if talk.answers()[-1].is_error:
            assert (await talk.chat.ask("and?")).text == "It came."
            assert talk.told() == ["task-1 succeeded"]
        else:
            assert talk.answers()[-1].content == "task-1 succeeded:\nheld is done"


async def test_a_wait_that_is_stopped_some_ticks_after_the_end_tells_the_result_once() -> None:
    for ticks in range(12):
        late = held()
        script = (call("held"), call("wait_for_task", task_id="task-1"), "It came.", "Yes.")
        async with talking(*script, tools=[late.tool]) as talk:
            asking = await beside(talk.chat.ask("go"))
            late.let_go.set()
            for _ in range(ticks):
                await asyncio.sleep(0)
            await talk.chat.interrupt()
            await asyncio.wait([asking])
            asking.exception()
            await talk.chat.ask("and?")
            await talk.chat.wait_for_idle()
            read = [a for a in talk.answers() if a.content == "task-1 succeeded:\nheld is done"]
            assert len(read) + len(talk.told()) == 1, ticks


async def test_a_cancelled_task_is_told_by_the_call_alone() -> None:
    script = (call("held"), call("cancel_task", task_id="task-1"), "Stopped.")
    async with talking(*script, tools=[held().tool]) as talk:
        await talk.chat.ask("go")
        idle = await talk.chat.wait_for_idle()
        assert talk.answers()[-1].content == "task-1 is cancelled."
        assert (talk.told(), idle.undelivered) == ([], 0)
        assert talk.chat.tasks.get("task-1").status == "cancelled"


async def test_a_task_that_waits_for_an_approval_can_be_cancelled() -> None:
    script = (call("held"), call("cancel_task", task_id="task-1"), "Stopped.")
    async with talking(*script, tools=[held(approval="ask").tool]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[-1].content == "task-1 is cancelled."
        assert not list(talk.chat.approvals)


async def test_cancelling_what_has_ended_says_so_and_the_result_still_comes() -> None:
    late = held(on_complete="notify")
    late.let_go.set()
    script = (
        call("held"),
        _after_a_second([call("cancel_task", task_id="task-1")]),
        "ok",
    )
    async with talking(*script, tools=[late.tool]) as talk:
        await talk.chat.ask("go")
        assert "already finished" in talk.answers()[-1].content
        assert talk.told() == ["task-1 succeeded"]


async def test_progress_can_be_read() -> None:
    @tool(route=background())
    async def crawl(ctx: RunContext[None]) -> None:
        """Crawl."""
        await ctx.progress(0.3, "page 3 of 10")
        await asyncio.sleep(100)

    read = _after_a_second([call("read_task_progress", task_id="task-1")])
    async with talking(call("crawl"), read, "ok", "ok", tools=[crawl]) as talk:
        await talk.chat.ask("go")
        told = json.loads(talk.answers()[-1].content)
        assert (told["progress"], told["note"], told["status"]) == (0.3, "page 3 of 10", "running")


@pytest.mark.parametrize("name", sorted(NAMES - {"list_tasks"}))
@pytest.mark.parametrize("task_id", ["task-9", "", None, 7])
async def test_a_task_that_is_not_there_is_an_error_that_names_those_that_are(
    name: str, task_id: Json
) -> None:
    script = (call("held"), call(name, task_id=task_id), "ok")
    async with talking(*script, tools=[held().tool]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[-1].is_error
        assert "at work: task-1" in talk.answers()[-1].content


async def test_a_wait_cannot_wait_for_itself() -> None:
    def routing(asked: ToolCall) -> Route | None:
        return background() if asked.name == "wait_for_task" else None

    wait = call("wait_for_task", task_id="task-1")
    runtime = {"routing": routing}
    async with talking(wait, "ok", "I see.", tools=[held().tool], runtime=runtime) as talk:
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle(timeout=10)
        assert talk.told() == ["task-1 failed"]


async def test_no_conversation_sees_the_tasks_of_another() -> None:
    late = held()
    async with running_runtime() as runtime:
        begin = Agent(ScriptedModel(call("held"), "Begun."), tools=[late.tool])
        pry = [call(name, task_id="task-1") for name in sorted(NAMES - {"list_tasks"})]
        prying = Agent(ScriptedModel([call("list_tasks"), *pry], "ok"), tools=[late.tool])
        async with runtime.open(begin) as one, runtime.open(prying) as other:
            await one.ask("go")
            await other.ask("pry")
            message = other.history()[-2]
            assert isinstance(message, ToolMessage)
            contents = [result.content for result in message.results]
            assert contents[0] == "[]"
            assert all("no background task 'task-1'" in content for content in contents[1:])
            assert [task.status for task in one.tasks] == ["running"]
            assert {t.conversation_id for t in other.tasks} == {ConversationId("conversation-2")}

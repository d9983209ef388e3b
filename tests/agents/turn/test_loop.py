"""A turn: from an input over model calls and tool calls to its end."""

import asyncio
from typing import Any

import pytest
from tests.runtime.harness import Held, beside, settle, talking

from sidetask import RunContext, TaskPolicy, ToolError, Usage, tool
from sidetask.core.errors import StepLimitError
from sidetask.core.events import TaskSucceeded
from sidetask.core.ids import CallId
from sidetask.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from sidetask.core.usage import Price
from sidetask.models.base import CallArguments, CallStarted, Finished, ThinkingChunk
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import ScriptedModel, call, reply


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def broken() -> None:
    """Break."""
    raise ToolError("no luck today")


async def test_a_text_is_a_turn() -> None:
    async with talking("Hello.") as talk:
        reply = await talk.chat.ask("Hi")
        assert (str(reply), reply.steps, reply.output, reply.turn_id) == (
            "Hello.",
            1,
            "Hello.",
            "turn-1",
        )
        assert talk.said() == ["Hi", "Hello."]
        assert talk.kinds() == [
            "run_started",
            "user_message_committed",
            "context_built",
            "model_started",
            "text_delta",
            "assistant_message_committed",
            "usage_recorded",
            "run_completed",
        ]


async def test_a_tool_is_called_and_its_result_goes_to_the_model() -> None:
    async with talking(reply("Let me see.", call("add", a=1, b=2)), "3", tools=[add]) as talk:
        answer = await talk.chat.ask("1 + 2?")
        assert (answer.text, answer.steps) == ("3", 2)
        [result] = talk.answers()
        assert (result.content, result.is_error) == ("3", False)
        assert list(talk.seen(1)) == talk.history[:-1]
        assert [type(m) for m in talk.seen(1)] == [UserMessage, AssistantMessage, ToolMessage]


async def test_answers_stand_in_the_order_of_the_calls_whatever_ended_first() -> None:
    tools = [Held(name) for name in ("a", "b", "c")]
    script = ([call(held.tool.name) for held in tools], "ok")
    async with talking(*script, tools=[held.tool for held in tools]) as talk:
        asking = await beside(talk.chat.ask("go"))
        for held in reversed(tools):
            held.let_go.set()
            await settle()
        await asking
        assert [r.content for r in talk.answers()] == ["a is done", "b is done", "c is done"]
        ends = [e.name for e in talk.events if isinstance(e, TaskSucceeded)]
        assert ends == ["c", "b", "a"]


async def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are() -> None:
    async with talking(call("nope"), "I see.", tools=[add]) as talk:
        assert (await talk.chat.ask("go")).text == "I see."
        [answer] = talk.answers()
        assert answer.is_error
        assert "'nope'" in answer.content
        assert "add" in answer.content


@pytest.mark.parametrize(
    "arguments", ["{", "[1]", "", "not json", '{"a": 1}', '{"a": "x", "b": 2}']
)
async def test_bad_arguments_are_answered_and_the_tool_is_not_run(arguments: str) -> None:
    ran: list[int] = []

    @tool(name="add")
    async def counting(a: int, b: int) -> None:
        """Count."""
        ran.append(a)

    script = ToolCall(CallId(""), "add", arguments)
    async with talking(script, "I see.", tools=[counting]) as talk:
        await talk.chat.ask("go")
        assert [answer.is_error for answer in talk.answers()] == [True]
        assert not ran
        assert talk.runs() == ["run_completed"]


async def test_a_tool_that_raises_is_answered_in_its_own_words() -> None:
    async with talking(call("broken"), "I see.", tools=[broken]) as talk:
        await talk.chat.ask("go")
        [answer] = talk.answers()
        assert (answer.content, answer.is_error) == ("no luck today", True)


async def test_every_call_is_answered_when_some_cannot_be_started() -> None:
    calls = [call("nope"), call("add", a=1, b=1), call("broken"), call("add", a=2, b=2)]
    async with talking(calls, "I see.", tools=[add, broken]) as talk:
        await talk.chat.ask("go")
        assert [answer.is_error for answer in talk.answers()] == [True, False, True, False]


@pytest.mark.parametrize("given", ["", "same"])
async def test_calls_without_an_id_of_their_own_get_one(given: str) -> None:
    def both() -> list[ToolCall | CallStarted | CallArguments]:
        return [
            CallStarted(0, given, "add"),
            CallArguments(0, '{"a": 1, "b": 1}'),
            CallStarted(1, given, "add"),
            CallArguments(1, '{"a": 2, "b": 2}'),
        ]

    async with talking(both(), both(), "ok", both(), "ok", tools=[add]) as talk:
        await talk.chat.ask("go")
        await talk.chat.ask("again")
        assert [answer.content for answer in talk.answers()] == ["2", "4"] * 3
        assert len({answer.call_id for answer in talk.answers()}) == 6


async def test_a_turn_gives_up_at_its_step_limit_with_a_valid_history() -> None:
    async with talking(*[call("add", a=1, b=1)] * 3, "never", tools=[add], max_steps=3) as talk:
        with pytest.raises(StepLimitError, match="3 model calls"):
            await talk.chat.ask("go")
        assert (talk.model.calls, len(talk.answers())) == (3, 3)
        assert talk.runs() == ["run_failed"]
        assert (await talk.chat.ask("and now?")).text == "never"


@pytest.mark.slow
async def test_a_model_that_asks_for_800_calls_gets_800_answers_and_16_at_once() -> None:
    running = most = 0

    @tool
    async def count() -> None:
        """Count."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async with talking([call("count")] * 800, "ok", tools=[count]) as talk:
        await talk.chat.ask("go")
        assert (len(talk.answers()), most) == (800, 16)
        assert not any(answer.is_error for answer in talk.answers())


async def test_a_call_that_the_manager_refuses_is_answered() -> None:
    @tool(policy=TaskPolicy(on_duplicate="reject"))
    async def once() -> None:
        """Run."""
        await asyncio.sleep(1)

    async with talking([call("once"), call("once")], "ok", tools=[once]) as talk:
        await talk.chat.ask("go")
        first, second = talk.answers()
        assert not first.is_error
        assert "Not started" in second.content


async def test_a_full_queue_is_told_to_the_model() -> None:
    held = Held()
    limits = Limits(step=1, queued=1)
    async with talking(
        [call("held")] * 3, "ok", tools=[held.tool], runtime={"limits": limits}
    ) as talk:
        held.let_go.set()
        await talk.chat.ask("go")
        assert [answer.is_error for answer in talk.answers()] == [False, False, True]


async def test_thinking_is_kept_with_its_signature() -> None:
    parts = [ThinkingChunk("hm"), ThinkingChunk("", "signed"), "Hello."]
    async with talking(parts) as talk:
        await talk.chat.ask("Hi")
        message = talk.history[-1]
        assert isinstance(message, AssistantMessage)
        assert [(type(p).__name__, getattr(p, "signature", "")) for p in message.parts] == [
            ("Thinking", "signed"),
            ("Text", ""),
        ]


async def test_an_empty_reply_ends_the_turn_and_leaves_no_message() -> None:
    async with talking(reply(), "ok") as talk:
        assert (await talk.chat.ask("Hi")).text == ""
        assert talk.said() == ["Hi"]
        await talk.chat.ask("Hello?")
        assert talk.said() == ["Hi", "Hello?", "ok"]


async def test_usage_is_counted_by_turn_and_in_all_with_the_models_price() -> None:
    tokens = Finished(usage=Usage(requests=1, input_tokens=1_000_000))
    model = ScriptedModel([call("add", a=1, b=1), tokens], reply("2", tokens), reply("ok", tokens))
    model.price = Price(input=3, output=9)
    async with talking(tools=[add]) as talk:
        talk.inside.model = model
        first = await talk.chat.ask("go")
        await talk.chat.ask("again")
        assert first.usage == Usage(requests=2, input_tokens=2_000_000, usd=6)
        assert talk.chat.last_turn_usage.usd == 3
        assert talk.chat.total_usage == Usage(requests=3, input_tokens=3_000_000, usd=9)


async def test_a_tool_sees_where_it_is_called() -> None:
    @tool
    async def where(ctx: RunContext[None]) -> list[str | None]:
        """Tell."""
        return [ctx.conversation_id, ctx.turn_id, ctx.run_id, ctx.task_id, ctx.call_id]

    async with talking(call("where"), "ok", tools=[where]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[0].content == (
            '["conversation-1", "turn-1", "run:turn-1", "task-1", "call-1"]'
        )


async def test_a_huge_result_is_cut_for_the_model_and_whole_for_the_host() -> None:
    @tool
    async def huge() -> str:
        """Make much."""
        return "x" * 50_000_000

    async with talking(call("huge"), "ok", tools=[huge]) as talk:
        await talk.chat.ask("go")
        [answer] = talk.answers()
        assert len(answer.content) < 60_000
        assert "left out" in answer.content
        assert len(str((await talk.chat.tasks.wait("task-1")).value)) == 50_000_000


@pytest.mark.parametrize("result", [object(), {1, 2}, float("nan"), b"x"])
async def test_a_result_that_is_not_json_is_an_error_for_the_model(result: object) -> None:
    @tool
    async def odd() -> Any:
        """Be odd."""
        return result

    async with talking(call("odd"), "ok", tools=[odd]) as talk:
        await talk.chat.ask("go")
        assert talk.answers()[0].is_error
        assert "result is lost" in talk.answers()[0].content

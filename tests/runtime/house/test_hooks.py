"""Hooks: each fires once, with what is its own; observers break nothing."""

import asyncio
import gc
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from tests.runtime.harness import settle, talking

from sidetask import Agent, tool
from sidetask.agents.guards import Budget, Compaction
from sidetask.agents.guards.compaction import Ask
from sidetask.agents.guards.room import Compacted
from sidetask.agents.policies import HookContext, Hooks, ToolUse
from sidetask.agents.policies.calling import CONTINUES
from sidetask.core.errors import ModelError
from sidetask.core.messages import AssistantMessage, Message, UserMessage, user_message
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.models.scripted import call, reply
from sidetask.testing import ScriptedModel, running_runtime


class Notes(Hooks):
    """Notes everything that it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def conversation_started(self, ctx: HookContext) -> None:
        self.told.append(f"started {ctx.agent} {ctx.conversation_id}")

    async def conversation_ended(self, ctx: HookContext) -> None:
        self.told.append(f"ended {ctx.state.get('k')}")

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        self.told.append(f"turn {message.text if message else None}")

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        self.told.append(f"turn {status} {text}")

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> None:
        self.told.append(f"pre {call.call_id} {call.name} {call.arguments}")
        await asyncio.sleep(0.1)

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        self.told.append(f"post {call.call_id} {call.arguments} {result}")

    async def on_tool_error(self, ctx: HookContext, call: ToolUse, error: str) -> str | None:
        self.told.append(f"error {call.call_id} {call.arguments} {error}")
        return f"told otherwise: {error}"

    async def on_compaction(self, ctx: HookContext, compacted: Compacted) -> None:
        self.told.append("compacted")


@tool
async def half(n: int) -> int:
    """Halve an even number."""
    await asyncio.sleep(n / 10)
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


async def test_each_hook_fires_once_with_its_own_call_also_in_parallel() -> None:
    notes = Notes()
    calls = reply(call("half", n=4), call("half", n=3), call("half", n=2))
    async with talking(calls, "done", tools=[half], hooks=[notes]) as talk:
        talk.chat.state.set("k", "v")
        await talk.chat.ask("go")
        assert [each.content for each in talk.answers()] == [
            "2",
            "told otherwise: ValueError: 3 is odd",
            "1",
        ]
    assert notes.told == [
        "started agent conversation-1",
        "turn go",
        "pre call-1 half {'n': 4}",
        "pre call-2 half {'n': 3}",
        "pre call-3 half {'n': 2}",
        "post call-3 {'n': 2} 1",
        "error call-2 {'n': 3} ValueError: 3 is odd",
        "post call-1 {'n': 4} 2",
        "turn completed done",
        "ended v",
    ]


async def test_a_turn_that_fails_is_told_once() -> None:
    notes = Notes()
    async with talking(ModelError("down"), hooks=[notes]) as talk:
        with pytest.raises(ModelError):
            await talk.chat.ask("go")
    assert notes.told[1:3] == ["turn go", "turn failed "]


async def test_a_hook_is_told_of_each_compaction() -> None:
    class Short:
        async def compact(
            self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
        ) -> Sequence[Message]:
            return [user_message("so far")]

    notes, compaction = Notes(), Compaction(trigger=2_500, compactor=Short())
    async with talking(*["ok"] * 4, hooks=[notes], compaction=compaction) as talk:
        for _ in range(4):
            await talk.chat.ask("x" * 4_000)
        assert len(talk.chat.compaction_indices) > 0
        assert notes.told.count("compacted") == len(talk.chat.compaction_indices)


class Broken(Hooks):
    """Fails wherever it is told something."""

    async def conversation_started(self, ctx: HookContext) -> None:
        raise KeyError("started")

    async def conversation_ended(self, ctx: HookContext) -> None:
        raise KeyError("ended")

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        raise KeyError("pre")

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        raise KeyError("post")

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        raise KeyError("post tool")

    async def on_tool_error(self, ctx: HookContext, call: ToolUse, error: str) -> str | None:
        raise KeyError("tool error")

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        raise KeyError("stop")


async def test_an_observer_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    calls = reply(call("half", n=4), call("half", n=3))
    async with talking(calls, "done", tools=[half], hooks=[Broken()]) as talk:
        assert (await talk.chat.ask("go")).text == "done"
        assert [each.content for each in talk.answers()] == ["2", "ValueError: 3 is odd"]
    told = {record.exc_info[1].args[0] for record in caplog.records if record.exc_info}  # type: ignore[union-attr]
    assert told == {"started", "ended", "pre", "post", "post tool", "tool error", "stop"}


class Stubborn(Hooks):
    """Never content."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked: list[str] = []

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        self.asked.append(text)
        return "There is more to do." if len(self.asked) <= self.times else None


async def test_a_turn_goes_on_for_a_reason_that_the_model_is_told() -> None:
    stubborn = Stubborn(1)
    async with talking("done", "really done", hooks=[stubborn]) as talk:
        assert (await talk.chat.ask("go")).text == "really done"
        assert talk.said() == ["go", "done", "There is more to do.", "really done"]
        assert talk.runs() == ["run_completed"]
    assert stubborn.asked == ["done", "really done"]


async def test_a_turn_is_kept_going_only_so_often_and_each_turn_counts_anew() -> None:
    stubborn = Stubborn(100)
    async with talking(*["done"] * 2 * (CONTINUES + 1), hooks=[stubborn]) as talk:
        await talk.chat.ask("go")
        assert talk.model.calls == CONTINUES + 1
        await talk.chat.ask("again")
        assert talk.model.calls == 2 * (CONTINUES + 1)


async def test_no_more_steps_than_the_turn_has_are_spent_on_going_on() -> None:
    async with talking("one", "two", hooks=[Stubborn(100)], max_steps=2) as talk:
        assert (await talk.chat.ask("go")).text == "two"


@pytest.mark.parametrize("budget", [Budget(steps=2), Budget(tokens=10)])
async def test_a_turn_whose_budget_is_spent_is_over_whatever_a_hook_wants(budget: Budget) -> None:
    used = Finished(usage=Usage(requests=1, input_tokens=5))
    script = reply("one", used), reply("two", used)
    async with talking(*script, hooks=[Stubborn(100)], budget=budget) as talk:
        assert (await talk.chat.ask("go")).text == "two"


async def test_a_hundred_opened_at_once_overlap_and_never_see_each_others_hooks() -> None:
    class Slow(Notes):
        async def conversation_started(self, ctx: HookContext) -> None:
            await asyncio.sleep(1)
            await super().conversation_started(ctx)

    hooks = [Slow() for _ in range(100)]
    async with running_runtime() as runtime:
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(hooks):
                agent = Agent(ScriptedModel(f"r{number}"), name=f"a{number}", hooks=[each])
                group.create_task(_talk(runtime, agent))
        assert asyncio.get_running_loop().time() == pytest.approx(1)
    for number, each in enumerate(hooks):
        assert each.told[0].startswith(f"started a{number} ")
        assert each.told[1:] == ["turn hi", f"turn completed r{number}", "ended None"]


async def _talk(runtime: Any, agent: Agent) -> None:
    async with runtime.open(agent) as chat:
        await chat.ask("hi")


async def test_a_create_that_is_cancelled_half_way_leaves_nothing() -> None:
    class Slow(Notes):
        async def conversation_started(self, ctx: HookContext) -> None:
            await asyncio.sleep(3600)

    slow = Slow()
    async with running_runtime() as runtime:
        opening = asyncio.ensure_future(_talk(runtime, Agent(ScriptedModel("x"), hooks=[slow])))
        await settle()
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()
        assert not runtime.live_agents
    assert slow.told == ["ended None"]


async def test_an_agent_that_is_dropped_tells_its_hooks_of_the_end() -> None:
    notes = Notes()
    async with running_runtime() as runtime:
        chat = await runtime.open(Agent(ScriptedModel("x"), hooks=[notes]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del chat
            gc.collect()
        await settle()
        assert not runtime.live_agents
    assert notes.told[-1] == "ended None"


@pytest.mark.parametrize("steps", [1, 2])
async def test_nothing_is_said_to_a_model_that_has_no_step_left_to_hear_it(steps: int) -> None:
    async with talking("one", "two", hooks=[Stubborn(100)], max_steps=steps) as talk:
        await talk.chat.ask("go")
        assert isinstance(talk.history[-1], AssistantMessage)
        assert talk.model.calls == steps


class Blank(Hooks):
    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        return "  "


async def test_a_blank_reason_is_none() -> None:
    async with talking("one", hooks=[Blank()]) as talk:
        assert (await talk.chat.ask("go")).text == "one"

"""A user's Stop in each phase of a turn, and ends from outside."""

import asyncio

import pytest
from tests.runtime.harness import Held, Talk, assert_valid, beside, settle, talking

from sidetask import Agent, RunContext, TaskPolicy, Tool, background, tool
from sidetask.core.errors import TurnCancelledError
from sidetask.core.messages import AssistantMessage, ToolMessage
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import (
    ScriptedModel,
    VirtualClock,
    call,
    ignores_cancellation,
    reply,
    running_runtime,
    stall,
)


async def stopped(talk: Talk, asking: "asyncio.Task[object]") -> None:
    await talk.chat.interrupt()
    with pytest.raises(TurnCancelledError, match="interrupted"):
        await asking
    assert talk.runs() == ["run_cancelled"]
    assert_valid(talk.history)


# -- a Stop in each phase ----------------------------------------------------------------------


async def test_a_stop_before_the_model_was_called_calls_none_and_keeps_the_message() -> None:
    async with talking("never") as talk:
        response = await talk.chat.chat("go")
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await response
        assert (talk.model.calls, talk.said(), talk.runs()) == (0, ["go"], ["run_cancelled"])


async def test_a_stop_in_the_tick_of_the_question_ends_its_turn() -> None:
    async with talking("never") as talk:
        asking = asyncio.create_task(talk.chat.ask("go"))
        await asyncio.sleep(0)
        await stopped(talk, asking)
        assert talk.model.calls == 0


async def test_a_stop_before_the_first_piece_leaves_no_reply() -> None:
    async with talking(stall()) as talk:
        await stopped(talk, await beside(talk.chat.ask("go")))
        assert talk.said() == ["go"]


async def test_a_stop_in_mid_stream_keeps_the_partial_text_and_loses_the_calls() -> None:
    held = Held()
    async with talking(stall("I was ", "about", call("held")), tools=[held.tool]) as talk:
        await stopped(talk, await beside(talk.chat.ask("go")))
        message = talk.history[-1]
        assert isinstance(message, AssistantMessage)
        assert (message.text, message.partial, message.calls) == ("I was about", True, ())
        assert talk.chat.last_response is not None
        assert talk.chat.last_response.text == "I was about"
        assert held.runs == 0


async def test_a_stop_while_tools_run_answers_every_call() -> None:
    held = Held()
    calls = [call("held"), call("nope"), call("held")]
    async with talking(calls, "Hello again.", tools=[held.tool]) as talk:
        await stopped(talk, await beside(talk.chat.ask("go")))
        first, unknown, third = talk.answers()
        assert "cancelled" in first.content
        assert "no tool" in unknown.content
        assert "cancelled" in third.content
        assert not talk.chat.tasks.running()
        assert (await talk.chat.ask("hi")).text == "Hello again."


async def test_a_stop_spares_the_background_and_ends_all_that_the_turn_waits_for() -> None:
    running, detached, kept = Held("running"), Held("detached"), Held("kept")
    tools = [
        running.tool,
        Held("queued", policy=TaskPolicy(cap=1)).tool,
        Held("behind", route=background()).tool,
        Held("gated", approval="ask").tool,
        detached.tool,
        Held("keeper", policy=TaskPolicy(on_interrupt="keep")).tool,
    ]
    names = ["running", "queued", "queued", "behind", "gated", "detached", "keeper"]
    async with talking([call(name) for name in names], tools=tools) as talk:
        asking = await beside(talk.chat.ask("go"))
        assert talk.chat.tasks.detach("task-6")
        await stopped(talk, asking)
        contents = [answer.content for answer in talk.answers()]
        assert len(contents) == 7
        in_background = ["background" in content for content in contents]
        assert in_background == [False, False, False, True, False, True, True]
        alive = {task.name for task in talk.chat.tasks.running()}
        assert alive == {"behind", "detached", "keeper"}
        assert not list(talk.chat.approvals)
        assert kept.runs == 0
        await talk.chat.interrupt("all")
        assert not talk.chat.tasks.running()


async def test_stopping_everything_stops_the_background_in_the_same_tick_and_waits() -> None:
    @tool(route=background(), policy=TaskPolicy(grace=3))
    async def stubborn() -> None:
        """Work on."""
        await ignores_cancellation(100)

    @tool(route=background(), approval="ask")
    async def gated() -> None:
        """Ask first."""

    async with talking(
        [call("stubborn"), call("gated")], "Begun.", "Noted.", tools=[stubborn, gated]
    ) as talk:
        await talk.chat.ask("go")
        await settle()
        assert len(list(talk.chat.approvals)) == 1
        await talk.chat.interrupt("all")
        assert not talk.chat.tasks.running()
        assert not list(talk.chat.approvals)
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_completed"]
        await talk.chat.ask("what happened?")
        assert talk.told() == ["task-2 cancelled", "task-1 cancelled"]


async def test_a_stop_while_nothing_runs_is_fine() -> None:
    async with talking("Hello.") as talk:
        await talk.chat.interrupt()
        await talk.chat.interrupt("all")
        await talk.chat.cancel()
        assert (await talk.chat.ask("hi")).text == "Hello."


async def test_two_stops_at_once_are_one() -> None:
    async with talking(stall()) as talk:
        asking = await beside(talk.chat.ask("go"))
        await asyncio.wait([await beside(talk.chat.interrupt()) for _ in range(2)])
        with pytest.raises(TurnCancelledError):
            await asking
        assert talk.runs() == ["run_cancelled"]


async def test_a_tool_that_ignores_its_cancellation_does_not_hold_up_a_stop(
    clock: VirtualClock,
) -> None:
    @tool
    async def stubborn() -> str:
        """Work on."""
        await ignores_cancellation(100)
        return "late"

    async with talking(call("stubborn"), "Hello.", tools=[stubborn]) as talk:
        await stopped(talk, await beside(talk.chat.ask("go")))
        assert clock.time() < 0.1
        await talk.chat.wait_for_idle()
        assert clock.time() == pytest.approx(5, abs=0.1)
        await talk.chat.ask("hi")
        assert talk.told() == []
        assert len(talk.answers()) == 1


async def test_a_tool_may_stop_its_own_turn() -> None:
    async with talking(call("stop"), tools=[]) as talk:

        async def stop(arguments: object, ctx: RunContext[None]) -> None:
            await talk.chat.interrupt()

        own = Tool.from_schema(stop, {"type": "object"}, name="stop", description="")
        talk.inside.toolset.tools["stop"] = own
        talk.inside.toolset.executors["stop"] = own.execute
        with pytest.raises(TurnCancelledError):
            await talk.chat.ask("go")
        assert len(talk.answers()) == 1


# -- ends from outside ----------------------------------------------------------------------------


async def test_cancel_ends_the_turn_and_lets_results_begin_another() -> None:
    late = Held("late", route=background())
    script = (call("late"), stall("I am"), "The result is here.")
    async with talking(*script, tools=[late.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.cancel()
        with pytest.raises(TurnCancelledError, match="the turn was cancelled"):
            await asking
        late.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_cancelled", "run_completed"]
        assert talk.said()[-1] == "The result is here."


async def test_a_call_that_ends_with_its_turn_is_told_why() -> None:
    held = Held()
    async with talking(call("held"), call("held"), call("held"), tools=[held.tool]) as talk:
        for stop in (talk.chat.interrupt, talk.chat.cancel, talk.chat.shutdown):
            asking = await beside(talk.chat.ask("go"))
            await stop()
            with pytest.raises(TurnCancelledError):
                await asking
        whys = ["the user interrupted the turn", "the turn was cancelled", "shut down"]
        assert [a.content for a in talk.answers()] == [
            f"The call was cancelled: {w}." for w in whys
        ]


async def test_a_call_to_a_manager_that_is_closed_cancels_the_turn() -> None:
    async with talking(call("held"), tools=[Held().tool]) as talk:
        await talk.runtime.tasks.close()
        with pytest.raises(TurnCancelledError, match="manager is closed"):
            await talk.chat.ask("go")
        assert talk.answers()[0].is_error


async def test_whoever_asked_and_is_cancelled_takes_the_turn_along() -> None:
    async with talking(stall("Well"), "Hello.") as talk:
        asking = await beside(talk.chat.ask("go"))
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert (await talk.chat.ask("hi")).text == "Hello."
        assert talk.runs() == ["run_cancelled", "run_completed"]
        assert talk.said() == ["go", "Well", "hi", "Hello."]


async def test_the_turns_asyncio_task_cancelled_from_outside_ends_the_turn_properly() -> None:
    held = Held()
    async with talking(call("held"), "Hello.", tools=[held.tool]) as talk:
        response = await talk.chat.chat("go")
        await held.begun.wait()
        queued = await beside(talk.chat.ask("me too"))
        [driving] = [t for t in asyncio.all_tasks() if t.get_name().startswith("turns of")]
        driving.cancel()
        for each in (response, queued):
            with pytest.raises(TurnCancelledError):
                await each
        assert talk.runs() == ["run_cancelled"]
        assert isinstance(talk.history[-1], ToolMessage)
        assert (await talk.chat.ask("hi")).text == "Hello."


async def test_the_turns_asyncio_task_cancelled_before_its_first_step_hangs_nobody() -> None:
    async with talking("Hello.") as talk:
        asking = asyncio.create_task(talk.chat.chat("go"))
        await asyncio.sleep(0)
        [driving] = [t for t in asyncio.all_tasks() if t.get_name().startswith("turns of")]
        driving.cancel()
        with pytest.raises(TurnCancelledError):
            await (await asking)
        assert (await talk.chat.ask("hi")).text == "Hello."


@pytest.mark.parametrize("again", [False, True])
async def test_a_shutdown_in_mid_turn_ends_it_with_a_valid_history(again: bool) -> None:
    late, held = Held("late", route=background()), Held()
    async with talking(
        reply("So.", call("late"), call("held")), tools=[late.tool, held.tool]
    ) as talk:
        asking = await beside(talk.chat.ask("go"))
        queued = await beside(talk.chat.ask("me too"))
        if again:
            await asyncio.wait([await beside(talk.chat.shutdown()) for _ in range(2)])
        await talk.chat.shutdown()
        for each in (asking, queued):
            with pytest.raises(TurnCancelledError, match="shut down"):
                await each
        assert talk.runs() == ["run_cancelled"]
        assert not talk.runtime.tasks.list_running()


async def test_a_shutdown_waits_for_what_waits_for_an_approval_in_its_body() -> None:
    ended: list[str] = []

    @tool(route=background())
    async def asking(ctx: RunContext[None]) -> None:
        """Ask."""
        try:
            await ctx.request_approval("may I?")
        finally:
            await asyncio.sleep(1)
            ended.append("tidy")

    async with talking(call("asking"), "Begun.", tools=[asking]) as talk:
        await talk.chat.ask("go")
        await settle()
        await talk.chat.shutdown()
        assert ended == ["tidy"]
        assert "task_cancelled" in talk.kinds()


async def test_a_stop_with_queued_calls_starts_none_of_them() -> None:
    held = Held()
    limits = Limits(step=1)
    async with talking([call("held")] * 5, tools=[held.tool], runtime={"limits": limits}) as talk:
        await stopped(talk, await beside(talk.chat.ask("go")))
        await settle()
        assert held.runs == 1
        assert len(talk.answers()) == 5


async def test_closing_the_runtime_ends_the_turns_of_every_agent() -> None:

    async with running_runtime() as runtime:
        chats = [await runtime.open(Agent(ScriptedModel(stall()))) for _ in range(3)]
        asking = [await beside(chat.ask("go")) for chat in chats]
        await runtime.close()
        await runtime.close()
        for each in asking:
            with pytest.raises(TurnCancelledError):
                await each
        assert runtime.live_agents == ()

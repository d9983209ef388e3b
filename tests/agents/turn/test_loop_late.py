"""Results that come late: receipts, notifications, and the turns that begin by themselves."""

import asyncio

import pytest
from tests.runtime.harness import Held, beside, settle, talking

from sidetask import RunContext, TaskPolicy, background, foreground, tool
from sidetask.core.errors import TurnCancelledError
from sidetask.core.events import RunStarted
from sidetask.core.messages import AssistantMessage, NotificationMessage, ToolCall, UserMessage
from sidetask.core.routing import Route
from sidetask.testing import VirtualClock, call, reply, stall


@tool(detach_after=30)
async def crawl() -> str:
    """Crawl for 45 s."""
    await asyncio.sleep(45)
    return "12 pages"


@tool(route=background())
async def quick(seconds: float = 0.0) -> str:
    """Work beside the conversation."""
    await asyncio.sleep(seconds)
    return f"after {seconds:g} s"


async def test_detached_at_30_s_interrupted_at_31_s_result_at_45_s(clock: VirtualClock) -> None:
    async with talking(call("crawl"), stall("Mean"), "It has 12.", tools=[crawl]) as talk:
        asking = await beside(talk.chat.ask("go"))
        await asyncio.sleep(31)
        assert [a.content for a in talk.answers()] == [
            "Running in the background as task-1. Its result will follow by itself."
        ]
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        assert clock.time() == pytest.approx(31, abs=0.01)
        idle = await talk.chat.wait_for_idle()
        assert clock.time() == pytest.approx(45, abs=0.01)
        assert (idle.undelivered, talk.runs()) == (1, ["run_cancelled"])
        assert (await talk.chat.ask("And?")).text == "It has 12."
        assert talk.told() == ["task-1 succeeded"]
        assert clock.time() == pytest.approx(45, abs=0.01)


async def test_a_call_that_ends_before_its_timer_is_an_ordinary_result(clock: VirtualClock) -> None:
    @tool(detach_after=5)
    async def brief() -> str:
        """Be brief."""
        await asyncio.sleep(4)
        return "done"

    async with talking(call("brief"), "ok", tools=[brief]) as talk:
        await talk.chat.ask("go")
        assert [a.content for a in talk.answers()] == ["done"]
        assert "task_detached" not in talk.kinds()


async def test_a_late_result_begins_a_turn_that_says_why() -> None:
    async with talking(call("quick", seconds=3), "Begun.", "Done.", tools=[quick]) as talk:
        first = await talk.chat.ask("go")
        assert [(task.id, task.status) for task in first.pending] == [("task-1", "queued")]
        [turn] = [turn async for turn in talk.chat.turns(until="idle")]
        assert (turn.cause, turn.task_ids, turn.text) == ("tasks", ("task-1",), "Done.")
        assert (await turn).pending == ()
        _, started = [event for event in talk.events if isinstance(event, RunStarted)]
        assert (started.cause, started.task_ids) == ("tasks", ("task-1",))
        message = talk.history[-2]
        assert isinstance(message, NotificationMessage)
        assert message.items[0].content == "after 3 s"
        assert message.items[0].call_ids == ("call-1",)


async def test_results_that_are_ready_together_are_one_message_and_one_turn() -> None:
    calls = [call("quick", seconds=5)] * 4
    async with talking(calls, "Begun.", "All done.", tools=[quick]) as talk:
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        assert talk.model.calls == 3
        assert sorted(talk.told()) == [f"task-{n} succeeded" for n in (1, 2, 3, 4)]
        assert sum(isinstance(m, NotificationMessage) for m in talk.history) == 1


async def test_a_result_during_a_turn_joins_it_before_the_next_model_call() -> None:
    held = Held()
    script = ([call("quick"), call("held")], "Both are here.")
    async with talking(*script, tools=[quick, held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        held.let_go.set()
        await asking
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_completed"]
        assert talk.told() == ["task-1 succeeded"]


async def test_a_result_that_lands_in_the_tick_in_which_the_turn_ends_is_not_lost() -> None:
    """Whatever the number of ticks it takes: each is tried."""
    for ticks in range(30):

        @tool(route=background())
        async def ticking(ticks: int = ticks) -> str:
            """Take some ticks of the loop."""
            for _ in range(ticks):
                await asyncio.sleep(0)
            return "here"

        heard = ["Begun.", "Heard."]
        async with talking(call("ticking"), *heard, tools=[ticking]) as talk:
            await talk.chat.ask("go")
            idle = await talk.chat.wait_for_idle()
            assert idle.undelivered == 0, ticks
            assert talk.told() == ["task-1 succeeded"], ticks


async def test_a_failed_task_is_told_as_one() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", "It failed.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        held.result = ValueError("bad luck")
        held.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 failed"]


async def test_a_background_task_that_the_host_cancels_is_told_once() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", "I see.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        await talk.chat.tasks.cancel("task-1", "not needed")
        await talk.chat.wait_for_idle()
        held.let_go.set()
        await settle()
        assert talk.told() == ["task-1 cancelled"]


# -- on_complete ---------------------------------------------------------------------------------


async def test_notify_waits_for_the_next_model_call() -> None:
    held = Held(route=background(), on_complete="notify")
    async with talking(call("held"), "Begun.", "And here it is.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        held.let_go.set()
        assert (await talk.chat.wait_for_idle()).undelivered == 1
        assert talk.model.calls == 2
        await talk.chat.ask("and?")
        assert [type(m).__name__ for m in talk.history[-3:]] == [
            "NotificationMessage",
            "UserMessage",
            "AssistantMessage",
        ]


async def test_interrupt_cuts_the_reply_that_is_streaming_and_keeps_its_text() -> None:
    held = Held(route=background(), on_complete="interrupt")
    script = (call("held"), stall("I was say"), "Stop: it is done.")
    async with talking(*script, tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        held.let_go.set()
        answer = await asking
        assert (answer.text, answer.steps) == ("Stop: it is done.", 3)
        partial = talk.history[3]
        assert isinstance(partial, AssistantMessage)
        assert (partial.text, partial.partial) == ("I was say", True)
        assert talk.told() == ["task-1 succeeded"]
        assert talk.runs() == ["run_completed"]


async def test_interrupt_cuts_a_reply_of_which_nothing_has_come() -> None:
    held = Held(route=background(), on_complete="interrupt")
    async with talking(call("held"), stall(), "Done.", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        held.let_go.set()
        assert (await asking).text == "Done."
        assert not any(isinstance(m, AssistantMessage) and m.partial for m in talk.history)


async def test_interrupt_never_cuts_a_tool() -> None:
    late, held = Held("late", route=background(), on_complete="interrupt"), Held()
    script = ([call("late"), call("held")], "Both.")
    async with talking(*script, tools=[late.tool, held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        late.let_go.set()
        await settle()
        held.let_go.set()
        assert (await asking).text == "Both."
        assert not talk.answers()[1].is_error
        assert talk.told() == ["task-1 succeeded"]


async def test_interrupt_begins_a_turn_of_an_idle_conversation() -> None:
    held = Held(route=background(), on_complete="interrupt")
    async with talking(call("held"), "Begun.", "Done.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        held.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.said()[-1] == "Done."


async def test_an_interrupt_at_the_last_step_is_told_in_a_turn_of_its_own() -> None:
    held = Held(route=background(), on_complete="interrupt")
    script = (call("held"), stall("I was say"), "Done.")
    async with talking(*script, tools=[held.tool], max_steps=2) as talk:
        asking = await beside(talk.chat.ask("go"))
        held.let_go.set()
        assert (await asking).text == "I was say"
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_completed", "run_completed"]
        assert talk.said()[-1] == "Done."


# -- turns that nobody asked for -------------------------------------------------------------------


def endless(talk_calls: int) -> list[ToolCall | str]:
    return [call("quick", seconds=1), "Again."] * talk_calls


async def test_at_most_so_many_turns_follow_each_other_by_themselves() -> None:
    async with talking(*endless(20), tools=[quick], runtime={"max_auto_turns": 3}) as talk:
        await talk.chat.ask("go")
        idle = await talk.chat.wait_for_idle()
        assert (talk.chat.turn_count, idle.undelivered) == (1 + 3, 1)
        await talk.chat.ask("go on")
        await talk.chat.wait_for_idle()
        assert talk.chat.turn_count == 1 + 3 + 1 + 3


async def test_who_steers_a_turn_that_began_by_itself_has_spoken() -> None:
    async with talking(*endless(20), tools=[quick], runtime={"max_auto_turns": 2}) as talk:
        turns = talk.chat.turns()
        await talk.chat.ask("go")
        while (await anext(turns)).turn_id != "turn-3":
            continue
        await talk.chat.send("I am here.")
        await talk.chat.wait_for_idle()
        assert talk.chat.turn_count == 3 + 2


async def test_a_stop_parks_the_turns_that_nobody_asked_for_until_the_user_speaks() -> None:
    held = Held(route=background())
    script = (call("held"), "Begun.", "Hello, and it is done.")
    async with talking(*script, tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        await talk.chat.interrupt()
        held.let_go.set()
        assert (await talk.chat.wait_for_idle()).undelivered == 1
        assert talk.chat.turn_count == 1
        assert (await talk.chat.ask("hi")).text == "Hello, and it is done."
        assert talk.told() == ["task-1 succeeded"]


async def test_what_parks_is_the_users_stop_and_speaking_ends_it() -> None:
    first, second = Held("first", route=background()), Held("second", route=background())
    script = ([call("first"), call("second")], "Begun.", "Hello.", "The second is done.")
    async with talking(*script, tools=[first.tool, second.tool]) as talk:
        await talk.chat.ask("go")
        await talk.chat.interrupt()
        first.let_go.set()
        await settle()
        await talk.chat.send("hi")
        await settle()
        second.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.said()[-1] == "The second is done."


async def test_a_turn_that_began_by_itself_can_be_stopped() -> None:
    async with talking(call("quick"), "Begun.", stall("The res"), tools=[quick]) as talk:
        await talk.chat.ask("go")
        await settle()
        await talk.chat.interrupt()
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_completed", "run_cancelled"]
        assert talk.said()[-1] == "The res"


async def test_a_turn_that_began_by_itself_and_failed_is_told_and_not_tried_for_ever() -> None:
    async with talking(call("quick"), "Begun.", RuntimeError("down"), tools=[quick]) as talk:
        await talk.chat.ask("go")
        [turn] = [turn async for turn in talk.chat.turns(until="idle")]
        assert (turn.status, talk.model.calls) == ("failed", 3)
        assert talk.told() == ["task-1 succeeded"]


# -- steering ------------------------------------------------------------------------------------


async def test_a_message_that_is_sent_during_a_turn_joins_it_before_the_next_model_call() -> None:
    held = Held()
    async with talking(call("held"), "Both, then.", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("and this")
        held.let_go.set()
        await asking
        assert talk.runs() == ["run_completed"]
        assert isinstance(talk.seen(1)[-1], UserMessage)
        assert talk.said() == ["go", "", "and this", "Both, then."]


async def test_a_message_that_is_sent_during_the_last_reply_gets_another_reply() -> None:
    gate = asyncio.Event()
    async with talking(reply("One", gate), "Two.") as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("and this")
        gate.set()
        assert (await asking).text == "Two."
        assert talk.said() == ["go", "One", "and this", "Two."]


async def test_a_message_that_comes_too_late_for_a_turn_gets_one_of_its_own() -> None:
    gate = asyncio.Event()
    async with talking(reply("One", gate), "Two.", max_steps=1) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("and this")
        gate.set()
        assert (await asking).text == "One"
        await talk.chat.wait_for_idle()
        assert talk.said() == ["go", "One", "and this", "Two."]
        assert talk.runs() == ["run_completed"] * 2


async def test_a_message_for_a_turn_that_is_stopped_gets_one_of_its_own() -> None:
    async with talking(stall(), "Now this.") as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("and this")
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        await talk.chat.wait_for_idle()
        assert talk.said() == ["go", "and this", "Now this."]


async def test_a_message_that_is_sent_while_nothing_runs_begins_a_turn() -> None:
    async with talking("Hello.") as talk:
        await talk.chat.send("hi")
        [turn] = [turn async for turn in talk.chat.turns(until="idle")]
        assert (turn.cause, turn.text) == ("user", "Hello.")


# -- routes and conversations ----------------------------------------------------------------------


async def test_the_hosts_routing_wins_over_the_tools_route() -> None:
    def routing(asked: ToolCall) -> Route | None:
        return {"plain": background(), "quick": foreground()}.get(asked.name)

    @tool
    async def plain() -> str:
        """Be plain."""
        return "plain"

    script = ([call("plain"), call("quick")], "Begun.", "Done.")
    runtime = {"routing": routing}
    async with talking(*script, tools=[plain, quick], runtime=runtime) as talk:
        assert "list_tasks" in {schema.name for schema in talk.chat.available_tools}
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        assert "background" in talk.answers()[0].content
        assert talk.answers()[1].content == "after 0 s"


async def test_a_routing_that_raises_fails_the_turn_and_answers_every_call() -> None:
    def routing(asked: ToolCall) -> Route | None:
        if asked.name == "held":
            raise ValueError("no idea")
        return None

    held = Held()
    calls = [call("quick"), call("held"), call("quick")]
    runtime = {"routing": routing}
    async with talking(calls, "ok", tools=[held.tool, quick], runtime=runtime) as talk:
        with pytest.raises(ValueError, match="no idea"):
            await talk.chat.ask("go")
        assert len(talk.answers()) == 3
        assert talk.runs() == ["run_failed"]


async def test_an_approval_in_the_foreground_holds_its_turn() -> None:
    held = Held(approval="ask")
    held.let_go.set()
    async with talking(call("held"), "ok", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert (held.runs, asking.done()) == (0, False)
        talk.chat.approvals.approve(approval.id, by="ada")
        assert (await asking).text == "ok"
        assert talk.answers()[0].content == "held is done"


async def test_a_denial_is_an_answer_with_its_reason() -> None:
    held = Held(approval="ask")
    async with talking(call("held"), "ok", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        talk.chat.approvals.deny(approval.id, "too risky", by="ada")
        await asking
        assert "too risky" in talk.answers()[0].content
        assert held.runs == 0


async def test_an_approval_of_a_background_call_holds_no_turn_and_no_idle() -> None:
    held = Held(approval="ask", route=background())
    held.let_go.set()
    async with talking(call("held"), "I wait.", "Done.", tools=[held.tool]) as talk:
        assert (await talk.chat.ask("go")).text == "I wait."
        assert (await talk.chat.wait_for_idle()).approvals == 1
        [approval] = talk.chat.approvals
        talk.chat.approvals.approve(approval.id, by="ada")
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]


async def test_a_turn_that_waits_for_an_approval_goes_on_when_the_host_detaches_the_call() -> None:
    held = Held(approval="ask")
    held.let_go.set()
    async with talking(call("held"), "I wait.", "Denied.", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        assert talk.chat.tasks.detach("task-1")
        assert (await asking).text == "I wait."
        [approval] = talk.chat.approvals
        talk.chat.approvals.deny(approval.id, by="ada")
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 denied"]


async def test_a_call_that_joined_another_is_answered_once(clock: VirtualClock) -> None:
    held = Held(policy=TaskPolicy(on_duplicate="join"))
    async with talking([call("held")] * 3, "ok", tools=[held.tool]) as talk:
        asking = await beside(talk.chat.ask("go"))
        held.let_go.set()
        await asking
        assert (held.runs, [a.content for a in talk.answers()]) == (1, ["held is done"] * 3)


async def test_a_tool_that_spawned_children_is_one_answer() -> None:
    @tool
    async def parent(ctx: RunContext[None]) -> list[object]:
        """Ask the children."""
        children = [ctx.spawn("child", n=n) for n in range(3)]
        return [await child for child in children]

    @tool
    async def child(n: int) -> int:
        """Double."""
        return 2 * n

    async with talking(call("parent"), "ok", tools=[parent, child]) as talk:
        await talk.chat.ask("go")
        assert [a.content for a in talk.answers()] == ["[0, 2, 4]"]
        assert talk.told() == []

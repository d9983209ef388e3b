"""Who waits for an answer carries its turn out: what the others see, and what a cancel does."""

import asyncio
from contextlib import suppress

import pytest

from sidetask import Agent, tool
from sidetask.agents.policies import HookContext, Hooks
from sidetask.core.errors import TurnCancelledError
from sidetask.core.messages import ToolMessage, UserMessage
from sidetask.tasks.parts.body import current_body
from sidetask.testing import ScriptedModel, VirtualClock, call, running_runtime
from tests.runtime.harness import Held, assert_valid, beside, talking


async def test_an_answer_that_is_waited_for_takes_no_asyncio_task_beside() -> None:
    held = Held()
    async with talking(call("held"), "Done.", tools=[held.tool]) as talk:
        before = asyncio.all_tasks()
        asking = await beside(talk.chat.ask("go"))
        body = asyncio.all_tasks() - before - {asking}
        assert len(body) == 1, "the tool's"
        held.let_go.set()
        assert (await asking).text == "Done."


async def test_others_come_first_in_the_tick_of_the_question() -> None:
    async with talking("One.") as talk:
        asking = asyncio.create_task(talk.chat.ask("go"))
        await asyncio.sleep(0)
        assert not talk.chat.is_idle
        assert talk.model.calls == 0
        assert (await asking).text == "One."


async def test_those_who_ask_meanwhile_get_their_turns_when_the_first_is_cancelled() -> None:
    held = Held()
    async with talking(call("held"), "Two.", "Three.", tools=[held.tool]) as talk:
        first = await beside(talk.chat.ask("one"))
        second, third = await beside(talk.chat.ask("two")), await beside(talk.chat.ask("three"))
        first.cancel()
        assert [(await each).text for each in (second, third)] == ["Two.", "Three."]
        assert first.cancelled()
        assert talk.runs() == ["run_cancelled", "run_completed", "run_completed"]
        assert isinstance(talk.history[2], ToolMessage)
        assert_valid(talk.history)


class Ends(Hooks):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        await asyncio.sleep(1)
        self.seen.append(status)


async def test_a_hook_hears_to_the_end_of_a_turn_whose_asker_was_cancelled() -> None:
    hooks, held = Ends(), Held()
    async with talking(call("held"), "Two.", tools=[held.tool], hooks=[hooks]) as talk:
        asking = await beside(talk.chat.ask("go"))
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        assert hooks.seen == ["cancelled"]
        assert (await talk.chat.ask("and?")).text == "Two."


class Signalled(Hooks):
    """Ctrl-C in the middle of a step: its handler cancels the task that runs at the moment."""

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


async def test_a_cancellation_in_the_middle_of_a_step_is_no_fault_of_the_model() -> None:
    async with talking("One.", "Two.", hooks=[Signalled()]) as talk:
        asking = await beside(talk.chat.ask("go"))
        await asyncio.wait({asking})
        assert asking.cancelled()
        assert talk.runs() == ["run_cancelled"]


async def test_a_timeout_around_a_question_ends_its_turn_and_is_the_askers_own() -> None:
    held = Held()
    async with talking(call("held"), "Two.", tools=[held.tool]) as talk:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await talk.chat.ask("go")
        assert talk.chat.is_idle
        assert (await talk.chat.ask("and?")).text == "Two."


class Stuck(Hooks):
    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        await asyncio.get_running_loop().create_future()


async def test_a_hook_that_hangs_keeps_no_cancelled_asker(clock: VirtualClock) -> None:
    held = Held()
    async with talking(call("held"), tools=[held.tool], hooks=[Stuck()]) as talk:
        asking = await beside(talk.chat.ask("go"))
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        assert clock.time() == pytest.approx(5, abs=0.1)
        assert talk.chat.is_idle


class Stubborn(Hooks):
    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()


async def test_a_hook_that_swallows_its_end_by_force_leaves_nothing_to_who_asked() -> None:
    async with talking("One.", hooks=[Stubborn()]) as talk:

        async def ask() -> int:
            await talk.chat.ask("go")
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        asking = await beside(ask())
        await talk.chat.shutdown()
        assert await asking == 0


@pytest.mark.parametrize("also", [False, True])
async def test_a_turn_that_is_ended_by_force_is_no_cancellation_of_who_asked(also: bool) -> None:
    async with talking("One.", hooks=[Stuck()]) as talk:
        asked: list[str] = []

        async def ask() -> None:
            try:
                await talk.chat.ask("go")
                asked.append("answered")
            except TurnCancelledError:
                asked.append("its turn was cancelled")
            await asyncio.sleep(0)  # a cancellation that is left over would come here
            asked.append("went on")

        asking = await beside(ask())
        ending = await beside(talk.chat.shutdown())
        if also:
            await asyncio.sleep(5)
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()
        else:
            await asking
            assert asked == ["answered", "went on"]
        await ending


class Body(Hooks):
    """Notes on whose behalf a turn runs."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        self.seen.append(current_body.get())


async def test_a_turn_that_a_tool_asks_for_is_not_its_child() -> None:
    hooks = Body()
    async with (
        running_runtime() as runtime,
        runtime.open(Agent(ScriptedModel("Fine."), name="other", hooks=[hooks])) as other,
    ):

        @tool
        async def whole() -> str:
            """Do it all."""
            before = current_body.get()
            await other.ask("ready?")
            return str(before is not None and current_body.get() is before)

        async with runtime.open(
            Agent(ScriptedModel(call("whole"), "Done."), tools=[whole])
        ) as chat:
            await chat.ask("go")
            answer = chat.history()[2]
            assert isinstance(answer, ToolMessage)
            assert answer.results[0].content == "True"
            assert hooks.seen == [None]

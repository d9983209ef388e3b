"""Hooks that hang, are cancelled inside, or call back into their own conversation."""

import asyncio
import logging
from typing import Any

import pytest
from tests.runtime.harness import beside, settle, talking

from sidetask import AgentHandle, tool
from sidetask.agents.guards import Budget
from sidetask.agents.policies import Decision, HookContext, Hooks, ToolUse
from sidetask.agents.policies.calling import PATIENCE
from sidetask.core.errors import BudgetExceededError, TurnCancelledError
from sidetask.core.messages import UserMessage
from sidetask.models.scripted import call, stall


async def cancelled_inside() -> None:
    """What a host's code runs into when something that it shares was cancelled."""
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone


@tool
async def look() -> str:
    """Look."""
    return "seen"


class Hanging(Hooks):
    """Never comes back from one of its methods."""

    def __init__(self, method: str) -> None:
        self.begun = asyncio.Event()
        self._method = method

    async def _hang(self) -> None:
        self.begun.set()
        await asyncio.get_running_loop().create_future()

    async def _at(self, method: str) -> None:
        if method == self._method:
            await self._hang()

    def leave(self) -> None:
        """Hang no more."""
        self._method = ""

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        await self._at("pre_turn")

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        await self._at("post_turn")

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        await self._at("on_stop")
        return None

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        await self._at("pre_tool_call")
        return None

    async def conversation_ended(self, ctx: HookContext) -> None:
        await self._at("conversation_ended")


IN_A_TURN = ["pre_turn", "on_stop", "pre_tool_call"]


@pytest.mark.parametrize("method", IN_A_TURN)
async def test_a_stop_ends_a_turn_whose_hook_hangs(method: str) -> None:
    hooks = Hanging(method)
    async with talking(call("look"), "done", "next", tools=[look], hooks=[hooks]) as talk:
        asked = await beside(talk.chat.ask("go"))
        await hooks.begun.wait()
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asked
        assert talk.runs() == ["run_cancelled"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_stop_waits_some_seconds_and_no_more_for_a_hook_behind_the_turn(when: str) -> None:
    hooks, at_work = Hanging("post_turn"), asyncio.Event()

    async def sink() -> str:
        """Never come back."""
        at_work.set()
        await asyncio.get_running_loop().create_future()
        return ""

    script = (call("sink") if when == "before" else "done", "next")
    async with talking(*script, tools=[tool(sink)], hooks=[hooks]) as talk:
        asked = await beside(talk.chat.ask("go"))
        await (at_work if when == "before" else hooks.begun).wait()
        await asyncio.sleep(100)  # nobody ends it who does not have to
        began = asyncio.get_running_loop().time()
        await talk.chat.interrupt()
        assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENCE, abs=0.1)
        await asyncio.wait({asked})
        assert (asked.exception() is None) == (when == "after")
        assert talk.runs() == ["run_cancelled" if when == "before" else "run_completed"]
        hooks.leave()
        assert (await talk.chat.ask("and now?")).text == "next"


async def test_a_hook_behind_a_turn_may_take_its_time_though_the_turn_before_was_stopped() -> None:
    done: list[str] = []

    class Slow(Hooks):
        async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
            await asyncio.sleep(3 * PATIENCE if status == "completed" else 0)
            done.append(status)

    async with talking(stall(), "next", hooks=[Slow()]) as talk:
        asked = await beside(talk.chat.ask("go"))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asked
        await talk.chat.ask("and now?")
    assert done == ["cancelled", "completed"]


@pytest.mark.parametrize("method", IN_A_TURN)
async def test_the_seconds_of_a_budget_end_a_turn_whose_hook_hangs(method: str) -> None:
    hooks = [Hanging(method)]
    async with talking(call("look"), "done", tools=[look], hooks=hooks) as talk:
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("go", budget=Budget(seconds=10))


@pytest.mark.parametrize("method", [*IN_A_TURN, "post_turn", "conversation_ended"])
async def test_a_shutdown_does_not_wait_for_ever_for_a_hook(method: str) -> None:
    hooks = Hanging(method)
    async with talking(call("look"), "done", tools=[look], hooks=[hooks]) as talk:
        asked = await beside(talk.chat.ask("go"))
        began = asyncio.get_running_loop().time()
        await talk.chat.shutdown()
        assert asyncio.get_running_loop().time() - began < 30
        await asyncio.wait({asked})
        asked.exception()  # it was cancelled, or had ended
        assert hooks.begun.is_set()


class Reentrant(Hooks):
    """Calls back into its own conversation."""

    def __init__(self, method: str, what: str) -> None:
        self.chat: AgentHandle | None = None
        self._at = method
        self._what = what
        self.error: BaseException | None = None

    async def _call(self, method: str) -> None:
        chat, self._at = self.chat, "" if self._at == method else self._at
        if chat is None or self._at:
            return
        self.chat = None
        what: Any = getattr(chat, self._what)
        try:
            await (what("and you?") if self._what in {"ask", "chat"} else what())
        except BaseException as error:
            self.error = error
            raise

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        await self._call("pre_turn")

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        await self._call("on_stop")
        return None

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        await self._call("post_turn")


@pytest.mark.parametrize("method", ["pre_turn", "on_stop", "post_turn"])
@pytest.mark.parametrize("what", ["ask", "chat", "wait_for_idle", "interrupt", "shutdown"])
async def test_a_hook_that_waits_for_its_own_conversation_does_not_hang_it(
    method: str, what: str
) -> None:
    hooks = Reentrant(method, what)
    async with talking("fine", "fine", hooks=[hooks]) as talk:
        hooks.chat = talk.chat
        asked = await beside(talk.chat.ask("go"))
        done, _ = await asyncio.wait({asked}, timeout=60)
        assert done, "it hangs"
        asked.exception()  # those who stop their own turn have stopped it
        if what in {"ask", "chat", "wait_for_idle"}:
            assert (await asked).text == "fine"
            assert "send()" in str(hooks.error)


class Cancelled(Hooks):
    """Awaits what was cancelled."""

    async def conversation_started(self, ctx: HookContext) -> None:
        await cancelled_inside()

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        await cancelled_inside()

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        await cancelled_inside()

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        await cancelled_inside()
        return "go on"

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        await cancelled_inside()


async def test_a_hook_in_which_something_was_cancelled_has_failed_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with talking(call("look"), "done", tools=[look], hooks=[Cancelled()]) as talk:
        later = [await beside(talk.chat.ask("go"))]
        assert (await later[0]).text == "done"
        assert [each.content for each in talk.answers()] == ["seen"]
        assert not talk.answers()[0].is_error
        await settle()
        assert talk.chat.is_idle


class Denying(Hooks):
    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        await cancelled_inside()
        return None


async def test_a_decider_in_which_something_was_cancelled_denies() -> None:
    async with talking(call("look"), "done", tools=[look], hooks=[Denying()]) as talk:
        await talk.chat.ask("go")
        assert "a hook failed" in talk.answers()[0].content

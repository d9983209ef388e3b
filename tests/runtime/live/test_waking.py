"""Waiting for a live agent: for its idle, and for a reason to go on."""

import asyncio

import pytest

from sidetask import Agent, background
from sidetask.core.errors import AgentNotStartedError
from sidetask.runtime.triggers import every
from sidetask.testing import ScriptedModel, VirtualClock, call, running_runtime
from tests.runtime.harness import Held, beside, settle, talking


async def test_a_result_that_asks_to_continue_is_a_wakeup() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", "Done.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        waiting = await beside(talk.chat.wait_for_wakeup())
        assert not waiting.done()
        held.let_go.set()
        assert await waiting is True
        await talk.chat.wait_for_idle()
        assert talk.said()[-1] == "Done."


@pytest.mark.parametrize("max_auto_turns", [0, 8])
async def test_a_wakeup_that_waits_for_the_user_is_one_too(max_auto_turns: int) -> None:
    held = Held(route=background())
    settings = {"max_auto_turns": max_auto_turns}
    async with talking(call("held"), "Begun.", "So.", tools=[held.tool], runtime=settings) as talk:
        await talk.chat.ask("go")
        await talk.chat.interrupt()
        waiting = await beside(talk.chat.wait_for_wakeup())
        held.let_go.set()
        assert await waiting is True
        assert await talk.chat.wait_for_wakeup() is True  # it still waits
        assert talk.chat.turn_count == 1
        await talk.chat.ask("and?")
        assert await talk.chat.wait_for_wakeup(timeout=1) is False


async def test_what_the_user_asks_is_no_wakeup(clock: VirtualClock) -> None:
    async with talking("One.") as talk:
        begun = clock.now()
        waiting = await beside(talk.chat.wait_for_wakeup(timeout=30))
        await talk.chat.ask("go")
        assert await waiting is False
        assert clock.now() - begun == pytest.approx(30, abs=0.1)


async def test_a_trigger_is_a_wakeup() -> None:
    async with running_runtime() as runtime:
        agent = Agent(ScriptedModel("tick"))
        async with runtime.open(agent, triggers=[every(10, "tick?")]) as chat:
            assert await chat.wait_for_wakeup() is True


async def test_who_waits_for_a_wakeup_is_released_when_the_agent_is_shut_down() -> None:
    async with talking("One.") as talk:
        waiting = await beside(talk.chat.wait_for_wakeup())
        await talk.chat.shutdown()
        assert await waiting is False
        with pytest.raises(AgentNotStartedError):
            await talk.chat.wait_for_wakeup()


async def test_a_host_that_knows_better_releases_those_who_wait_for_idle() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        waiting = await beside(talk.chat.wait_for_idle())
        talk.chat.signal_idle()
        assert (await waiting).undelivered == 0
        assert not talk.chat.is_idle
        again = await beside(talk.chat.wait_for_idle())
        assert not again.done()
        again.cancel()
        await asyncio.wait([again])


async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    async with talking("One.") as talk:
        waiting = await beside(talk.chat.wait_for_wakeup())
        waiting.cancel()
        await asyncio.wait([waiting])
        await settle()
        assert (await talk.chat.ask("go")).text == "One."

"""A live agent: asking, queueing, looking, and its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sidetask import Agent, AgentHandle, background
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    ConversationBusyError,
    InvalidInputError,
    ModelError,
    TurnCancelledError,
)
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, running_runtime, stall
from tests.runtime.harness import Held, beside, settle, talking

# -- asking ----------------------------------------------------------------------------------


async def test_two_questions_at_once_are_two_turns_in_their_order() -> None:
    async with talking("One.", "Two.") as talk:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(talk.chat.ask("one?"))
            second = group.create_task(talk.chat.ask("two?"))
        assert (first.result().text, second.result().text) == ("One.", "Two.")
        assert talk.said() == ["one?", "One.", "two?", "Two."]


async def test_many_questions_at_once_never_mix() -> None:
    async with talking(*[str(n) for n in range(50)]) as talk:
        asking = [await beside(talk.chat.ask(f"q{n}")) for n in range(50)]
        assert [(await each).text for each in asking] == [str(n) for n in range(50)]


async def test_a_busy_conversation_can_be_refused() -> None:
    async with talking(stall(), "ok") as talk:
        asking = await beside(talk.chat.ask("go"))
        for method in (talk.chat.ask, talk.chat.chat):
            with pytest.raises(ConversationBusyError, match="conversation-1 is busy"):
                await method("me too", on_busy="raise")
        await talk.chat.interrupt()
        asking.exception()
        assert (await talk.chat.ask("now", on_busy="raise")).text == "ok"


async def test_after_an_answer_the_conversation_is_free_in_that_very_tick() -> None:
    async with talking("One.", "Two.") as talk:
        await talk.chat.ask("go")
        assert talk.chat.is_idle
        assert (await talk.chat.ask("go", on_busy="raise")).text == "Two."


async def test_a_word_that_is_none_is_refused_and_nothing_is_done() -> None:
    async with talking(stall("Hm")) as talk:
        chat: Any = talk.chat
        asked = await beside(chat.ask("hi"))
        with pytest.raises(ConfigurationError, match="'turn' or 'all', not 'ALL'"):
            await chat.interrupt("ALL")
        for ask in (chat.ask, chat.chat):
            with pytest.raises(ConfigurationError, match="'queue' or 'raise', not 'fail'"):
                await ask("and?", on_busy="fail")
        with pytest.raises(ConfigurationError, match="'idle' or None, not 'Idle'"):
            chat.turns(until="Idle")
        assert not asked.done()
        await chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asked
        assert talk.said() == ["hi", "Hm"]


@pytest.mark.parametrize("content", ["", "  \n", [], [""], ["a", 3], [None]])
async def test_a_message_that_says_nothing_is_refused_and_nothing_is_said(content: Any) -> None:
    async with talking("never") as talk:
        for method in (talk.chat.ask, talk.chat.chat, talk.chat.send):
            with pytest.raises(InvalidInputError):
                await method(content)
        assert (talk.history, talk.chat.turn_count, talk.events) == ([], 0, [])


async def test_a_question_that_is_taken_back_while_it_waits_is_never_put() -> None:
    gate = asyncio.Event()
    async with talking([gate, "One."], "Three.") as talk:
        first = await beside(talk.chat.ask("one?"))
        second = await beside(talk.chat.ask("two?"))
        third = await beside(talk.chat.ask("three?"))
        second.cancel()
        await asyncio.wait([second])
        gate.set()
        assert ((await first).text, (await third).text) == ("One.", "Three.")
        assert "two?" not in talk.said()


async def test_a_chat_whose_caller_is_cancelled_while_it_waits_is_never_put() -> None:
    gate = asyncio.Event()
    async with talking([gate, "One."]) as talk:
        first = await beside(talk.chat.ask("one?"))
        second = await beside(talk.chat.chat("two?"))
        second.cancel()
        await asyncio.wait([second])
        gate.set()
        await first
        await talk.chat.wait_for_idle()
        assert talk.said() == ["one?", "One."]


async def test_a_failed_turn_raises_its_error_to_who_asked() -> None:
    async with talking(RuntimeError("down"), "Up again.") as talk:
        with pytest.raises(ModelError, match="RuntimeError: down"):
            await talk.chat.ask("go")
        assert talk.chat.last_response is not None
        assert isinstance(talk.chat.last_response.error, ModelError)
        assert (await talk.chat.ask("go")).text == "Up again."


# -- idle ------------------------------------------------------------------------------------


async def test_idle_means_no_turn_and_no_task_and_none_about_to_begin() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", "Done.", tools=[held.tool]) as talk:
        asking = asyncio.create_task(talk.chat.ask("go"))
        await asyncio.sleep(0)
        assert not talk.chat.is_idle
        await asking
        assert not talk.chat.is_idle
        waiting = await beside(talk.chat.wait_for_idle())
        assert not waiting.done()
        held.let_go.set()
        assert (await waiting).undelivered == 0
        assert talk.said()[-1] == "Done."
        assert talk.chat.is_idle


async def test_waiting_for_idle_has_a_timeout() -> None:
    async with talking(call("held"), "Begun.", tools=[Held(route=background()).tool]) as talk:
        await talk.chat.ask("go")
        with pytest.raises(TimeoutError):
            await talk.chat.wait_for_idle(timeout=5)


async def test_who_waits_for_idle_when_the_agent_is_shut_down_is_told() -> None:
    async with talking(call("held"), "Begun.", tools=[Held(route=background()).tool]) as talk:
        await talk.chat.ask("go")
        waiting = await beside(talk.chat.wait_for_idle())
        await talk.chat.shutdown()
        with pytest.raises(AgentNotStartedError):
            await waiting


# -- the end ---------------------------------------------------------------------------------


async def _first(iterator: AsyncIterator[object]) -> object:
    return await anext(iterator)


METHODS: dict[str, Callable[[AgentHandle], Awaitable[object]]] = {
    "ask": lambda chat: chat.ask("hi"),
    "chat": lambda chat: chat.chat("hi"),
    "send": lambda chat: chat.send("hi"),
    "turns": lambda chat: _first(chat.turns()),
    "events": lambda chat: _first(chat.events(after=0)),
    "interrupt": lambda chat: chat.interrupt(),
    "cancel": lambda chat: chat.cancel(),
    "wait_for_idle": lambda chat: chat.wait_for_idle(),
    "wait_for_wakeup": lambda chat: chat.wait_for_wakeup(1),
    "clear_history": lambda chat: chat.clear_history(),
    "delete": lambda chat: chat.delete(),
    "disconnect": lambda chat: chat.disconnect(),
    "spawn_subagent": lambda chat: chat.spawn_subagent(Agent(ScriptedModel())),
}


@pytest.mark.parametrize("name", METHODS)
async def test_after_the_shutdown_every_method_says_so(name: str) -> None:
    async with talking("Hello.") as talk:
        await talk.chat.ask("hi")
        await talk.chat.shutdown()
        with pytest.raises(AgentNotStartedError, match=r"sidetask\.open"):
            await METHODS[name](talk.chat)
        for method in (talk.chat.history, talk.chat.signal_idle):
            with pytest.raises(AgentNotStartedError):
                method()
        assert talk.chat.turn_count == 1
        await talk.chat.shutdown()


async def test_two_ends_at_once_are_one() -> None:
    store = Counting()
    async with running_runtime(store=store) as runtime:
        chat = await runtime.open(Agent(ScriptedModel()))
        deleting = await beside(chat.delete())
        with pytest.raises(AgentNotStartedError):
            await chat.disconnect()
        await asyncio.wait([deleting, *[await beside(chat.shutdown()) for _ in range(3)]])
        deleting.result()
        assert store.deleted == 1


class Counting(MemoryStore):
    deleted = 0
    fails = 0

    async def delete(self, conversation_id: Any) -> None:
        self.deleted += 1
        await asyncio.sleep(1)
        if self.deleted <= self.fails:
            raise OSError("not now")


async def test_a_shutdown_that_failed_can_be_tried_again() -> None:
    store = Counting()
    store.fails = 1
    async with running_runtime(store=store) as runtime:
        chat = await runtime.open(Agent(ScriptedModel()))
        with pytest.raises(OSError, match="not now"):
            await chat.delete()
        assert runtime.live_agents == (chat,)
        await chat.shutdown()
        assert runtime.live_agents == ()
        assert store.deleted == 2


async def test_a_shutdown_goes_on_when_who_asked_for_it_is_cancelled() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        closing = asyncio.create_task(talk.chat.shutdown())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await settle()
        assert not talk.runtime.tasks.list_running()
        assert talk.runtime.live_agents == ()


async def test_a_handle_that_is_dropped_warns_and_is_shut_down() -> None:
    held = Held(route=background())
    async with running_runtime() as runtime:
        agent = Agent(ScriptedModel(call("held"), "Begun."), tools=[held.tool])
        chats = [await runtime.open(agent, conversation_id="mine")]
        await chats[0].ask("go")
        with pytest.warns(ResourceWarning, match="mine was dropped"):
            chats.clear()
        await settle()
        assert not runtime.tasks.list_running()
        await (await runtime.open(Agent(ScriptedModel()), conversation_id="mine")).shutdown()


async def test_shutting_down_refuses_what_still_waits() -> None:
    async with talking(stall()) as talk:
        running = await beside(talk.chat.ask("one?"))
        waiting = await beside(talk.chat.chat("two?"))
        await talk.chat.shutdown()
        response = await waiting
        assert (response.turn_id, response.status) == (None, "cancelled")
        for each in (running, response):
            with pytest.raises(TurnCancelledError, match="shut down"):
                await each

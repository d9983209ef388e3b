"""Letting go of a conversation and taking it up again: what is the same afterwards."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import sidetask
from sidetask import Agent, AgentHandle, RunContext, Runtime, background, tool
from sidetask.agents.guards.compaction import Compaction
from sidetask.core.errors import (
    AgentNotStartedError,
    ConversationBusyError,
    ConversationNotFoundError,
    InvalidInputError,
    StoreUnavailableError,
    UnknownAgentError,
)
from sidetask.core.events import Event, HistoryCleared
from sidetask.core.messages import ToolMessage
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, reply, running_runtime, stall
from tests.runtime.harness import Held, assert_valid, beside, settle
from tests.runtime.live.dying import note, quick


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'test.db'}"


@asynccontextmanager
async def lives(store: str | Store, *agents: Agent) -> AsyncGenerator[Runtime]:
    async with asyncio.timeout(10_000), running_runtime(store=store, agents=agents) as runtime:
        yield runtime
        for chat in runtime.live_agents:
            await chat.shutdown()


def talker(*script: object, name: str = "talker", **config: object) -> Agent:
    return Agent(ScriptedModel(*script), name=name, **config)  # type: ignore[arg-type]


async def facts(chat: AgentHandle) -> list[Event]:
    found = chat.events(after=0, follow=False)
    return [event async for event in found if isinstance(event, Event)]


def texts(chat: AgentHandle) -> list[str]:
    return [getattr(each, "text", type(each).__name__) for each in chat.history()]


# -- what is the same ------------------------------------------------------------------------


async def test_a_conversation_that_was_let_go_goes_on_where_it_was(url: str) -> None:
    used = Finished(usage=Usage(requests=1, input_tokens=7))
    agent = talker(call("note", key="k"), reply("One.", used), "Two.", tools=[note])
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker", user="ana")
        chat.state.set("mine", [1, {"a": None}])
        await chat.ask("one?")
        before = (texts(chat), chat.turn_count, chat.total_usage, chat.last_turn_usage)
        written = chat.state.provenance("k")
        await chat.disconnect()
        assert runtime.live_agents == ()
        with pytest.raises(AgentNotStartedError):
            await chat.ask("still there?")
        again = await runtime.resume(chat.conversation_id)
        assert (texts(again), again.turn_count, again.total_usage, again.last_turn_usage) == before
        assert again.user == "ana"
        assert again.state["mine"] == [1, {"a": None}]
        assert again.state.provenance("k") == written
        assert again.state.set("k", "anew") == 2
        assert (await again.ask("two?")).text == "Two."
        assert agent.model.requests[-1].messages[0].text == "one?"  # type: ignore[union-attr]
        told = await facts(again)
        assert [each.seq for each in told] == list(range(1, len(told) + 1))
        assert [each.turn_id for each in told if each.kind == "run_started"] == ["turn-1", "turn-2"]
        assert_valid(again.history())


async def test_it_can_be_let_go_again_and_again(url: str) -> None:
    async with lives(url, talker("1", "2", "3")) as runtime:
        chat = await runtime.open("talker", conversation_id="mine")
        for n in range(3):
            await chat.ask(f"{n}?")
            await chat.disconnect()
            chat = await runtime.resume("mine")
        assert texts(chat) == ["0?", "1", "1?", "2", "2?", "3"]
        assert chat.turn_count == 3


async def test_opening_a_conversation_that_is_kept_takes_it_up(url: str) -> None:
    agent = talker("1", "2")
    async with lives(url) as runtime:
        chat = await runtime.open(agent, conversation_id="mine")
        await chat.ask("a?")
        await chat.disconnect()
        async with runtime.open(agent, conversation_id="mine") as again:
            assert (await again.ask("b?")).text == "2"
            assert again.turn_count == 2


async def test_a_result_that_nobody_has_taken_is_told_when_the_conversation_goes_on(
    url: str,
) -> None:
    held = Held(route=background(), on_complete="notify")
    agent = talker(call("held"), "Begun.", "I heard.", tools=[held.tool])
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker")
        await chat.ask("go")
        held.let_go.set()
        await chat.wait_for_idle()
        await chat.disconnect()
        again = await runtime.resume(chat.conversation_id)
        assert (await again.wait_for_idle()).undelivered == 1
        await again.ask("and?")
        assert [type(each).__name__ for each in again.history()][-3:] == [
            "NotificationMessage",
            "UserMessage",
            "AssistantMessage",
        ]
        assert "held is done" in str(again.history()[-3])


async def test_a_result_that_asks_to_continue_wakes_the_conversation_that_goes_on(
    url: str,
) -> None:
    held = Held(route=background())
    agent = talker(call("held"), "Begun.", "I heard.", tools=[held.tool])
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker")
        await chat.ask("go")
        await chat.interrupt()
        held.let_go.set()
        await chat.wait_for_idle()
        await chat.disconnect()
        again = await runtime.resume(chat.conversation_id)
        await again.wait_for_idle()
        assert texts(again)[-1] == "I heard."


async def test_work_that_was_stopped_with_the_conversation_is_told_and_wakes_nobody() -> None:
    held = Held(route=background())
    agent = talker(call("held"), "Begun.", "I see.", tools=[held.tool])
    async with lives("memory:", agent) as runtime:
        chat = await runtime.open("talker")
        await chat.ask("go")
        await chat.disconnect()
        assert not runtime.tasks.list_running()
        again = await runtime.resume(chat.conversation_id)
        assert (await again.wait_for_idle()).undelivered == 1
        assert again.turn_count == 1
        await again.ask("well?")
        assert "disconnected" in str(again.history()[-3])


async def test_what_was_said_too_late_for_the_last_turn_is_kept(url: str) -> None:
    agent = talker(call("held"), "Both.", tools=[Held().tool])
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker")
        await chat.chat("one?")
        await settle()
        await chat.send("and two?")
        await chat.disconnect()
        again = await runtime.resume(chat.conversation_id)
        assert texts(again)[-1] == "and two?"
        assert_valid(again.history())


async def test_a_summary_stands_for_old_messages_as_before(url: str) -> None:
    long = "word " * 2000
    model = ScriptedModel(long, long, "The summary.", "Short.", "Later.", context_window=6000)
    agent = Agent(model, name="talker", compaction=Compaction(keep_turns=1))
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker")
        for said in ("one?", "two?", "three?"):
            await chat.ask(said)
        before = chat.compaction_indices
        assert before
        seen = model.requests[-1].messages
        await chat.disconnect()
        again = await runtime.resume(chat.conversation_id)
        assert again.compaction_indices == before
        await again.ask("four?")
        assert list(model.requests[-1].messages)[: len(seen)] == list(seen)


# -- another process -------------------------------------------------------------------------


def _die(url: str) -> None:
    command = [sys.executable, "-m", "tests.runtime.live.dying", url]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.slow
async def test_a_killed_process_loses_nothing_that_was_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    _die(url)
    agent = talker("I see.", "Later.", name="mortal", tools=[note, quick])
    async with Runtime(store=url, agents=[agent]) as runtime:
        chat = await runtime.resume("mine")
        await chat.wait_for_idle()
        told = await facts(chat)
        assert (chat.turn_count, chat.user) == (3, "ana")  # quick's end asked for the third
        assert chat.state["last"] == "words"
        assert chat.state["user:name"] == "Ana"
        cut = next(
            each
            for each in chat.history()
            if isinstance(each, ToolMessage) and each.results[0].name == "quick"
        )
        assert "unknown" in cut.results[-1].content
        assert texts(chat)[-1] == "I see."
        assert "quick is done" in str(chat.history())
        runs = [str(each.kind) for each in told if each.kind.startswith("run_")]
        assert runs == [
            "run_started",
            "run_completed",
            "run_started",
            "run_cancelled",
            "run_started",
            "run_completed",
        ]
        assert [each.seq for each in told] == list(range(1, len(told) + 1))
        assert_valid(chat.history())
        assert (await chat.ask("go on")).text == "Later."


# -- what is refused -------------------------------------------------------------------------


async def test_a_conversation_that_is_not_there_cannot_be_taken_up(url: str) -> None:
    async with lives(url, talker("1")) as runtime:
        for agent in (None, "talker"):
            with pytest.raises(ConversationNotFoundError, match="ghost"):
                await runtime.resume("ghost", agent=agent)
        chat = await runtime.open("talker", conversation_id="mine")
        await chat.ask("hi")
        await chat.delete()
        with pytest.raises(ConversationNotFoundError, match="mine"):
            await runtime.resume("mine")
        assert runtime.live_agents == ()


async def test_a_conversation_goes_on_with_its_agent_and_its_user_only(url: str) -> None:
    async with lives(url, talker("1")) as runtime:
        chat = await runtime.open("talker", user="ana", conversation_id="mine")
        with pytest.raises(InvalidInputError, match="is open already"):
            await runtime.resume("mine")
        await chat.disconnect()
        with pytest.raises(InvalidInputError, match="with 'talker', not with 'other'"):
            await runtime.resume("mine", agent=talker(name="other"))
        with pytest.raises(InvalidInputError, match="of another user"):
            await runtime.open("talker", user="bob", conversation_id="mine")
        async with runtime.resume("mine", agent=talker("2")) as again:
            assert (await again.ask("hi")).text == "2"


async def test_an_agent_that_is_not_registered_is_asked_for() -> None:
    async with lives("memory:") as runtime:
        chat = await runtime.open(talker("1"), conversation_id="mine")
        await chat.disconnect()
        with pytest.raises(UnknownAgentError, match="talker"):
            await runtime.resume("mine")


# -- the end of the data ---------------------------------------------------------------------


async def test_a_deleted_conversation_leaves_nothing_and_its_name_is_free(url: str) -> None:
    async with lives(url) as runtime:
        chat = await runtime.open(talker("1"), conversation_id="mine", user="ana")
        chat.state.set("k", 1)
        child = await chat.spawn_subagent(talker("2"))
        await child.ask("hi")
        await chat.ask("hi")
        await chat.delete()
        with pytest.raises(AgentNotStartedError):
            await chat.delete()
        for gone in (chat.conversation_id, child.conversation_id):
            kept = [each async for each in runtime.events(gone, after=0, follow=False)]
            assert kept == []
        async with runtime.open(talker("1"), conversation_id="mine", user="bob") as anew:
            assert (anew.history(), anew.turn_count, "k" in anew.state) == ((), 0, False)
            await anew.ask("hi")


async def test_without_a_word_memory_forgets_and_a_database_keeps(url: str) -> None:
    async with lives(url, talker("1")) as runtime:
        async with runtime.open("talker", conversation_id="mine") as chat:
            await chat.ask("hi")
        if url == "memory:":
            with pytest.raises(ConversationNotFoundError):
                await runtime.resume("mine")
        else:
            async with runtime.resume("mine") as again:
                assert texts(again) == ["hi", "1"]


async def test_the_history_can_be_cleared_and_the_rest_stays(url: str) -> None:
    agent = talker("1", stall(), "2", "3")
    async with lives(url, agent) as runtime:
        chat = await runtime.open("talker")
        chat.state.set("k", 1)
        await chat.ask("one?")
        running = await beside(chat.ask("two?"))
        with pytest.raises(ConversationBusyError):
            await chat.clear_history()
        await chat.interrupt()
        running.exception()
        await chat.clear_history()
        assert chat.history() == ()
        assert (await chat.ask("three?")).text == "2"
        assert len(agent.model.requests[-1].messages) == 1  # type: ignore[union-attr]
        assert [
            each.messages for each in await facts(chat) if isinstance(each, HistoryCleared)
        ] == [3]
        await chat.disconnect()
        again = await runtime.resume(chat.conversation_id)
        assert texts(again) == ["three?", "2"]
        assert (again.state["k"], again.turn_count) == (1, 3)


async def test_a_disconnect_that_the_store_does_not_take_can_be_tried_again() -> None:
    class Full(MemoryStore):
        full = True

        async def stored(self) -> None:
            if self.full:
                raise StoreUnavailableError("the disk is full", "make room")

    store = Full()
    async with lives(store) as runtime:
        chat = await runtime.open(talker("1"), conversation_id="mine")
        store.full = False
        await chat.ask("hi")
        store.full = True
        with pytest.raises(StoreUnavailableError):
            await chat.disconnect()
        assert runtime.live_agents == (chat,)
        store.full = False
        await chat.disconnect()
        assert runtime.live_agents == ()
        again = await runtime.resume("mine", agent=talker("2"))
        assert texts(again) == ["hi", "1"]


async def test_users_and_apps_keys_are_kept_beyond_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    async with lives(url) as runtime:
        chat = await runtime.open(talker("1"), user="ana")
        chat.state.set("user:name", "Ana")
        chat.state.set("app:motto", "hi")
        chat.state.set("temp:t", 1)
    async with lives(url) as runtime:
        same = await runtime.open(talker("1"), user="ana")
        other = await runtime.open(talker("1"), user="bob")
        assert (same.state["user:name"], other.state["app:motto"]) == ("Ana", "hi")
        assert "user:name" not in other.state
        assert same.state.set("user:name", "Anna") == 2


async def test_a_value_that_a_thread_wrote_is_kept(tmp_path: Path) -> None:
    @tool
    def write(ctx: RunContext[object]) -> str:
        """Write from a thread."""
        ctx.state.set("k", "from a thread")
        return "ok"

    url = f"sqlite:///{tmp_path / 'test.db'}"
    async with lives(url) as runtime:
        agent = talker(call("write"), "done", tools=[write])
        async with runtime.open(agent, conversation_id="mine") as chat:
            await chat.ask("go")
    async with lives(url) as runtime:
        again = await runtime.open(agent, conversation_id="mine")
        assert again.state["k"] == "from a thread"


def test_a_script_lets_go_of_a_conversation_and_takes_it_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDETASK_STORE", f"sqlite:///{tmp_path / 'test.db'}")
    agent = talker("1", "2", "3")
    with sidetask.open(agent, conversation_id="mine") as chat:
        chat.ask("a?")
        assert chat.wait_for_wakeup(timeout=0.01) is False
        chat.disconnect()
    with sidetask.open(agent, conversation_id="mine") as chat:
        assert len(chat.history()) == 2
        chat.clear_history()
        assert str(chat.ask("b?")) == "2"
        chat.delete()
    with sidetask.open(agent, conversation_id="mine") as chat:
        assert chat.history() == ()

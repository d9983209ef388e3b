"""Models that fail, stall and break off, and stores that refuse."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from tests.runtime.harness import Held, Talk, assert_valid, beside, talking

from sidetask import Agent, tool
from sidetask.core.errors import (
    IncompleteResponseError,
    ModelError,
    ModelStalledError,
    SafetyError,
    TurnCancelledError,
)
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import AssistantMessage, Message
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)
from sidetask.stores.memory import MemoryStore
from sidetask.testing import (
    ScriptedModel,
    VirtualClock,
    call,
    cut,
    fails,
    flood,
    running_runtime,
    stall,
)


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def last_reply(talk: Talk) -> AssistantMessage:
    message = talk.history[-1]
    assert isinstance(message, AssistantMessage)
    return message


# -- the model -----------------------------------------------------------------------------


async def test_a_stream_that_is_cut_fails_the_turn_keeps_its_text_and_runs_no_call() -> None:
    ran: list[int] = []

    @tool
    async def note(x: int) -> None:
        """Note."""
        ran.append(x)

    script = cut("I shall ", call("note", x=1), call("note", x=2))
    async with talking(script, "Sorry.", tools=[note]) as talk:
        with pytest.raises(IncompleteResponseError):
            await talk.chat.ask("go")
        assert (last_reply(talk).text, last_reply(talk).partial) == ("I shall ", True)
        assert not last_reply(talk).calls
        assert not ran
        assert talk.runs() == ["run_failed"]
        assert (await talk.chat.ask("go on")).text == "Sorry."


async def test_a_stream_that_is_cut_before_anything_came_leaves_no_message() -> None:
    async with talking(cut()) as talk:
        with pytest.raises(IncompleteResponseError):
            await talk.chat.ask("go")
        assert talk.said() == ["go"]


async def test_a_model_that_fails_at_once_fails_the_turn() -> None:
    async with talking(fails(), "Better.") as talk:
        with pytest.raises(ModelError, match="as the test wants"):
            await talk.chat.ask("go")
        assert talk.runs() == ["run_failed"]
        assert (await talk.chat.ask("again")).text == "Better."


async def test_a_model_that_fails_in_the_middle_keeps_what_it_said() -> None:
    async with talking(fails("Half a", error=ConnectionError("gone"))) as talk:
        with pytest.raises(ModelError, match="ConnectionError: gone") as caught:
            await talk.chat.ask("go")
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert last_reply(talk).text == "Half a"
        assert last_reply(talk).partial


async def test_a_typed_error_of_a_model_is_raised_as_it_is() -> None:
    async with talking(SafetyError("no")) as talk:
        with pytest.raises(SafetyError):
            await talk.chat.ask("go")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_model_that_falls_silent_has_stalled(clock: VirtualClock, begun: bool) -> None:
    script = stall("So ") if begun else stall()
    async with talking(script) as talk:
        with pytest.raises(ModelStalledError, match="60 s"):
            await talk.chat.ask("go")
        assert clock.time() == 60
        assert talk.said() == (["go", "So "] if begun else ["go"])


async def test_patience_is_for_the_start_and_for_each_piece_and_for_the_end(
    clock: VirtualClock,
) -> None:
    closed: list[str] = []

    class Slow:
        name, quota_key, price = "slow", "slow", None

        @asynccontextmanager
        async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk], None]:
            async def chunks() -> AsyncIterator[Chunk]:
                for text in ("a", "b", "c"):
                    await asyncio.sleep(8)
                    yield TextChunk(text)
                await asyncio.sleep(8)
                yield Finished()

            await asyncio.sleep(8)
            yield chunks()
            await asyncio.sleep(8)
            closed.append(self.name)

    async with talking(model_timeout=10) as talk:
        talk.inside.model = Slow()
        assert (await talk.chat.ask("go")).text == "abc"
        assert (clock.time(), closed) == (48, ["slow"])


async def test_without_a_timeout_a_model_may_take_its_time(clock: VirtualClock) -> None:
    async def slow(_: object) -> str:
        await asyncio.sleep(5000)
        return "At last."

    async with talking(slow, model_timeout=None) as talk:
        assert (await talk.chat.ask("go")).text == "At last."
        assert clock.time() == 5000


async def test_what_comes_after_the_end_of_a_reply_is_no_matter() -> None:
    whole = [call("add", a=1, b=1), Finished(), RuntimeError("closing failed")]
    async with talking(whole, "2", tools=[add]) as talk:
        assert (await talk.chat.ask("go")).text == "2"


async def test_a_whole_reply_whose_connection_closes_badly_is_whole() -> None:
    class Rough:
        name, quota_key, price = "rough", "rough", None

        @asynccontextmanager
        async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk], None]:
            async with ScriptedModel("Hello.").stream(request) as chunks:
                yield chunks
            raise ConnectionError("reset")

    async with talking() as talk:
        talk.inside.model = Rough()
        assert (await talk.chat.ask("go")).text == "Hello."


@pytest.mark.parametrize(
    "chunks",
    [
        [CallArguments(0, "{}"), Finished()],
        [CallStarted(0, "a", "add"), CallStarted(0, "b", "add"), Finished()],
    ],
)
async def test_a_model_that_breaks_its_promises_fails_the_turn(chunks: list[Any]) -> None:
    async with talking(chunks, tools=[add]) as talk:
        with pytest.raises(ModelError, match="call 0"):
            await talk.chat.ask("go")


async def test_a_model_in_which_something_was_cancelled_fails_and_others_go_on() -> None:
    async def odd(_: object) -> str:
        raise asyncio.CancelledError

    async with talking(odd, "Better.") as talk:
        with pytest.raises(ModelError, match="cancelled"):
            await talk.chat.ask("go")
        assert (await talk.chat.ask("again")).text == "Better."


async def test_a_model_that_makes_an_error_of_its_cancellation_is_cancelled_all_the_same() -> None:
    async def odd(_: object) -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            raise ConnectionError("aborted") from None
        return "never"

    async with talking(odd) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        assert talk.runs() == ["run_cancelled"]


async def test_a_model_that_stops_its_own_turn_and_goes_on_is_stopped() -> None:
    async with talking() as talk:

        def stopping(_: object) -> str:
            cast(Any, talk.chat)._driver._current.token.cancel("from inside")
            return "I go on."

        talk.inside.model = ScriptedModel(stopping, "Better.")
        with pytest.raises(TurnCancelledError, match="from inside"):
            await talk.chat.ask("go")
        assert talk.runs() == ["run_cancelled"]
        assert (await talk.chat.ask("again")).text == "Better."


@pytest.mark.slow
async def test_a_flood_of_deltas_is_one_message() -> None:
    async with talking(flood(100_000)) as talk:
        response = await talk.chat.chat("go")
        assert (await response).text == "x" * 100_000
        assert len([event async for event in response]) < 10


# -- the store -----------------------------------------------------------------------------


class Refusing(MemoryStore):
    """A store that refuses what the test says."""

    refuses: str = ""
    once = False

    def append(self, fact: Event) -> None:
        if fact.kind == self.refuses:
            raise OSError("disk full")
        super().append(fact)

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        **closing: Any,
    ) -> None:
        await asyncio.sleep(0)
        if type(messages[0]).__name__ == self.refuses:
            self.refuses = "" if self.once else self.refuses
            raise OSError("disk full")
        await super().commit_turn(conversation_id, messages, ack=ack, **closing)


@pytest.mark.parametrize("refused", ["UserMessage", "AssistantMessage", "ToolMessage"])
async def test_a_store_that_refuses_a_message_fails_the_turn(
    refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Refusing()
    script = (call("add", a=1, b=1), "2", "fine", "fine")
    async with talking(*script, tools=[add], runtime={"store": store}) as talk:
        store.refuses = refused
        with pytest.raises(OSError, match="disk full"):
            await talk.chat.ask("go")
        assert talk.runs() == ["run_failed"]
        assert_valid(talk.history)
        store.refuses = ""
        assert (await talk.chat.ask("again")).text


@pytest.mark.parametrize("refused", ["run_started", "run_completed"])
async def test_a_store_that_refuses_the_facts_of_a_turn_fails_it(
    refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Refusing()
    agent = Agent(ScriptedModel("a", "b"))
    async with running_runtime(store=store) as runtime, runtime.open(agent) as chat:
        store.refuses = refused
        with pytest.raises(OSError, match="disk full"):
            await chat.ask("go")
        store.refuses = ""
        assert (await chat.ask("again")).text in {"a", "b"}


async def test_a_refused_notification_is_told_with_the_next_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Refusing()
    held = Held(detach_after=1, on_complete="notify")
    script = (call("held"), "started", "ok")
    async with talking(*script, tools=[held.tool], runtime={"store": store}) as talk:
        await talk.chat.ask("go")
        held.let_go.set()
        await talk.chat.wait_for_idle()
        store.refuses = "NotificationMessage"
        with pytest.raises(OSError, match="disk full"):
            await talk.chat.ask("and?")
        store.refuses = ""
        await talk.chat.ask("and?")
        assert talk.told() == ["task-1 succeeded"]


async def test_a_steering_message_that_is_refused_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Refusing()
    held = Held()
    script = (call("held"), "a", "b")
    async with talking(*script, tools=[held.tool], runtime={"store": store}) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.send("steer")
        store.refuses, store.once = "UserMessage", True
        held.let_go.set()
        with pytest.raises(OSError, match="disk full"):
            await asking
        await talk.chat.wait_for_idle()
        assert talk.said()[-2:] == ["steer", "a"]

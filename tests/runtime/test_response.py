"""One turn, many readers."""

import asyncio

import pytest

from sidetask import ChatResponse, Event
from sidetask.core.errors import ModelError, TurnCancelledError
from sidetask.core.events import TextDelta
from sidetask.testing import call, fails, flood, reply, stall
from tests.runtime.harness import Held, beside, settle, talking


async def read(response: ChatResponse) -> list[Event]:
    return [event async for event in response]


async def read_text(response: ChatResponse) -> str:
    return "".join([piece async for piece in response.text_stream()])


async def test_a_chat_is_there_before_the_model_is_called() -> None:
    async with talking("Hello.") as talk:
        response = await talk.chat.chat("hi")
        assert (response.turn_id, response.status, response.text) == ("turn-1", "running", "")
        assert talk.model.calls == 0
        assert (await response).text == "Hello."
        assert (response.status, response.text) == ("completed", "Hello.")
        assert (await response).turn_id == "turn-1"


async def test_the_text_can_be_read_as_it_comes() -> None:
    gates = [asyncio.Event() for _ in range(2)]
    async with talking(reply("One, ", gates[0], "two, ", gates[1], "three.")) as talk:
        response = await talk.chat.chat("count")
        pieces = response.text_stream()
        assert await anext(pieces) == "One, "
        assert response.text == "One, "
        gates[0].set()
        assert await anext(pieces) == "two, "
        gates[1].set()
        assert await anext(pieces) == "three."
        assert await anext(pieces, None) is None


async def test_every_reader_sees_everything_early_late_or_slow() -> None:
    gate = asyncio.Event()
    async with talking(reply("One, ", "two, ", gate, "three.")) as talk:
        response = await talk.chat.chat("count")
        early = await beside(read_text(response))
        stopped = response.text_stream()
        assert await anext(stopped) == "One, "
        gate.set()
        assert (await response).text == "One, two, three."
        assert await early == "One, two, three."
        assert await read_text(response) == "One, two, three."
        assert await anext(stopped) == "two, "


async def test_a_reader_that_gives_up_leaves_nothing_behind() -> None:
    async with talking(stall("One")) as talk:
        response = await talk.chat.chat("count")
        for _ in range(3):
            reading = await beside(read(response))
            reading.cancel()
            await asyncio.wait([reading])
        assert not response._sleepers  # pyright: ignore[reportPrivateUsage]


async def test_the_deltas_of_a_turn_that_has_ended_are_one() -> None:
    held = Held()
    held.let_go.set()
    script = (reply(flood(50, "ab"), call("held")), flood(50, "c"))
    async with talking(*script, tools=[held.tool]) as talk:
        response = await talk.chat.chat("go")
        early = await beside(read(response))
        await response
        late = await read(response)
        assert len(await early) > 100
        assert [event.text for event in late if isinstance(event, TextDelta)] == [
            "ab" * 50,
            "c" * 50,
        ]
        facts = [event.seq for event in late if not event.live]
        assert facts == sorted(set(facts))
        assert (late[0].kind, late[-1].kind) == ("run_started", "run_completed")


async def test_the_text_is_that_of_the_latest_reply_while_it_runs_and_when_it_has_ended() -> None:
    held, gate = Held(), asyncio.Event()
    script = (reply("Let me see.", call("held")), reply("It is ", gate, "3."))
    async with talking(*script, tools=[held.tool]) as talk:
        response = await talk.chat.chat("go")
        await settle()
        assert response.text == "Let me see."
        held.let_go.set()
        await settle()
        assert response.text == "It is "
        gate.set()
        assert (await response).text == response.text == "It is 3."
        assert await read_text(response) == "Let me see.It is 3."


async def test_every_reader_sees_the_error_after_what_came() -> None:
    async with talking(fails("Half a")) as talk:
        response = await talk.chat.chat("go")
        for _ in range(2):
            pieces = response.text_stream()
            assert await anext(pieces) == "Half a"
            with pytest.raises(ModelError):
                await anext(pieces)
            with pytest.raises(ModelError):
                await read(response)
            with pytest.raises(ModelError):
                await response
        assert (response.text, response.status) == ("Half a", "failed")
        assert isinstance(response.error, ModelError)


async def test_readers_of_a_turn_that_is_stopped_just_end() -> None:
    async with talking(stall("Half a")) as talk:
        response = await talk.chat.chat("go")
        reading = await beside(read_text(response))
        await talk.chat.interrupt()
        assert await reading == "Half a"
        assert (response.text, response.status) == ("Half a", "cancelled")
        assert [event.kind for event in await read(response)][-1] == "run_cancelled"
        with pytest.raises(TurnCancelledError):
            await response


async def test_a_turn_shows_its_tasks_and_no_others() -> None:
    behind = Held("behind", detach_after=0)
    script = (call("behind"), "Begun.", call("behind"), "Again.")
    async with talking(*script, tools=[behind.tool]) as talk:
        await talk.chat.ask("go")
        second = await talk.chat.chat("again")
        await second
        kinds = [(e.kind, getattr(e, "task_id", None)) for e in await read(second)]
        assert ("task_started", "task-2") in kinds
        assert "task-1" not in {task for _, task in kinds}

"""A conversation as server-sent events: ids, coming back, silence, lag, and the end."""

import asyncio
import logging
from typing import Any, cast

import pytest

from sidetask import background, tool
from sidetask.core.codec import event_from_json
from sidetask.core.errors import AgentNotStartedError, ConfigurationError, InvalidInputError
from sidetask.core.events import TaskProgressed
from sidetask.server import Frames, sse
from sidetask.server.frames import CHUNK
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.outbox import CONVERSATION
from sidetask.tasks.aio.streams import BOUND
from sidetask.testing import call, flood, stall
from tests.runtime.harness import Held, Talk, beside, settle, talking
from tests.server.reading import Browser, Frame, facts, read


@tool(route=background())
async def quick() -> str:
    """Be quick."""
    await asyncio.sleep(1)
    return "done"


def readers(talk: Talk) -> bool:
    """Whether anybody listens to the conversation."""
    return cast(Any, talk.runtime)._outbox.journal(talk.chat.conversation_id).has_readers


def told(talk: Talk) -> list[int]:
    return [event.seq for event in talk.events if not event.live]


# -- what is told ----------------------------------------------------------------------------


async def test_each_event_is_a_frame_with_its_kind_its_place_and_what_the_codec_writes() -> None:
    async with talking("Hello.") as talk:
        browser = Browser()
        reading = await beside(read(sse(talk.chat), browser, until="run_completed"))
        await talk.chat.ask("go")
        found = await reading
        assert browser.retry == 1000
        assert [event_from_json(frame.data) for frame in found] == talk.events
        assert [(f.kind, f.last_event_id) for f in found] == [
            (event.kind, event.id.split(":")[1]) for event in talk.events
        ]
        assert "4.1" in [frame.last_event_id for frame in found]


async def test_nothing_that_a_model_says_forges_a_frame() -> None:
    said = "a\n\nevent: closed\ndata: {}\n\nid: 99\r\r\u2028\u0085\ud800\n:\x00"
    async with talking(said) as talk:
        frames, browser = sse(talk.chat), Browser()
        await talk.chat.ask("go")
        found = await read(frames, browser, until="run_completed")
        assert [frame.kind for frame in found] == [event.kind for event in talk.events[:4]] + [
            "assistant_message_committed",
            "usage_recorded",
            "run_completed",
        ]
        assert found[-1].data["text"] == said


async def test_kinds_narrow_what_is_told_and_may_be_views() -> None:
    async with talking(call("quick"), "Begun.", "Done.", tools=[quick]) as talk:
        wanted = ["run_completed", "tool_execution_finished", "task_succeeded"]
        frames, browser = sse(talk.chat, kinds=wanted), Browser()
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        found = await read(frames, browser, until="run_completed", times=2)
        assert [frame.kind for frame in found] == [
            "run_completed",
            "task_succeeded",
            "tool_execution_finished",
            "run_completed",
        ]
        view = found[2]
        assert view.data["outcome"] == "succeeded"
        assert view.last_event_id == str(view.data["seq"])
        assert found[1].last_event_id == found[0].last_event_id, "it counts with its last shape"


async def test_a_conversation_can_be_named_instead() -> None:
    async with talking("Hello.") as talk:
        await talk.chat.ask("go")
        frames = sse((talk.runtime, talk.chat.conversation_id))
        assert facts(await read(frames, Browser(), until="run_completed")) == told(talk)


async def test_what_cannot_be_written_is_told_as_missed_and_the_stream_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with talking("Hello.") as talk:
        frames, browser = sse(talk.chat), Browser()
        await talk.chat.ask("go")
        await read(frames, browser, until="run_completed")
        journal = cast(Any, talk.runtime)._outbox.journal(talk.chat.conversation_id)
        fields = {"task_id": "t", "call_id": "c", "name": "n", "note": ""}
        with caplog.at_level(logging.CRITICAL, logger="sidetask.server.frames"):
            journal.live(CONVERSATION, TaskProgressed, **fields, fraction=float("nan"))
            journal.live(CONVERSATION, TaskProgressed, **fields, fraction=0.5)
            found = await read(frames, browser, until="task_progressed")
        assert [(f.kind, f.last_event_id) for f in found] == [
            ("lagged", f"7.{journal.index - 1}"),
            ("task_progressed", f"7.{journal.index}"),
        ]


# -- coming back -----------------------------------------------------------------------------


async def test_a_reader_that_keeps_losing_its_connection_sees_each_fact_once_and_in_order() -> None:
    calls = [call("quick") for _ in range(10)]
    async with talking(*[calls, "ok"] * 5, *["ok"] * 9, tools=[quick]) as talk:
        asking = [await beside(talk.chat.ask("go")) for _ in range(5)]
        browser, found = Browser(), list[Frame]()
        for cut in range(11):
            browser.cut()
            frames = sse(talk.chat, browser.last_event_id)
            found += browser.feed(await anext(frames))
            found += browser.feed((await anext(frames))[: 2000 + 301 * cut])
            await frames.aclose()
            assert not readers(talk)
        browser.cut()
        for each in asking:
            await each
        await talk.chat.wait_for_idle()
        last = talk.events[-1].seq
        assert 100 < facts(found)[-1] < last, "the cuts were in the middle of it"
        frames = sse(talk.chat, browser.last_event_id)
        while not found or found[-1].data.get("seq") != last:
            found += browser.feed(await anext(frames))
        assert facts(found) == told(talk)
        assert [frame.kind for frame in found].count("lagged") == 0


async def test_a_reader_that_comes_back_in_mid_reply_gets_the_rest_live_and_the_whole_text() -> (
    None
):
    more = asyncio.Event()
    async with talking([flood(3, "a"), more, flood(2, "b")]) as talk:
        browser = Browser()
        frames = sse(talk.chat)
        asking = await beside(talk.chat.ask("go"))
        await read(frames, browser, until="text_delta", times=3)
        assert browser.last_event_id == "4.3"
        await frames.aclose()
        frames = sse(talk.chat, browser.last_event_id)
        await anext(frames)
        more.set()
        found = await read(frames, browser, until="run_completed")
        await asking
        assert [f.data["text"] for f in found if f.kind == "text_delta"] == ["b", "b"]
        (committed,) = [f for f in found if f.kind == "assistant_message_committed"]
        assert committed.data["message"]["parts"][0]["text"] == "aaabb"


async def test_an_id_that_the_conversation_has_not_reached_begins_with_its_first_fact() -> None:
    async with talking("Hello.") as talk:
        await talk.chat.ask("go")
        for ahead in ("8", "8.3", "999999999999999999"):
            frames = sse(talk.chat, ahead)
            assert facts(await read(frames, Browser(), until="run_completed")) == told(talk)
        last = sse(talk.chat, "7")
        reading = await beside(read(last, Browser(), until="run_completed"))
        assert not reading.done()
        await last.aclose()
        assert await reading == []


async def test_an_id_still_counts_when_its_fact_is_of_no_wanted_kind() -> None:
    async with talking("Hello.") as talk:
        await talk.chat.ask("go")
        frames = sse(talk.chat, "6", kinds="run_completed")
        assert facts(await read(frames, Browser(), until="run_completed")) == [7]


async def test_facts_that_the_store_has_forgotten_meanwhile_are_told_as_missed() -> None:
    async with talking("One.", "Two.", runtime={"store": MemoryStore(facts=5)}) as talk:
        await talk.chat.ask("go")
        await talk.chat.ask("go")
        found = await read(sse(talk.chat, "2.1"), Browser(), until="run_completed")
        assert (found[0].kind, found[0].data["missed"]) == ("lagged", 7)
        assert facts(found) == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("id", ["x", "-1", "1.", "1.2.3", " 1", "1\n", "٣", "9" * 19, "c:1"])
async def test_what_is_no_id_is_refused_before_anything_is_sent(id: str) -> None:
    async with talking() as talk:
        with pytest.raises(InvalidInputError, match="no id of an event"):
            sse(talk.chat, id)
        assert not readers(talk)


# -- silence, lag and the end ----------------------------------------------------------------


async def test_a_silent_line_is_kept_open_by_comments() -> None:
    held = Held()
    async with talking(call("held"), "Done.", tools=[held.tool]) as talk:
        frames, browser = sse(talk.chat, ping=15, kinds="run_completed"), Browser()
        asking = await beside(talk.chat.ask("go"))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        browser.feed(await anext(frames))
        for n in (1, 2, 3):
            assert browser.feed(await anext(frames)) == []
            assert browser.comments == ["ping"] * n
            assert loop.time() - begun == pytest.approx(15 * n)
        held.let_go.set()
        assert [f.kind for f in browser.feed(await anext(frames))] == ["run_completed"]
        await asking


async def test_a_reader_that_is_too_slow_is_told_so_and_still_gets_every_fact() -> None:
    async with talking("One.", flood(5 * BOUND), "ok") as talk:
        frames, browser = sse(talk.chat), Browser()
        await talk.chat.ask("go")
        found = await read(frames, browser, until="run_completed")
        for _ in range(2):
            await talk.chat.ask("go")
        found += await read(frames, browser, until="run_completed", times=2)
        (lagged,) = [frame for frame in found if frame.kind == "lagged"]
        assert lagged.data["missed"] > 2 * BOUND
        assert facts(found) == told(talk)
        stream = cast(Any, talk.runtime)._outbox.journal(talk.chat.conversation_id)
        assert len(stream._log) <= 2 * BOUND


async def test_many_deltas_are_one_write_and_no_write_is_huge() -> None:
    async with talking(flood(1000, "x" * 100)) as talk:
        frames, writes = sse(talk.chat), list[bytes]()
        await anext(frames)
        first = await beside(anext(frames))
        await talk.chat.ask("go")
        writes.append(await first)
        while b"run_completed" not in writes[-1]:
            writes.append(await anext(frames))
        assert b"".join(writes).count(b"event: text_delta") == 1000
        assert len(writes) < 15
        assert max(map(len, writes)) < CHUNK + 110_000, "one frame more at most"


async def test_the_last_frame_says_that_the_agent_is_shut_down() -> None:
    async with talking(stall("Well")) as talk:
        reading = await beside(read(sse(talk.chat), Browser(), until="none"))
        late = sse(talk.chat)
        await talk.chat.send("go")
        await settle()
        await talk.chat.shutdown()
        found = await reading
        assert [frame.kind for frame in found][-2:] == ["run_cancelled", "closed"]
        assert (await read(late, Browser(), until="none"))[-1].kind == "closed"
        with pytest.raises(AgentNotStartedError):
            sse(talk.chat)


@pytest.mark.parametrize("how", ["cancelled", "closed", "dropped", "never begun"])
async def test_a_reader_that_leaves_leaves_nothing_behind(how: str) -> None:
    async with talking("Hello.") as talk:
        frames: Frames | None = sse(talk.chat)
        assert readers(talk)
        if how == "cancelled":
            reading = await beside(read(frames, Browser(), until="none"))
            reading.cancel()
            await asyncio.wait({reading})
            assert not readers(talk)
            with pytest.raises(StopAsyncIteration):
                await anext(frames)
        elif how == "closed":
            await anext(frames)
            await frames.aclose()
            await frames.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(frames)
        elif how == "dropped":
            await anext(frames)
        frames = None
        assert not readers(talk)


async def test_a_store_that_fails_breaks_the_stream_and_leaves_nothing_behind() -> None:
    class Failing(MemoryStore):
        async def facts(self, *_: object, **__: object) -> Any:
            raise TimeoutError("the disk is asleep")

    async with talking("Hello.", runtime={"store": Failing()}) as talk:
        frames = sse(talk.chat)
        await anext(frames)
        with pytest.raises(TimeoutError, match="asleep"):
            await anext(frames)
        assert not readers(talk)


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
async def test_a_pause_that_is_none_is_refused(wrong: float) -> None:
    async with talking() as talk:
        with pytest.raises(ConfigurationError, match="more than 0"):
            sse(talk.chat, ping=wrong)
        with pytest.raises(ConfigurationError, match="retry="):
            sse(talk.chat, retry=wrong or float("inf"))
        with pytest.raises(ConfigurationError, match="no such kind"):
            sse(talk.chat, kinds="nonsense")

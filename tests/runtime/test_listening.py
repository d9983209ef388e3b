"""Following a conversation: its turns and its events."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from sidetask import AgentHandle, ChatResponse, background, tool
from sidetask.core.events import Event, Lagged
from sidetask.runtime.driver import KEPT
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.streams import BOUND
from sidetask.testing import call, flood, stall
from tests.runtime.harness import Held, beside, talking

T = TypeVar("T")


@tool(route=background())
async def quick() -> str:
    """Be quick."""
    await asyncio.sleep(1)
    return "done"


async def turn_ids(chat: AgentHandle, after: str | None = None) -> list[str | None]:
    return [turn.turn_id async for turn in chat.turns(after=after, until="idle")]


# -- turns -----------------------------------------------------------------------------------


async def test_a_reader_of_turns_that_is_too_slow_is_told_how_many_it_lost() -> None:
    async with talking(*[str(n) for n in range(40)]) as talk:
        turns = talk.chat.turns()
        await talk.chat.ask("hi")
        assert await _next_text(turns) == "0"
        for _ in range(KEPT):
            await talk.chat.ask("hi")
        assert (await _next_text(turns), turns.missed) == ("1", 0)
        for _ in range(KEPT + 1):
            await talk.chat.ask("hi")
        assert (await _next_text(turns), turns.missed) == (str(KEPT + 2), KEPT)
        assert (await _next_text(turns), turns.missed) == (str(KEPT + 3), KEPT)


async def test_turns_tells_those_that_nobody_was_given() -> None:
    script = (call("quick"), "Begun.", "Done.", "Hello.", call("quick"), "Begun.", "Done.")
    async with talking(*script, tools=[quick]) as talk:
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        await talk.chat.ask("hi")
        await talk.chat.ask("go")
        assert await turn_ids(talk.chat) == ["turn-2", "turn-5"]
        assert await turn_ids(talk.chat) == []


async def test_a_turn_that_is_asked_for_while_somebody_listens_is_told_too() -> None:
    async with talking("Hello.", "Hi.") as talk:
        turns = talk.chat.turns()
        coming = await beside(_next_text(turns))
        await talk.chat.ask("hi")
        assert await coming == "Hello."
        await talk.chat.chat("hi")
        assert await _next_text(turns) == "Hi."


async def _next_text(turns: AsyncIterator[ChatResponse]) -> str:
    return str(await (await anext(turns)))


async def test_turns_can_be_told_again_from_any_of_the_last_ones() -> None:
    async with talking(*[str(n) for n in range(40)]) as talk:
        for _ in range(20):
            await talk.chat.ask("go")
        assert await turn_ids(talk.chat, after="turn-18") == ["turn-19", "turn-20"]
        assert await turn_ids(talk.chat, after="turn-20") == []
        assert await turn_ids(talk.chat, after="turn-1") == [f"turn-{n}" for n in range(5, 21)]


async def test_a_listener_is_given_turns_when_they_begin_and_can_read_along() -> None:
    async with talking(call("quick"), "Begun.", stall("It is "), tools=[quick]) as talk:
        await talk.chat.ask("go")
        async for turn in talk.chat.turns(until="idle"):
            assert (turn.cause, turn.status) == ("tasks", "running")
            async for piece in turn.text_stream():
                assert piece == "It is "
                await talk.chat.interrupt()
        assert talk.runs() == ["run_completed", "run_cancelled"]


async def test_a_turn_says_what_was_said_to_begin_it_if_anything_was() -> None:
    async with talking(call("quick"), "Begun.", "It is done.", "Yes.", tools=[quick]) as talk:
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        await talk.chat.send("Is it?")
        await talk.chat.wait_for_idle()
        said = [turn.message async for turn in talk.chat.turns(after="turn-1", until="idle")]
        assert [message and message.text for message in said] == [None, "Is it?"]


async def test_two_listeners_are_told_the_same() -> None:
    async with talking("One.", "Two.") as talk:
        await talk.chat.send("go")
        listening = [talk.chat.turns(until="idle") for _ in range(2)]
        assert [[turn.turn_id async for turn in turns] for turns in listening] == [["turn-1"]] * 2


async def test_listening_ends_with_the_agent() -> None:
    async with talking() as talk:
        turns = talk.chat.turns()
        coming = await beside(_all(turns))
        await talk.chat.shutdown()
        assert await coming == []


async def _all(found: AsyncIterator[T]) -> list[T]:
    return [each async for each in found]


async def test_listening_until_idle_waits_for_the_tasks() -> None:
    held = Held(route=background())
    async with talking(call("held"), "Begun.", "Done.", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        listening = await beside(turn_ids(talk.chat))
        assert not listening.done()
        held.let_go.set()
        assert await listening == ["turn-2"]


# -- events ----------------------------------------------------------------------------------


def seqs(events: list[Event | Lagged]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Event) and not event.live]


async def follow(chat: AgentHandle, after: int | None, last: int) -> list[Event | Lagged]:
    """The events up to the fact number `last`."""
    found: list[Event | Lagged] = []
    async for event in chat.events(after=after):
        found.append(event)
        if isinstance(event, Event) and event.seq >= last and not event.live:
            break
    return found


async def until_ends(tail: AsyncIterator[Event | Lagged], ends: int) -> list[Event | Lagged]:
    """The events up to so many ends of runs and tasks."""
    found: list[Event | Lagged] = []
    while ends:
        event = await anext(tail)
        found.append(event)
        ends -= isinstance(event, Event) and event.terminal
    return found


async def test_events_from_any_point_on_come_once_and_in_order_under_load() -> None:
    calls = [call("quick") for _ in range(10)]
    async with talking(*[calls, "ok"] * 5, *["ok"] * 9, tools=[quick]) as talk:
        asking = [await beside(talk.chat.ask("go")) for _ in range(5)]
        tails = [await beside(follow(talk.chat, after, 150)) for after in (0, 7, 13)]
        for each in asking:
            await each
        await talk.chat.wait_for_idle()
        assert len([event for event in talk.events if not event.live]) >= 150
        for after, tail in zip((0, 7, 13), tails, strict=True):
            assert seqs(await tail) == list(range(after + 1, 151))
        assert seqs(await follow(talk.chat, 100, 150)) == list(range(101, 151))


async def test_a_reader_that_joins_in_mid_stream_gets_no_delta_from_before_its_facts() -> None:
    gate = asyncio.Event()
    async with talking([flood(5), gate, flood(5, "y")], "ok") as talk:
        asking = await beside(talk.chat.ask("go"))
        tail = talk.chat.events(after=0)
        gate.set()
        await asking
        await talk.chat.ask("again")
        found = await until_ends(tail, 2)
        order = [event.seq for event in found if isinstance(event, Event)]
        assert order == sorted(order)
        assert seqs(found) == list(range(1, max(order) + 1))


async def test_without_a_point_events_begin_now() -> None:
    async with talking("One.", "Two.") as talk:
        await talk.chat.ask("go")
        before = len([event for event in talk.events if not event.live])
        tail = talk.chat.events()
        await talk.chat.ask("go")
        event = await anext(tail)
        assert isinstance(event, Event)
        assert (event.kind, event.seq) == ("run_started", before + 1)


async def test_events_can_be_read_without_following() -> None:
    async with talking("One.") as talk:
        await talk.chat.ask("go")
        found = [event async for event in talk.chat.events(after=2, follow=False)]
        assert seqs(found) == [event.seq for event in talk.events if not event.live][2:]
        assert [e async for e in talk.chat.events(after=99, follow=False)] == []


async def test_a_slow_reader_is_told_how_much_it_missed_and_sees_each_end() -> None:
    async with talking(flood(3 * BOUND), "ok") as talk:
        tail = talk.chat.events()
        await talk.chat.ask("go")
        found = await until_ends(tail, 1)
        missed = sum(event.missed for event in found if isinstance(event, Lagged))
        assert missed + len([e for e in found if isinstance(e, Event)]) == len(talk.events)
        assert [e.kind for e in found if isinstance(e, Event)][-1] == "run_completed"


async def test_a_slow_reader_that_began_after_a_seq_loses_live_events_alone() -> None:
    async with talking(flood(3 * BOUND), "ok", flood(3 * BOUND), "ok") as talk:
        tail = talk.chat.events(after=0)
        found: list[Event | Lagged] = []
        for _ in range(2):
            await talk.chat.ask("go")
            await talk.chat.ask("go")
            found += await until_ends(tail, 2)
        assert sum(isinstance(event, Lagged) for event in found) == 1, "the second flood"
        assert seqs(found) == [event.seq for event in talk.events if not event.live]


async def test_a_slow_reader_gets_the_ends_that_its_store_has_forgotten() -> None:
    store = MemoryStore(facts=3)
    script = ["One.", flood(3 * BOUND), "ok", "ok"]
    async with talking(*script, runtime={"store": store}) as talk:
        tail = talk.chat.events(after=0)
        await talk.chat.ask("go")
        assert seqs(await until_ends(tail, 1)) == [5, 6, 7]
        for _ in range(3):
            await talk.chat.ask("go")
        found = await until_ends(tail, 3)
        assert [e.seq for e in found if isinstance(e, Event) and e.terminal] == [14, 21, 28]
        assert seqs(found) == sorted(set(seqs(found)))


async def test_a_reader_can_ask_for_some_events_alone() -> None:
    async with talking(call("quick"), "Begun.", "Done.", tools=[quick]) as talk:
        tail = talk.chat.events(after=0, wanted=lambda event: event.terminal)
        await talk.chat.ask("go")
        await talk.chat.wait_for_idle()
        ends = [event.seq for event in talk.events if event.terminal]
        assert seqs(await until_ends(tail, 3)) == ends
        again = talk.chat.events(after=ends[0], follow=False, wanted=lambda event: event.terminal)
        assert seqs(await _all(again)) == ends[1:]


async def test_a_tail_that_is_closed_ends_at_once() -> None:
    async with talking("One.") as talk:
        await talk.chat.ask("go")
        for after in (0, None):
            tail = talk.chat.events(after=after)
            reading = await beside(_all(tail))
            assert not reading.done()
            tail.close()
            assert isinstance(await reading, list)
            assert await _all(tail) == []


async def test_facts_that_are_no_longer_kept_are_told_as_missed() -> None:
    store = MemoryStore(facts=5)
    async with talking("One.", runtime={"store": store}) as talk:
        await talk.chat.ask("go")
        first, *rest = [event async for event in talk.chat.events(after=1, follow=False)]
        kept = seqs(rest)
        assert isinstance(first, Lagged)
        assert (first.missed, len(kept)) == (kept[0] - 2, 5)
        from_the_first_kept = [event async for event in talk.chat.events(after=0, follow=False)]
        assert seqs(from_the_first_kept) == kept


async def test_events_end_with_the_agent() -> None:
    async with talking("One.") as talk:
        tail = talk.chat.events(after=0)
        await talk.chat.ask("go")
        await talk.chat.shutdown()
        assert [e.kind for e in await _all(tail) if isinstance(e, Event)][-1] == "run_completed"


async def test_a_filter_that_fails_is_its_readers_fault_and_harms_no_turn() -> None:
    def broken(event: Event) -> bool:
        raise KeyError("broken")

    async with talking(flood(3 * BOUND)) as talk:
        events = talk.chat.events(wanted=broken)
        await talk.chat.ask("talk")  # so much that the reader loses some of it
        assert talk.runs() == ["run_completed"]
        assert isinstance(await anext(events), Lagged)
        with pytest.raises(KeyError):
            await anext(events)

"""Conversations that become too long for their model."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any, TypeAlias

import pytest
from tests.agents.guards.histories import said
from tests.runtime.harness import Talk, assert_valid, beside, talking

from sidetask import Agent, Usage, tool
from sidetask.agents.guards.compaction import Ask, Compaction, PruneOutputs, Summary
from sidetask.agents.guards.context import tokens_of
from sidetask.agents.guards.room import Compacted
from sidetask.core.budget import Budget
from sidetask.core.errors import (
    BudgetExceededError,
    ConfigurationError,
    ContextWindowExceededError,
    ModelError,
    TurnCancelledError,
)
from sidetask.core.events import (
    CompactionCircuitOpened,
    HistoryCompacted,
    TextDelta,
    UsageRecorded,
)
from sidetask.core.messages import Message, ToolMessage, UserMessage
from sidetask.models.base import Finished, ModelRequest
from sidetask.models.scripted import Reply
from sidetask.stores.base import COMPACTIONS
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, ignores_cancellation, running_runtime

LONG = "x" * 4_000
"""A thousand tokens."""
Answer: TypeAlias = Reply | Callable[[ModelRequest], Reply]


def writing(summary: Answer, answer: Answer = "ok") -> Callable[[ModelRequest], Reply]:
    """A reply that is a summary where one is asked for."""

    def play(request: ModelRequest) -> Reply:
        wanted = summary if _asks_for_summary(request) else answer
        return wanted(request) if callable(wanted) else wanted

    return play


def _asks_for_summary(request: ModelRequest) -> bool:
    last = request.messages[-1]
    return isinstance(last, UserMessage) and "replaced by a summary" in last.text


class Failing:
    """A compactor that fails until it is told otherwise."""

    def __init__(self) -> None:
        self.tries = 0
        self.works = False

    async def compact(
        self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
    ) -> Sequence[Message]:
        self.tries += 1
        if not self.works:
            raise RuntimeError("no luck")
        return [said("at last")]


def talk_of(
    answer: Answer = "ok", *, summary: Answer = "what was said", turns: int = 40, **config: Any
) -> AbstractAsyncContextManager[Talk]:
    """A conversation that is compacted above 2,500 tokens."""
    config.setdefault("compaction", Compaction(trigger=2_500))
    return talking(*[writing(summary, answer)] * turns, **config)


def compacted(talk: Talk) -> list[HistoryCompacted]:
    return [event for event in talk.events if isinstance(event, HistoryCompacted)]


def opened(talk: Talk) -> list[CompactionCircuitOpened]:
    return [event for event in talk.events if isinstance(event, CompactionCircuitOpened)]


async def test_old_messages_are_replaced_by_a_summary_and_the_last_two_turns_stay() -> None:
    async with talk_of() as talk:
        for text in (LONG * 2, "two", "three", LONG[:2_000]):
            await talk.chat.ask(text)
        [event] = compacted(talk)
        assert (event.index, event.summary) == (
            4,
            "[Summary of the conversation so far]\nwhat was said",
        )
        assert (event.tokens_after < 600, event.tokens_before > 2_500) == (True, True)
        assert talk.chat.compaction_indices == (4,)
        seen = talk.model.requests[-1].messages
        assert list(seen) == [said(event.summary), *talk.history[4:-1]]


async def test_the_summary_is_stored_for_who_takes_the_conversation_up_again() -> None:
    store = MemoryStore()
    async with talk_of(runtime={"store": store}) as talk:
        for _ in range(8):
            await talk.chat.ask(LONG)
        kept = await store.find(COMPACTIONS, conversation_id=talk.chat.conversation_id)
        assert [each.value.end for each in kept] == list(talk.chat.compaction_indices)
        assert kept[-1].value.summary == talk.inside.context.messages[0]


async def test_the_history_keeps_all() -> None:
    async with talk_of() as talk:
        for _ in range(6):
            await talk.chat.ask(LONG)
        assert talk.said() == [LONG, "ok"] * 6
        assert len(compacted(talk)) > 1


async def test_the_summary_is_asked_for_behind_the_messages_that_the_provider_has_cached() -> None:
    @tool
    async def look() -> None:
        """Look."""

    async with talk_of(
        tools=[look], instructions="Be brief.", settings={"tool_choice": "auto", "seed": 1}
    ) as talk:
        for _ in range(4):
            await talk.chat.ask(LONG)
        [asked] = [each for each in talk.model.requests if _asks_for_summary(each)]
        before = talk.model.requests[talk.model.requests.index(asked) - 1]
        assert asked.messages[:-1] == before.messages[: len(asked.messages) - 1]
        assert (asked.instructions, asked.tools) == (before.instructions, before.tools)
        assert asked.settings == {"seed": 1}


async def test_nobody_hears_the_text_of_a_summary_and_it_is_paid_for() -> None:
    used = Finished(usage=Usage(requests=1, input_tokens=900, output_tokens=9))
    async with talk_of(summary=["secret", used]) as talk:
        for _ in range(4):
            response = await talk.chat.chat(LONG)
            assert [event.text async for event in response if isinstance(event, TextDelta)] == [
                "ok"
            ]
        [event] = compacted(talk)
        assert event.usage == used.usage
        assert talk.chat.total_usage.input_tokens == 900
        assert sum(isinstance(event, UsageRecorded) for event in talk.events) == 5


async def test_what_was_compacted_once_is_not_compacted_again() -> None:
    async with talk_of() as talk:
        for turn in range(8):
            await talk.chat.ask(f"{turn} {LONG}")
        asked = [each.messages[:-1] for each in talk.model.requests if _asks_for_summary(each)]
        assert len(asked) > 1
        read = [m.text for messages in asked for m in messages if isinstance(m, UserMessage)]
        own = [text.split()[0] for text in read if not text.startswith("[Summary")]
        assert own == [str(turn) for turn in range(len(own))], "each message is read once"
        assert all(messages[0] == said(compacted(talk)[0].summary) for messages in asked[1:])


async def test_between_compactions_the_context_only_grows() -> None:
    async with talk_of() as talk:
        for _ in range(12):
            await talk.chat.ask(LONG)
        requests = [each for each in talk.model.requests if not _asks_for_summary(each)]
        rewrites = 0
        for one, next_ in pairwise(requests):
            rewrites += next_.messages[: len(one.messages)] != one.messages
        assert rewrites == len(compacted(talk)) > 1


async def test_a_long_turn_makes_room_between_its_steps() -> None:
    @tool
    async def read(page: int) -> str:
        """Read a page."""
        return LONG

    pages = iter(range(20))

    def answer(request: ModelRequest) -> Reply:
        page = next(pages, None)
        return "done" if page is None else call("read", page=page)

    async with talk_of(answer, tools=[read], compaction=Compaction(trigger=5_000)) as talk:
        assert (await talk.chat.ask("Read it all.")).text == "done"
        for request in talk.model.requests:
            assert_valid(request.messages)
            assert sum(map(tokens_of, request.messages)) < 6_500
        assert compacted(talk)


async def test_a_conversation_of_300_turns_stays_within_the_window() -> None:
    model = ScriptedModel(
        writing("what was said " * 20, "x" * 200), loop=True, context_window=8_000
    )
    agent = Agent(model)
    async with running_runtime() as runtime, runtime.open(agent) as chat:
        for turn in range(300):
            await chat.ask(f"{turn} " + "y" * 400)
        longest = max(sum(map(tokens_of, request.messages)) for request in model.requests)
        assert 5_000 < longest < 6_700
        assert len(chat.history()) == 600
        assert 5 < len(chat.compaction_indices) < 30


async def test_the_providers_refusal_makes_room_once_and_asks_again() -> None:
    refused: list[int] = []

    def answer(request: ModelRequest) -> Reply:
        if len(request.messages) > 5:
            refused.append(len(request.messages))
            return ContextWindowExceededError("too long")
        return "ok"

    async with talk_of(answer, compaction=Compaction()) as talk:
        for turn in range(4):
            assert (await talk.chat.ask(f"{turn} {LONG}")).text == "ok"
        assert (len(refused), len(compacted(talk))) == (1, 1)
        assert talk.runs() == ["run_completed"] * 4


async def test_a_refusal_that_making_room_does_not_help_is_the_end_of_the_turn() -> None:
    async with talk_of(ContextWindowExceededError("too long"), compaction=Compaction()) as talk:
        for _ in range(3):
            with pytest.raises(ContextWindowExceededError):
                await talk.chat.ask(LONG)
        assert talk.runs() == ["run_failed"] * 3


async def test_without_compaction_a_refusal_is_the_end_of_the_turn() -> None:
    async with talking(ContextWindowExceededError("too long"), compaction=None) as talk:
        with pytest.raises(ContextWindowExceededError):
            await talk.chat.ask(LONG)


async def test_old_tool_output_can_be_pruned_instead() -> None:
    @tool
    async def read(page: int) -> str:
        """Read a page."""
        return f"{page} {LONG}"

    script = [reply for page in range(4) for reply in (call("read", page=page), "read")]
    compaction = Compaction(trigger=2_500, compactor=PruneOutputs())
    async with talking(*script, tools=[read], compaction=compaction) as talk:
        for _ in range(4):
            await talk.chat.ask("next")
        assert len(talk.model.requests) == 8, "no model is asked"
        answers = [m for m in talk.model.requests[-1].messages if isinstance(m, ToolMessage)]
        sizes = [len(answer.results[0].content) for answer in answers]
        assert sizes[:2] == [438, 438]
        assert sizes[2:] == [4_002, 4_002]
        assert all(event.summary == "" for event in compacted(talk))
        assert len(talk.answers()[0].content) == 4_002


# -- failures ----------------------------------------------------------------------------------


async def test_three_failures_open_the_circuit_once_and_the_run_goes_on() -> None:
    failing = Failing()
    async with talk_of(compaction=Compaction(trigger=2_500, compactor=failing)) as talk:
        for _ in range(10):
            assert (await talk.chat.ask(LONG)).text == "ok"
        assert failing.tries == 3
        [event] = opened(talk)
        assert (event.failures, event.error) == (3, "no luck")
        assert (talk.runs(), compacted(talk)) == (["run_completed"] * 10, [])


async def test_the_circuit_half_opens_when_it_has_cooled_down() -> None:
    failing = Failing()
    async with talk_of(compaction=Compaction(trigger=2_500, compactor=failing)) as talk:
        for _ in range(8):
            await talk.chat.ask(LONG)
        await asyncio.sleep(301)
        await talk.chat.ask(LONG)
        await talk.chat.ask(LONG)
        assert (failing.tries, len(opened(talk))) == (4, 1)
        failing.works = True
        await asyncio.sleep(301)
        await talk.chat.ask(LONG)
        assert (failing.tries, len(compacted(talk))) == (5, 1)
        assert talk.seen(talk.model.calls - 1)[0] == said("at last")


@pytest.mark.parametrize(
    "summary",
    [
        ModelError("down"),
        "",
        "   ",
        call("look"),
        ["half a", ModelError("cut")],
        "y" * 100_000,
    ],
)
async def test_a_summary_that_fails_leaves_all_as_it_was(summary: Answer) -> None:
    async with talk_of(summary=summary) as talk:
        for _ in range(8):
            await talk.chat.ask(LONG)
        assert talk.runs() == ["run_completed"] * 8
        assert list(talk.seen(talk.model.calls - 1)) == talk.history[:-1]
        assert (len(opened(talk)), talk.chat.compaction_indices) == (1, ())


async def test_a_compactor_that_awaits_what_is_cancelled_has_failed() -> None:
    class Cancelled:
        async def compact(
            self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
        ) -> Sequence[Message]:
            raise asyncio.CancelledError

    async with talk_of(compaction=Compaction(trigger=2_500, compactor=Cancelled())) as talk:
        for _ in range(8):
            await talk.chat.ask(LONG)
        assert len(opened(talk)) == 1
        assert talk.runs() == ["run_completed"] * 8


async def test_a_stop_ends_a_compaction_and_its_turn() -> None:
    never = asyncio.Event()
    async with talk_of(summary=["so far", never]) as talk:
        for _ in range(3):
            await talk.chat.ask(LONG)
        asking = await beside(talk.chat.ask(LONG))
        await talk.chat.interrupt()
        assert isinstance(asking.exception(), TurnCancelledError)
        assert talk.runs() == ["run_completed"] * 3 + ["run_cancelled"]
        assert (compacted(talk), opened(talk)) == ([], [])


async def test_a_stop_ends_a_compactor_that_watches_nothing() -> None:
    class Stuck:
        async def compact(
            self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
        ) -> Sequence[Message]:
            await asyncio.sleep(1_000)
            return []

    async with talk_of(compaction=Compaction(trigger=2_500, compactor=Stuck())) as talk:
        for _ in range(2):
            await talk.chat.ask(LONG)
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask(LONG, budget=Budget(seconds=5))
        assert talk.runs()[-1] == "run_failed"


async def test_a_summary_is_a_step_of_the_budget() -> None:
    async with talk_of(budget=Budget(steps=4)) as talk:
        for _ in range(3):
            await talk.chat.ask(LONG)
        with pytest.raises(BudgetExceededError, match="4 of 4 steps"):
            await talk.chat.ask(LONG)
        assert (len(compacted(talk)), talk.runs()[-1]) == (1, "run_failed")


# -- what can be chosen --------------------------------------------------------------------------


async def test_another_model_may_write_the_summaries() -> None:
    writer = ScriptedModel("by another", name="writer")
    compaction = Compaction(trigger=2_500, model=writer)
    async with talking(*["ok"] * 4, compaction=compaction) as talk:
        for _ in range(4):
            await talk.chat.ask(LONG)
        assert writer.calls == 1
        assert compacted(talk)[0].summary.endswith("by another")
        used = [event.model for event in talk.events if isinstance(event, UsageRecorded)]
        assert used.count("writer") == 1


async def test_an_agent_may_write_the_summaries_and_spends_what_the_turn_may() -> None:
    class ByAgent:
        async def compact(
            self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
        ) -> Sequence[Message]:
            result = await Agent(ScriptedModel("by an agent")).run("Summarise.")
            return [said(result.text)]

    compaction = Compaction(trigger=2_500, compactor=ByAgent())
    async with talking(*["ok"] * 4, compaction=compaction, budget=Budget(steps=9)) as talk:
        for _ in range(4):
            await talk.chat.ask(LONG)
        assert compacted(talk)[0].summary == "by an agent"
        assert talk.inside.meter.steps == 5


async def test_who_wants_to_know_is_told_of_each_compaction() -> None:
    heard: list[Compacted] = []

    async def hear(done: Compacted) -> None:
        heard.append(done)

    async with talk_of() as talk:
        talk.inside.on_compaction = hear
        for _ in range(4):
            await talk.chat.ask(LONG)
        assert [done.index for done in heard] == list(talk.chat.compaction_indices)


@pytest.mark.parametrize("name", ["trigger", "reserve", "keep_turns", "failures", "cooldown"])
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Compaction(**{name: 0})  # pyright: ignore[reportArgumentType] - each is a number


def test_the_instructions_of_a_summary_can_be_changed() -> None:
    assert Summary(instructions="In French.").instructions == "In French."


async def test_a_compaction_that_is_done_is_told_also_when_a_stop_came_meanwhile() -> None:
    class Stubborn:
        async def compact(
            self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
        ) -> Sequence[Message]:
            await ignores_cancellation(10)
            return [said("so far")]

    async with talk_of(compaction=Compaction(trigger=2_500, compactor=Stubborn())) as talk:
        for _ in range(2):
            await talk.chat.ask(LONG)
        asking = await beside(talk.chat.ask(LONG))
        await talk.chat.interrupt()
        assert isinstance(asking.exception(), TurnCancelledError)
        indices = [event.index for event in compacted(talk)]
        assert len(indices) == 1
        assert tuple(indices) == talk.chat.compaction_indices

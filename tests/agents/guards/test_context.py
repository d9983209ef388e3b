"""What is given to the model of a history: never half a call, nothing lost, nothing twice."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agents.guards.histories import notified, replied, said, step, turns
from tests.runtime.harness import assert_valid

from sidetask.agents.guards.compaction import Ask, Compaction, PruneOutputs, Summary
from sidetask.agents.guards.context import Context, check_whole, tokens_of
from sidetask.agents.guards.room import Circuit, Room
from sidetask.core.errors import ContextWindowExceededError, InvalidInputError
from sidetask.core.ids import CallId
from sidetask.core.messages import (
    Image,
    Message,
    ToolMessage,
    ToolResult,
    UserMessage,
    user_message,
)
from sidetask.core.usage import Usage
from sidetask.models.base import ToolSchema
from sidetask.testing import ScriptedModel


class Spy:
    """A compactor that writes down what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Sequence[Message], Sequence[Message]]] = []

    async def compact(
        self, before: Sequence[Message], messages: Sequence[Message], ask: Ask
    ) -> Sequence[Message]:
        self.given.append((before, messages))
        return [said(f"summary {len(self.given)}")]


async def _never(messages: Sequence[Message]) -> str:
    raise AssertionError("nobody is asked here")


def _room(context: Context, config: Compaction, *, window: int | None = None) -> Room:
    model = ScriptedModel(context_window=window)
    return Room(config, context, model=model, instructions="", schemas=())


def _now() -> float:
    return 0.0


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(turns(), max_size=12), st.integers(100, 5_000), st.integers(1, 3))
async def test_every_message_is_covered_by_one_summary_or_seen_as_it_is(
    conversation: list[list[Message]], limit: int, keep: int
) -> None:
    spy, history = Spy(), list[Message]()
    context = Context(history)
    room = _room(context, Compaction(compactor=spy, trigger=limit, keep_turns=keep))
    for turn in conversation:
        room.begin_turn(len(history))
        for message in turn:
            context.append(message)
        if room.is_full(_now):
            try:
                await room.make(_never)
            except InvalidInputError:  # the summary would be no shorter: all is as it was
                spy.given.pop()
        compacted = [message for _, messages in spy.given for message in messages]
        # None lost and none twice, in either half: identity, for many messages are equal.
        seen = [*compacted, *context.messages[context.head :]]
        assert list(map(id, seen)) == list(map(id, history))
        assert len(compacted) == context.covered
        for _, messages in spy.given:
            assert_valid(messages)
        assert_valid(context.messages)
    assert context.indices == tuple(sorted(set(context.indices)))
    befores = [before for before, _ in spy.given]
    assert (
        befores == [[], *[[said(f"summary {n}")] for n in range(1, len(befores))]][: len(befores)]
    )


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(turns(), min_size=2, max_size=6))
async def test_the_last_two_turns_stay_where_they_leave_room(
    conversation: list[list[Message]],
) -> None:
    context, history = Context([]), list[Message]()
    room = _room(context, Compaction(compactor=Spy()))
    for turn in ([said("x" * 400_000)], *conversation):
        room.begin_turn(len(history))
        for message in turn:
            history.append(message)
            context.append(message)
    done = await room.make(_never)
    last = [*conversation[-2], *conversation[-1]]
    assert list(map(id, context.messages[1:])) == list(map(id, last))
    assert done is not None
    assert (done.index, done.summary) == (len(history) - len(last), "summary 1")
    assert done.tokens_after < done.tokens_before


async def test_a_turn_that_fills_the_window_alone_is_cut_between_two_steps() -> None:
    history: list[Message] = []
    context, spy = Context(history), Spy()
    room = _room(context, Compaction(compactor=spy, trigger=1_000))
    room.begin_turn(0)
    context.append(said("do it"))
    for _ in range(12):
        for message in step(1, "x" * 400):
            context.append(message)
    assert room.is_full(_now)
    done = await room.make(_never)
    assert done is not None
    assert context.tokens() <= 600
    assert_valid(context.messages)
    assert done.index % 2 == 1  # behind "do it" and whole steps


async def test_the_last_calls_stay_however_long_their_output_is() -> None:
    context = Context([])
    room = _room(context, Compaction(compactor=Spy(), trigger=1_000))
    room.begin_turn(0)
    context.append(said("do it " * 100))
    last = step(2, "x" * 20_000)
    for message in last:
        context.append(message)
    await room.make(_never)
    assert context.messages == [said("summary 1"), *last]
    assert room.is_full(_now)
    assert await room.make(_never) is None, "nothing old is left"


async def test_without_compaction_the_context_is_the_history_itself() -> None:
    history: list[Message] = []
    context = Context(history)
    context.append(said("hi"))
    assert context.messages is history


async def test_the_history_keeps_all_and_grows_beside_the_context() -> None:
    history: list[Message] = [said("x" * 5_000), replied("y")]
    context = Context(history)
    context.replace(2, [said("short")])
    context.append(said("more"))
    assert [len(history), len(context.messages), context.covered] == [3, 2, 2]
    assert context.place_of(2) == 1
    assert context.place_of(0) == 1


def test_a_conversation_that_is_taken_up_again_goes_on_behind_its_summary() -> None:
    history: list[Message] = [said("x" * 5_000), replied("y"), said("z")]
    context = Context(history)
    context.resume(said("summary"), 2)
    context.append(replied("w"))
    assert context.messages == [said("summary"), said("z"), replied("w")]
    assert (len(history), context.place_of(2), context.indices) == (4, 1, (2,))
    context.replace(3, [said("")])
    assert (context.covered, context.messages) == (4, [said("")])


async def test_a_conversation_that_was_cleared_begins_anew() -> None:
    context = Context([])
    room = _room(context, Compaction(compactor=Spy(), trigger=1_000))
    for number in range(4):
        room.begin_turn(2 * number)
        context.append(said("x" * 2_000))
        context.append(replied("y"))
    await room.make(_never)
    context.clear()
    assert (context.messages, context.tokens(), context.indices) == ([], 0, ())
    room.begin_turn(0)
    last = said("z" * 8_000)
    context.append(last)
    assert await room.make(_never) is None
    assert context.messages == [last]


@pytest.mark.parametrize(
    "head",
    [
        [step(1, "out")[0]],
        [step(1, "out")[1]],
        [step(1, "out")[0], step(1, "out")[1]],
        [said("x" * 10_000)],
    ],
)
def test_a_head_that_no_model_could_be_given_changes_nothing(head: list[Message]) -> None:
    history: list[Message] = [said("x" * 1_000), replied("y")]
    context = Context(history)
    with pytest.raises(InvalidInputError):
        context.replace(2, head)
    assert (context.messages, context.covered, context.indices) == (history, 0, ())


def test_what_the_provider_told_is_worth_more_than_the_estimate() -> None:
    context = Context([said("x" * 4_000)])
    assert 1_000 <= context.tokens() <= 1_010
    context.append(replied("ok"))
    context.measured(Usage(input_tokens=2_100, output_tokens=50), prompt=100)
    assert context.tokens() == 2_050
    context.append(said("x" * 400))
    assert 2_150 <= context.tokens() <= 2_160
    context.measured(Usage(), prompt=100)
    assert context.tokens() > 2_100, "a call that told nothing changes nothing"


def test_texts_beyond_ascii_and_pictures_are_longer_than_their_letters() -> None:
    assert tokens_of(said("語" * 400)) >= 300
    picture = Image(data=b"png")
    assert tokens_of(user_message([picture])) > 1_000
    shown = ToolResult(CallId("call"), "look", "", attachments=(picture,))
    assert tokens_of(ToolMessage((shown,))) > 1_000


def test_the_window_is_used_without_what_the_reply_needs() -> None:
    assert Compaction().limit(100_000) == 80_000
    assert Compaction().limit(1_000_000) == 968_000
    assert Compaction(reserve=4_000).limit(10_000) == 6_000
    assert Compaction(reserve=9_999).limit(10_000) == 5_000
    assert Compaction(trigger=500).limit(10_000) == 500
    assert Compaction().limit(None) is None


async def test_instructions_and_tools_take_of_the_window_too() -> None:
    context = Context([said("x" * 400)])
    schema = ToolSchema(name="look", description="x" * 4_000, parameters={"type": "object"})
    for schemas, is_full in (((), False), ((schema,), True)):
        room = Room(
            Compaction(trigger=1_000),
            context,
            model=ScriptedModel(),
            instructions="x" * 400,
            schemas=schemas,
        )
        assert room.is_full(_now) is is_full


# -- the two compactors ----------------------------------------------------------------------


async def test_pruning_shortens_old_output_and_nothing_else() -> None:
    before, calls = [said("before " * 500)], step(2, "y" * 900)
    messages = [said("x" * 900), *calls, replied("z")]
    head = await PruneOutputs(letters=100).compact(before, messages, _never)
    assert [*head[:3], head[4]] == [*before, messages[0], calls[0], messages[3]]
    answer = head[3]
    assert isinstance(answer, ToolMessage)
    assert answer.results[0].content == "y" * 100 + "\n[... 800 letters of old output ...]"
    assert_valid(head)


async def test_pruning_takes_the_pictures_of_old_results_too() -> None:
    picture = Image(data=b"png")
    shown = ToolResult(CallId("call"), "look", "small", attachments=(picture,))
    late = notified("y" * 900)
    pruned = await PruneOutputs(letters=100).compact([], [ToolMessage((shown,)), late], _never)
    assert pruned[0] == ToolMessage((ToolResult(CallId("call"), "look", "small"),))
    assert len(str(pruned[1])) < 300


async def test_a_summary_of_too_many_messages_is_written_in_parts() -> None:
    asked: list[int] = []

    async def ask(messages: Sequence[Message]) -> str:
        asked.append(len(messages) - 1)
        if len(messages) > 4:
            raise ContextWindowExceededError("too long")
        return f"{len(messages) - 1} messages"

    messages = [said("1"), *step(1, "a"), said("2"), *step(1, "b"), replied("c")]
    [summary] = await Summary().compact([], messages, ask)
    assert isinstance(summary, UserMessage)
    assert summary.text.endswith("messages")
    assert max(asked) == 7
    with pytest.raises(ContextWindowExceededError):
        await Summary().compact([], [said("1")] * 2, lambda _: _refuse())


async def _refuse() -> str:
    raise ContextWindowExceededError("too long")


# -- the circuit -----------------------------------------------------------------------------


def test_the_circuit_opens_once_and_lets_one_try_through_when_it_has_cooled_down() -> None:
    circuit = Circuit(3, 300.0)
    assert [circuit.failed(now) for now in (0.0, 1.0)] == [False, False]
    assert circuit.allows(1.0)
    assert circuit.failed(2.0) is True
    assert not circuit.allows(301.9)
    assert circuit.allows(302.0), "half open"
    assert circuit.failed(302.0) is False, "it was open before"
    assert not circuit.allows(601.0)
    circuit.succeeded()
    assert circuit.allows(602.0)
    assert [circuit.failed(603.0) for _ in range(3)] == [False, False, True]


def test_failures_that_are_not_in_a_row_do_not_open_it() -> None:
    circuit = Circuit(2, 300.0)
    for _ in range(5):
        assert circuit.failed(0.0) is False
        circuit.succeeded()


@pytest.mark.slow
@given(turns())
def test_whole_turns_are_whole_and_halves_are_not(turn: list[Message]) -> None:
    check_whole(turn)
    for at in range(1, len(turn)):
        if isinstance(turn[at], ToolMessage):
            with pytest.raises(InvalidInputError):
                check_whole(turn[:at])
            with pytest.raises(InvalidInputError):
                check_whole(turn[at:])

import asyncio

import pytest

from sidetask.core.errors import ModelError
from sidetask.core.ids import CallId
from sidetask.core.messages import Message, ToolCall, user_message
from sidetask.core.usage import Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    Model,
    ModelRequest,
    TextChunk,
)
from sidetask.models.scripted import (
    Reply,
    ScriptedModel,
    call,
    cut,
    flood,
    reply,
    stall,
)


def request(*messages: Message) -> ModelRequest:
    return ModelRequest(instructions="", messages=list(messages))


async def play(model: Model, given: ModelRequest | None = None) -> list[Chunk]:
    async with asyncio.timeout(5), model.stream(given or request()) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_text_is_one_delta_and_then_the_end() -> None:
    assert await play(ScriptedModel("Hello.")) == [TextChunk("Hello."), Finished()]


async def test_a_text_is_cut_into_deltas_of_the_asked_size() -> None:
    chunks = await play(ScriptedModel(reply("Hello", call("t")), delta=2))
    assert [c.text for c in chunks if isinstance(c, TextChunk)] == ["He", "ll", "o"]
    assert [c.text for c in chunks if isinstance(c, CallArguments)] == ["{}"]


async def test_calls_are_numbered_within_a_reply_and_have_ids_of_their_own() -> None:
    model = ScriptedModel([call("add", a=1, b=[None]), call("look")], call("look"))
    assert await play(model) == [
        CallStarted(0, "call-1", "add"),
        CallArguments(0, '{"a": 1, "b": [null]}'),
        CallStarted(1, "call-2", "look"),
        CallArguments(1, "{}"),
        Finished("tool_calls"),
    ]
    assert (await play(model))[0] == CallStarted(0, "call-3", "look")


async def test_a_call_with_an_id_and_broken_arguments_is_played_as_it_is() -> None:
    chunks = await play(ScriptedModel(ToolCall(CallId("x"), "add", '{"a":')))
    assert chunks[:2] == [CallStarted(0, "x", "add"), CallArguments(0, '{"a":')]


async def test_chunks_are_played_as_they_are_and_finished_once() -> None:
    end = Finished("length", Usage(requests=1, output_tokens=7))
    chunks: list[Chunk] = [CallStarted(0, "a", "t"), CallArguments(0, "{}"), end]
    assert await play(ScriptedModel(chunks)) == chunks


async def test_replies_follow_each_other_and_then_the_model_says_that_there_are_no_more() -> None:
    model = ScriptedModel("one", "two")
    assert [(await play(model))[0] for _ in range(2)] == [TextChunk("one"), TextChunk("two")]
    with pytest.raises(ModelError, match="the script has 2 replies and was asked for one more"):
        await play(model)


async def test_a_looping_script_begins_anew_but_an_empty_one_does_not() -> None:
    model = ScriptedModel("a", "b", loop=True)
    assert [(await play(model))[0] for _ in range(3)] == [
        TextChunk("a"),
        TextChunk("b"),
        TextChunk("a"),
    ]
    with pytest.raises(ModelError):
        await play(ScriptedModel(loop=True))


async def test_a_request_is_kept_as_it_was_when_the_model_was_called() -> None:
    model = ScriptedModel("a", "b")
    history: list[Message] = [user_message("hi")]
    given = ModelRequest(instructions="", messages=history)
    await play(model, given)
    history.append(user_message("more"))
    await play(model, given)
    assert [len(kept.messages) for kept in model.requests] == [1, 2]
    assert model.calls == 2


async def test_requests_are_not_kept_when_nobody_wants_them() -> None:
    model = ScriptedModel("a", record=False)
    await play(model)
    assert (model.requests, model.calls) == ([], 1)


async def test_an_error_is_raised_instead_of_answering() -> None:
    stream = ScriptedModel(ModelError("overloaded")).stream(request())
    with pytest.raises(ModelError, match="overloaded"):
        await stream.__aenter__()
    await stream.__aexit__(None, None, None)


async def test_an_error_among_the_parts_is_raised_there() -> None:
    model = ScriptedModel(reply("half", ModelError("gone")))
    async with model.stream(request()) as chunks:
        assert await anext(chunks) == TextChunk("half")
        with pytest.raises(ModelError, match="gone"):
            await anext(chunks)


async def test_a_function_answers_by_the_request() -> None:
    def echo(given: ModelRequest) -> str:
        return f"messages: {len(given.messages)}"

    async def slowly(given: ModelRequest) -> Reply:
        return reply(echo(given), call("look"))

    model = ScriptedModel(echo, slowly)
    assert (await play(model, request(user_message("x"))))[0] == TextChunk("messages: 1")
    assert CallStarted(0, "call-1", "look") in await play(model)


async def test_an_event_among_the_parts_holds_the_stream() -> None:
    gate = asyncio.Event()
    async with ScriptedModel(reply("a", gate, "b")).stream(request()) as chunks:
        assert await anext(chunks) == TextChunk("a")
        held = asyncio.ensure_future(anext(chunks))
        await asyncio.wait({held}, timeout=0.001)
        assert not held.done()
        gate.set()
        assert await held == TextChunk("b")


async def test_a_cut_reply_has_no_end() -> None:
    assert await play(ScriptedModel(cut("Hel", CallStarted(0, "c", "t")))) == [
        TextChunk("Hel"),
        CallStarted(0, "c", "t"),
    ]


async def test_a_stalled_reply_waits_for_ever_and_can_be_left() -> None:
    async with ScriptedModel(stall("a")).stream(request()) as chunks:
        assert await anext(chunks) == TextChunk("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(chunks)


async def test_a_flood_is_that_many_deltas() -> None:
    chunks = await play(ScriptedModel(flood(1000, "ab")))
    assert chunks == [TextChunk("ab")] * 1000 + [Finished()]


async def test_leaving_the_block_closes_the_stream() -> None:
    async with ScriptedModel(flood(3)).stream(request()) as chunks:
        await anext(chunks)
    assert [chunk async for chunk in chunks] == []

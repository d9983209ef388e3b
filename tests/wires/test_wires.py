"""One call of a model, on every wire."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sidetask.core.errors import (
    AuthenticationError,
    ContextWindowExceededError,
    IncompleteResponseError,
    ModelError,
    ModelUnavailableError,
    RateLimitedError,
    SafetyError,
)
from sidetask.core.ids import CallId
from sidetask.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolResult,
    user_message,
)
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
    ThinkingChunk,
    ToolSchema,
)
from sidetask.models.fallback import FallbackModel
from sidetask.models.pydantic_ai import PydanticAIModel
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tamper, Tap
from tests.wires.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, WIRES, Wire

pytestmark = pytest.mark.wires

ADD = ToolSchema(
    name="add",
    description="Add two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
CALLS = [
    {"name": "add", "arguments": '{"a":1,"b":2}', "id": "one"},
    {"name": "add", "arguments": '{"a":3,"b":4}', "id": "two"},
]
TOKENS = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020}
PNG = b"\x89PNG\r\n\x1a\nnot really"


@pytest.fixture
async def model(wire: Wire, tap: Tap) -> AsyncGenerator[PydanticAIModel]:
    made = wire.model(tap.url)
    yield made
    await made.aclose()


async def ask(model: Any, *history: Message, heard: list[Chunk] | None = None) -> list[Chunk]:
    request = ModelRequest(
        instructions="Be brief.", messages=history or (user_message("hi"),), tools=(ADD,)
    )
    heard = [] if heard is None else heard
    async with asyncio.timeout(HANG), model.stream(request) as chunks:
        async for chunk in chunks:
            heard.append(chunk)
    return heard


def text(chunks: list[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks if isinstance(chunk, TextChunk)])


def calls(chunks: list[Chunk]) -> dict[str, str]:
    """Id -> arguments."""
    ids = {chunk.index: chunk.id for chunk in chunks if isinstance(chunk, CallStarted)}
    found = dict.fromkeys(ids.values(), "")
    for chunk in chunks:
        if isinstance(chunk, CallArguments):
            found[ids[chunk.index]] += chunk.text
    return {call_id: found[call_id].replace(" ", "") for call_id in found}


def kept(chunks: list[Chunk]) -> AssistantMessage:
    """The message that the loop makes of a reply."""
    thoughts = [chunk for chunk in chunks if isinstance(chunk, ThinkingChunk)]
    signed = [chunk.signature for chunk in thoughts if chunk.signature]
    parts: list[Any] = [Thinking("".join([chunk.text for chunk in thoughts]), *signed)]
    parts += [Text(text(chunks))] if text(chunks) else []
    parts += [ToolCall(CallId(i), "add", args) for i, args in calls(chunks).items()]
    return AssistantMessage(tuple(parts))


# -- what comes ----------------------------------------------------------------------------------


async def test_text_streams(wire: Wire, model: PydanticAIModel, tap: Tap, script: Script) -> None:
    script({"content": "Hello there, friend."})
    heard = await ask(model)
    assert text(heard) == "Hello there, friend."
    assert sum(isinstance(chunk, TextChunk) for chunk in heard) > 3
    assert isinstance(heard[-1], Finished)
    wire.check(tap.asked[0])


async def test_usage_is_counted(model: PydanticAIModel, script: Script) -> None:
    script({"content": "Hello", "usage": TOKENS})
    last = (await ask(model))[-1]
    assert isinstance(last, Finished)
    assert (last.usage.requests, last.usage.input_tokens, last.usage.output_tokens) == (
        1,
        1_000,
        20,
    )
    assert last.usage.usd > 0


async def test_thinking_streams_and_comes_back_with_what_signs_it(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    thinking = {"reasoning": "Let me think about it.", "reasoningSignature": "signed"}
    script({**thinking, "toolCalls": CALLS, "finishReason": "stop"}, {"content": "7"})
    heard = await ask(model)
    thoughts = [chunk.text for chunk in heard if isinstance(chunk, ThinkingChunk)]
    assert "".join(thoughts) == "Let me think about it."

    answers = tuple([ToolResult(CallId(i), "add", "3") for i in calls(heard)])
    await ask(model, user_message("hi"), kept(heard), ToolMessage(answers))
    wire.check(tap.asked[1])
    assert "Let me think about it." in str(tap.asked[1])
    if wire is ANTHROPIC:
        assert "'signature': 'signed'" in str(tap.asked[1])
    if wire is CHAT:
        assert "'reasoning_content': 'Let me think about it.'" in str(tap.asked[1])
    if wire is RESPONSES:
        assert "'type': 'reasoning'" in str(tap.asked[1])


@pytest.mark.parametrize("other", WIRES, ids=lambda wire: f"to {wire.name}")
async def test_a_history_may_move_to_another_wire(
    wire: Wire, other: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    thinking = {"reasoning": "Let me think about it.", "reasoningSignature": "signed"}
    script({**thinking, "toolCalls": CALLS, "finishReason": "stop"}, {"content": "7"})
    heard = await ask(model)
    answers = tuple([ToolResult(CallId(i), "add", "3") for i in calls(heard)])
    moved = other.model(tap.url)
    await ask(moved, user_message("hi"), kept(heard), ToolMessage(answers))
    other.check(tap.asked[1])
    # One provider's signature is never shown to another one, which would refuse it.
    assert ("'signed'" in str(tap.asked[1])) is (wire is other is ANTHROPIC)
    await moved.aclose()


async def test_parallel_calls_stream_their_arguments(
    wire: Wire, model: PydanticAIModel, script: Script
) -> None:
    # The reason is one of a text: what counts are the calls that are there.
    script({"toolCalls": CALLS, "finishReason": "stop"})
    heard = await ask(model)
    assert calls(heard) == {"one": '{"a":1,"b":2}', "two": '{"a":3,"b":4}'}
    pieces = sum(isinstance(chunk, CallArguments) for chunk in heard)
    assert pieces == 2 if wire is GEMINI else pieces > 4  # Gemini sends a call as a whole


async def test_an_image_is_seen(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "A picture."})
    await ask(model, user_message(["What is this?", Image(data=PNG)]))
    wire.check(tap.asked[0])
    assert "iVBORw0KGg" in str(tap.asked[0])  # how a PNG begins in base64


async def test_an_image_that_a_tool_made_is_seen(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "A picture."})
    call = ToolCall(CallId("one"), "add", "{}")
    result = ToolResult(CallId("one"), "add", "drawn", attachments=(Image(data=PNG),))
    await ask(model, user_message("draw"), AssistantMessage((call,)), ToolMessage((result,)))
    wire.check(tap.asked[0])
    assert "iVBORw0KGg" in str(tap.asked[0])


async def test_a_call_that_was_no_json_is_told_again_without_breaking_the_wire(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Sorry."})
    call = ToolCall(CallId("one"), "add", '{"a": ')
    result = ToolResult(CallId("one"), "add", "not JSON", is_error=True)
    await ask(model, user_message("add"), AssistantMessage((call,)), ToolMessage((result,)))
    wire.check(tap.asked[0])
    assert "INVALID_JSON" not in str(tap.asked[0])
    if wire is ANTHROPIC:
        assert "'is_error': True" in str(tap.asked[0])


async def test_the_prompt_is_marked_for_the_cache_where_the_wire_has_marks(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello"})
    await ask(model)
    assert ("cache_control" in str(tap.asked[0])) is (wire is ANTHROPIC)


# -- how it fails --------------------------------------------------------------------------------


async def test_a_rate_limit_is_told_at_once_with_its_seconds(
    model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    error = {"message": "slow down", "type": "rate_limit_error"}
    script({"error": error, "status": 429, "retryAfter": 7})
    with pytest.raises(RateLimitedError) as caught:
        await ask(model)
    assert caught.value.retry_after == 7
    assert len(tap.asked) == 1  # the vendor's client did not try again by itself


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (403, AuthenticationError), (500, ModelUnavailableError)],
)
async def test_an_answer_that_is_an_error_is_one_of_ours(
    model: PydanticAIModel, tap: Tap, script: Script, status: int, kind: type[ModelError]
) -> None:
    script({"error": {"message": "no", "type": "some_error"}, "status": status})
    with pytest.raises(kind):
        await ask(model)
    assert len(tap.asked) == 1


async def test_nobody_there_is_worth_a_retry(wire: Wire) -> None:
    model = wire.model("http://127.0.0.1:9")  # discard: nothing listens there
    with pytest.raises(ModelUnavailableError):
        await ask(model)
    await model.aclose()


async def test_an_error_in_the_middle_ends_the_reply(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello there, friend."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, inject=wire.error)
    heard: list[Chunk] = []
    with pytest.raises(ModelUnavailableError):
        await ask(model, heard=heard)
    assert heard == [TextChunk("Hell")]


async def test_a_broken_connection_is_a_cut_reply(
    model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello there, friend."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, then="break")
    heard: list[Chunk] = []
    with pytest.raises(IncompleteResponseError):
        await ask(model, heard=heard)
    assert heard == [TextChunk("Hell")]


async def test_a_clean_end_in_the_middle_is_a_cut_reply(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"toolCalls": CALLS, "finishReason": "stop"})
    tap.tamper = Tamper(after=half_a_call, edit=without_reason)
    heard: list[Chunk] = []
    with pytest.raises(IncompleteResponseError):
        await ask(model, heard=heard)
    assert any(isinstance(chunk, CallStarted) for chunk in heard)
    assert not any(isinstance(chunk, Finished) for chunk in heard)


def half_a_call(event: bytes) -> bool:
    return b'{\\"a\\"' in event or b"functionCall" in event


def without_reason(event: bytes) -> bytes:
    """Gemini sends a call and the reason of the end in one event."""
    return event.replace(b'"finishReason":"STOP",', b"")


@pytest.mark.parametrize("wire", [CHAT, RESPONSES, ANTHROPIC], ids=lambda wire: wire.name)
async def test_tokens_that_ran_out_in_a_call_are_told(
    model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"toolCalls": CALLS[:1], "finishReason": "length"})
    tap.tamper = Tamper(after=lambda event: False, edit=without_the_last_brace)
    with pytest.raises(ModelError, match="raise max_tokens"):
        await ask(model)


def without_the_last_brace(event: bytes) -> bytes:
    snapshot = b"arguments.done" in event or (b"item.done" in event and b"function_call" in event)
    return b"" if b'"}"' in event or snapshot else incomplete(event, b"max_output_tokens")


def incomplete(event: bytes, reason: bytes) -> bytes:
    """OpenAI's Responses end so; aimock calls the same a completed response."""
    why = b'"status":"incomplete","incomplete_details":{"reason":"%s"}' % reason
    event = event.replace(b'"status":"incomplete"', why).replace(b'"status":"failed"', why)
    return event.replace(b"response.completed", b"response.incomplete") if why in event else event


async def test_a_refusal_is_told_as_one(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Well", "finishReason": "content_filter"})
    tap.tamper = Tamper(after=lambda event: False, edit=refused)
    heard: list[Chunk] = []
    with pytest.raises(SafetyError):
        await ask(model, heard=heard)
    assert text(heard) == "Well"  # what came before it is kept


def refused(event: bytes) -> bytes:
    """aimock knows Gemini's and Chat's way to say it."""
    event = re.sub(b'"stop_reason":"[a-z_]+"', b'"stop_reason":"refusal"', event)
    return incomplete(event, b"content_filter")


async def test_a_conversation_that_is_too_long_is_told_as_that(tap: Tap, script: Script) -> None:
    code = "context_length_exceeded"
    script({"error": {"message": "too long", "type": "x", "code": code}, "status": 400})
    model = CHAT.model(tap.url)
    with pytest.raises(ContextWindowExceededError):
        await ask(model)
    await model.aclose()


async def test_a_call_that_is_cancelled_frees_its_socket(
    model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello there, friend."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, then="stall")
    task = asyncio.create_task(ask(model))
    async with asyncio.timeout(HANG):
        await tap.stalled.wait()
        task.cancel()
        await asyncio.wait({task})
        await tap.hung_up.wait()
    assert task.cancelled()


async def test_a_reply_that_is_left_early_frees_its_socket(
    model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello there, friend."})
    tap.tamper = Tamper(after=lambda event: b"Hell" in event, then="stall")
    request = ModelRequest(instructions="", messages=[user_message("hi")])
    async with asyncio.timeout(HANG):
        async with model.stream(request) as chunks:
            assert await anext(chunks) == TextChunk("Hell")
        await tap.hung_up.wait()


async def test_a_limited_model_is_passed_over_for_one_on_another_wire(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"error": {"message": "slow down"}, "status": 429}, {"content": "Here."})
    other = (CHAT if wire is ANTHROPIC else ANTHROPIC).model(tap.url)
    heard = await ask(FallbackModel(model, other))
    assert text(heard) == "Here."
    assert len(tap.asked) == 2
    await other.aclose()

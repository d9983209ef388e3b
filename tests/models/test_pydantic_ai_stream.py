"""pydantic-ai's events as our chunks: the traps of the library, each with its test."""

# pyright: reportPrivateUsage=false
# The parts of a stream that a provider would build are built as its adapter builds them.

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_ai import exceptions as theirs
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    NativeToolCallPart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaThinkingPart,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RequestUsage

from sidetask.core.errors import (
    AuthenticationError,
    ContextWindowExceededError,
    IncompleteResponseError,
    ModelError,
    ModelUnavailableError,
    RateLimitedError,
    SafetyError,
)
from sidetask.core.messages import user_message
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    Model,
    ModelRequest,
    TextChunk,
    ThinkingChunk,
    ToolSchema,
)
from sidetask.models.pydantic_ai import PydanticAIModel
from sidetask.models.pydantic_ai.errors import Progress
from sidetask.models.pydantic_ai.stream import Translation, chunks, usage

ADD = ToolSchema(name="add", description="Add.", parameters={"type": "object", "properties": {}})
Delta = str | DeltaToolCalls | dict[int, DeltaThinkingPart]


async def read(model: Model, request: ModelRequest | None = None) -> list[Chunk]:
    asked = request or ModelRequest(instructions="", messages=[user_message("hi")], tools=(ADD,))
    async with asyncio.timeout(5), model.stream(asked) as reply:
        return [chunk async for chunk in reply]


def playing(*deltas: Delta | Exception) -> PydanticAIModel:
    async def play(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[Delta]:
        for delta in deltas:
            if isinstance(delta, Exception):
                raise delta
            yield delta

    return PydanticAIModel(FunctionModel(stream_function=play))


@dataclass
class Wire(StreamedResponse):
    """A provider's stream, made of whatever the test says came over the wire."""

    events: Callable[["Wire"], Sequence[Any]] = field(kw_only=True)
    _usage: RequestUsage = field(default_factory=RequestUsage)

    async def _get_event_iterator(self) -> AsyncIterator[Any]:
        for event in self.events(self):
            if isinstance(event, Exception):
                raise event
            yield event

    @property
    def model_name(self) -> str:
        return "gpt-4o"

    @property
    def provider_name(self) -> str:
        return "openai"

    @property
    def provider_url(self) -> str:
        return "https://api.openai.com/v1"

    @property
    def timestamp(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def wire(events: Callable[[Wire], Sequence[Any]], reason: str | None = "stop") -> Wire:
    made = Wire(ModelRequestParameters(), events=events)
    made.provider_details = {"finish_reason": reason} if reason else {}
    made.finish_reason = "stop"  # pydantic-ai makes one up where none came
    return made


async def gathered(reply: AsyncIterator[Chunk], into: list[Chunk]) -> None:
    async for chunk in reply:
        into.append(chunk)


async def taken(response: StreamedResponse) -> list[Chunk]:
    reply = chunks(response, "openai:gpt-4o", Progress(), gives_reason=True)
    return [chunk async for chunk in reply]


def call_of(wire: Wire, args: str | dict[str, Any] | None, index: object = 0) -> list[Any]:
    manager = wire._parts_manager
    event = manager.handle_tool_call_delta(
        vendor_part_id=index, tool_name="add", args=args, tool_call_id=f"c{index}"
    )
    return [event]


# -- what comes ----------------------------------------------------------------------------------


async def test_text_comes_as_it_was_sent() -> None:
    *said, last = await read(playing("Hel", "lo"))
    assert said == [TextChunk("Hel"), TextChunk("lo")]
    assert isinstance(last, Finished)


async def test_thinking_comes_before_the_text_it_led_to() -> None:
    said = await read(playing({0: DeltaThinkingPart(content="hm")}, "Yes."))
    assert said[:2] == [ThinkingChunk("hm"), TextChunk("Yes.")]


async def test_parallel_calls_keep_their_arguments_apart() -> None:
    said = await read(
        playing(
            {0: DeltaToolCall(name="add", json_args='{"a', tool_call_id="x")},
            {1: DeltaToolCall(name="add", json_args='{"b', tool_call_id="y")},
            {0: DeltaToolCall(json_args='": 1}')},
            {1: DeltaToolCall(json_args='": 2}')},
        )
    )
    assert said[:-1] == [
        CallStarted(0, "x", "add"),
        CallArguments(0, '{"a'),
        CallStarted(1, "y", "add"),
        CallArguments(1, '{"b'),
        CallArguments(0, '": 1}'),
        CallArguments(1, '": 2}'),
    ]


async def test_half_an_argument_stays_the_text_it_is() -> None:
    said = await read(playing({0: DeltaToolCall(name="add", json_args='{"a": ')}))
    assert [c.text for c in said if isinstance(c, CallArguments)] == ['{"a": ']


async def test_arguments_that_come_as_a_mapping_are_one_piece_of_json() -> None:
    said = await taken(wire(lambda w: call_of(w, {"a": 1, "ß": None})))
    assert said[:2] == [CallStarted(0, "c0", "add"), CallArguments(0, '{"a": 1, "ß": null}')]


async def test_a_mapping_that_grows_is_told_once() -> None:
    said = await taken(wire(lambda w: [*call_of(w, {"a": 1}), *call_of(w, {"b": 2})]))
    assert [c.text for c in said if isinstance(c, CallArguments)] == ['{"a": 1, "b": 2}']


async def test_a_call_that_begins_twice_is_an_error() -> None:
    def replaced(w: Wire) -> list[Any]:
        part = ToolCallPart("add", "{}", "c1")
        return [w._parts_manager.handle_part(vendor_part_id=0, part=part) for _ in range(2)]

    with pytest.raises(ModelError, match="a second time"):
        await taken(wire(replaced))


async def test_tools_that_ran_at_the_provider_are_ignored_and_their_deltas_too() -> None:
    def searched(w: Wire) -> list[Any]:
        part = NativeToolCallPart("web_search", None, "s1", provider_name="openai")
        manager = w._parts_manager
        return [
            manager.handle_part(vendor_part_id="s", part=part),
            manager.handle_tool_call_delta(vendor_part_id="s", args='{"q": "x"}'),
            *call_of(w, '{"a": 1}'),
        ]

    said = await taken(wire(searched))
    assert said[:-1] == [CallStarted(0, "c0", "add"), CallArguments(0, '{"a": 1}')]


@pytest.mark.parametrize("event", [object(), PartStartEvent(index=0, part=None)])  # type: ignore[arg-type]
def test_events_and_parts_nobody_knows_yet_are_ignored(event: object) -> None:
    assert list(Translation().take(event)) == []


def test_a_delta_for_no_call_of_ours_is_ignored() -> None:
    event = PartDeltaEvent(index=3, delta=ToolCallPartDelta(args_delta="{}"))
    assert list(Translation().take(event)) == []


# -- how it ends ---------------------------------------------------------------------------------


async def test_a_cleanly_cut_stream_is_an_error_and_no_finished_comes() -> None:
    reply = chunks(wire(lambda w: call_of(w, '{"a'), None), "m", Progress(), gives_reason=True)
    said: list[Chunk] = []
    with pytest.raises(IncompleteResponseError):
        await gathered(reply, said)
    assert said == [CallStarted(0, "c0", "add"), CallArguments(0, '{"a')]


async def test_the_models_that_are_no_providers_give_no_reason_and_may() -> None:
    for model in (playing("hi"), PydanticAIModel(TestModel(call_tools=[]))):
        assert isinstance((await read(model))[-1], Finished)


async def test_the_reason_is_told_in_the_providers_words() -> None:
    said = await taken(wire(lambda w: call_of(w, "{}"), "tool_calls"))
    assert isinstance(said[-1], Finished)
    assert said[-1].reason == "tool_calls"


async def test_tokens_that_ran_out_in_the_middle_of_a_call_are_an_error() -> None:
    for args in (None, '{"a"'):
        response = wire(lambda w, args=args: call_of(w, args), "length")
        response.finish_reason = "length"
        with pytest.raises(ModelError, match="raise max_tokens"):
            await taken(response)


async def test_tokens_that_ran_out_after_a_whole_call_are_none() -> None:
    response = wire(lambda w: call_of(w, '{"a": 1}'), "length")
    response.finish_reason = "length"
    assert isinstance((await taken(response))[-1], Finished)


async def test_a_refusal_is_an_error_of_its_own_although_no_reason_comes_with_it() -> None:
    response = wire(lambda w: [], None)
    response.finish_reason = "content_filter"
    response.provider_details = {"refusal": "I won't."}
    with pytest.raises(SafetyError, match="I won't"):
        await taken(response)


async def test_a_reply_that_the_provider_could_not_finish_is_an_error() -> None:
    response = wire(lambda w: [], "MALFORMED_FUNCTION_CALL")
    response.finish_reason = "error"
    with pytest.raises(ModelError, match="MALFORMED_FUNCTION_CALL"):
        await taken(response)


async def test_usage_holds_cached_tokens_and_the_cost() -> None:
    response = wire(lambda w: [])
    response._usage = RequestUsage(input_tokens=1_000, cache_read_tokens=400, output_tokens=10)
    last = (await taken(response))[-1]
    assert isinstance(last, Finished)
    used = last.usage
    assert (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens) == (
        1,
        1_000,
        400,
        10,
    )
    assert 0 < used.usd < 0.01


async def test_a_model_nobody_has_a_price_for_costs_nothing_known() -> None:
    last = (await read(playing("hi")))[-1]
    assert isinstance(last, Finished)
    assert last.usage.usd == 0


# -- errors --------------------------------------------------------------------------------------


def http(kind: Any, status: int, **more: Any) -> Exception:
    return theirs.ModelHTTPError.for_category(kind, status_code=status, model_name="m", **more)


@pytest.mark.parametrize(
    ("raised", "ours", "retryable"),
    [
        (http(theirs.ModelRateLimitError, 429), RateLimitedError, True),
        (http(theirs.ModelUnavailableError, 503), ModelUnavailableError, True),
        (http(theirs.ModelServerError, 500), ModelUnavailableError, True),
        (theirs.ModelConnectionError("m", "refused"), ModelUnavailableError, True),
        (theirs.ModelRequestTimeout("m", 3), ModelUnavailableError, True),
        (http(theirs.ModelAuthenticationError, 401), AuthenticationError, False),
        (http(theirs.ModelContextWindowExceededError, 400), ContextWindowExceededError, False),
        (http(theirs.ModelRequestRejectedError, 422), ModelError, False),
        (http(theirs.ModelQuotaExceededError, 402), ModelError, False),
        (theirs.ContentFilterError("no"), SafetyError, False),
        (theirs.UnexpectedModelBehavior("odd"), ModelError, False),
        (theirs.UserError("this model takes no images"), ModelError, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_providers_error_becomes_ours(
    raised: Exception, ours: type[ModelError], retryable: bool
) -> None:
    with pytest.raises(ModelError) as caught:
        await read(playing(raised))
    assert type(caught.value) is ours
    assert caught.value.retryable is retryable
    assert caught.value.__cause__ is raised


async def test_a_rate_limit_says_when_to_come_back() -> None:
    limit = theirs.ModelRateLimitError("m", "slow down", retry_after=7.0)
    with pytest.raises(RateLimitedError, match="try again in 7 s") as caught:
        await read(playing(limit))
    assert caught.value.retry_after == 7.0


async def test_a_connection_lost_in_the_middle_is_a_cut_reply() -> None:
    said: list[Chunk] = []
    model = playing("Half", theirs.ModelConnectionError("m", "reset"))
    request = ModelRequest(instructions="", messages=[user_message("hi")])
    async with model.stream(request) as reply:
        with pytest.raises(IncompleteResponseError):
            await gathered(reply, said)
    assert said == [TextChunk("Half")]


async def test_leaving_early_closes_the_reply() -> None:
    closed = asyncio.Event()

    async def play(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[str]:
        try:
            for _n in range(1_000):
                yield "x"
        finally:
            closed.set()

    model = PydanticAIModel(FunctionModel(stream_function=play))
    request = ModelRequest(instructions="", messages=[user_message("hi")])
    async with model.stream(request) as reply:
        await anext(reply)
    async with asyncio.timeout(5):
        await closed.wait()


def test_a_finished_response_without_a_price_is_still_counted() -> None:
    assert usage(ModelResponse(parts=[TextPart("hi")])).requests == 1

import asyncio

import pytest

from sidetask.core.ids import CallId, TaskId
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    Notification,
    NotificationMessage,
    Text,
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
    Model,
    ModelRequest,
    TextChunk,
    ToolSchema,
)
from sidetask.models.human import HumanModel, SeatError

SAY = ToolSchema(
    name="say",
    description="",
    parameters={
        "type": "object",
        "properties": {"text": {"type": "string"}, "times": {"type": "integer"}},
    },
)
CALL = ToolCall(CallId("you-1"), "say", '{"text": "a"}')
ANSWERED: list[Message] = [
    user_message("say a"),
    AssistantMessage((CALL,)),
    ToolMessage((ToolResult(CALL.id, "say", "a"),)),
]
LATE = NotificationMessage((Notification(TaskId("task-1"), (CALL.id,), "say", "succeeded", "a"),))


async def turn(model: Model, *messages: Message) -> list[Chunk]:
    request = ModelRequest(instructions="", messages=messages, tools=(SAY,))
    async with asyncio.timeout(5), model.stream(request) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_line_becomes_calls_as_a_model_writes_them() -> None:
    assert await turn(HumanModel(), user_message("say times=2 text='a b'; say c")) == [
        CallStarted(0, "you-1", "say"),
        CallArguments(0, '{"times": 2, "text": "a b"}'),
        CallStarted(1, "you-2", "say"),
        CallArguments(1, '{"text": "c"}'),
        Finished("tool_calls"),
    ]


async def test_ids_go_on_from_turn_to_turn() -> None:
    model = HumanModel()
    await turn(model, user_message("say a"))
    assert CallStarted(0, "you-2", "say") in await turn(model, user_message("say a"))


async def test_a_new_seat_skips_the_ids_of_an_older_history() -> None:
    chunks = await turn(HumanModel(), *ANSWERED, user_message("say b"))
    assert chunks[0] == CallStarted(0, "you-2", "say")


async def test_a_text_reply_is_text() -> None:
    assert await turn(HumanModel(), user_message("> hello; say a")) == [
        TextChunk("hello; say a"),
        Finished(),
    ]


@pytest.mark.parametrize(
    "history",
    [ANSWERED, [*ANSWERED, LATE], [*ANSWERED, AssistantMessage((Text("ok"),)), LATE], []],
    ids=["results", "results and notifications", "notifications", "nothing"],
)
async def test_with_nothing_written_the_turn_is_yielded(history: list[Message]) -> None:
    assert await turn(HumanModel(), *history) == [Finished()]


async def test_an_empty_statement_yields_the_turn() -> None:
    assert await turn(HumanModel(), user_message(";")) == [Finished()]


async def test_all_that_was_written_since_the_last_reply_is_said() -> None:
    history = [*ANSWERED, user_message("say b"), user_message("> one"), LATE, user_message("> two")]
    assert await turn(HumanModel(), *history) == [
        CallStarted(0, "you-2", "say"),
        CallArguments(0, '{"text": "b"}'),
        TextChunk("one"),
        TextChunk("\ntwo"),
        Finished("tool_calls"),
    ]


async def test_a_line_that_means_nothing_fails_the_turn_and_says_what_there_is() -> None:
    with pytest.raises(SeatError, match="no tool 'sya': did you mean say"):
        await turn(HumanModel(), user_message("sya a"))


async def test_a_refused_line_is_not_said_again_with_the_next_one() -> None:
    model, good, bad = HumanModel(), user_message("say good"), user_message("nonsense")
    with pytest.raises(SeatError):
        await turn(model, good, bad)
    assert await turn(model, good, bad, user_message("> next")) == [TextChunk("next"), Finished()]


async def test_the_same_mistake_is_refused_every_time() -> None:
    model, first, second = HumanModel(), user_message("nonsense"), user_message("nonsense")
    with pytest.raises(SeatError):
        await turn(model, first)
    with pytest.raises(SeatError):
        await turn(model, first, second)


async def test_what_stands_behind_the_history_is_no_line_of_the_users() -> None:
    request = ModelRequest(
        instructions="", messages=(user_message("> hi"),), tools=(SAY,), tail="say pay"
    )
    async with HumanModel().stream(request) as chunks:
        assert [chunk async for chunk in chunks] == [TextChunk("hi"), Finished("stop")]

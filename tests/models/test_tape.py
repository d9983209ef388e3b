"""Tapes: what is recorded is played to who asks the same; who does not, hears what differs."""

# ruff: noqa: ASYNC240 - the files have some bytes

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.harness import beside

from sidetask import Agent, Runtime, tool
from sidetask.core.errors import (
    AuthenticationError,
    ConfigurationError,
    IncompleteResponseError,
    ModelError,
    RateLimitedError,
    TapeError,
    TapeMismatchError,
)
from sidetask.core.ids import CallId
from sidetask.core.jsons import Json
from sidetask.core.messages import Image, Message, ToolMessage, ToolResult, user_message
from sidetask.core.usage import Price, Usage
from sidetask.models.base import Chunk, Finished, Model, ModelRequest, ThinkingChunk, ToolSchema
from sidetask.models.tape import RecordingModel, TapeModel, read_tape
from sidetask.models.tape.recording import BUFFER, HISTORIES
from sidetask.testing import ScriptedModel, VirtualClock, call, cut, reply, stall

SCHEMA: dict[str, Json] = {"type": "object", "properties": {"site": {"type": "string"}}}
DIG = ToolSchema(name="dig", description="Dig.", parameters=SCHEMA)
DONE = Finished("stop", Usage(requests=1, input_tokens=7, output_tokens=2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tape"


def asked(*said: str | Message, **more: Any) -> ModelRequest:
    messages = [user_message(each) if isinstance(each, str) else each for each in said]
    return replace(ModelRequest(instructions="Be brief.", messages=messages), **more)


async def heard(model: Model, request: ModelRequest) -> list[Chunk]:
    async with model.stream(request) as chunks:
        return [chunk async for chunk in chunks]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- there and back ------------------------------------------------------------------------------


async def test_what_was_recorded_is_played_chunk_by_chunk_with_its_errors(path: Path) -> None:
    thought = ThinkingChunk("hm", "signed")
    script = (
        reply(thought, "Let me ", "see. \ud83d", call("dig", site="ä"), DONE),
        RateLimitedError("later", 30.0),
        AuthenticationError("no key"),
        KeyError("mine"),
        reply("half", ModelError("broken")),
        cut("cut"),
    )
    recording = RecordingModel(ScriptedModel(*script), path)
    request = asked("Hi.", user_message(["see", Image(data=b"\x00")]), tools=(DIG,))
    outcomes: list[object] = []

    async def outcome(model: Model, number: int) -> object:
        try:
            return await heard(model, replace(request, tail=str(number)))
        except (ModelError, KeyError) as error:
            return error

    outcomes = [await outcome(recording, number) for number in range(6)]
    tape = TapeModel(path)
    played = [await outcome(tape, number) for number in range(6)]
    assert played[0] == outcomes[0]
    assert isinstance(played[1], RateLimitedError)
    assert played[1].retry_after == 30.0
    assert str(played[1]) == str(outcomes[1])
    assert isinstance(played[2], AuthenticationError)
    assert str(played[3]) == "KeyError: 'mine'"
    assert isinstance(played[4], ModelError)
    assert played[5] == outcomes[5]
    assert tape.left == 0
    assert (tape.name, recording.name) == ("scripted", "scripted")


async def test_a_conversation_with_tools_is_played_without_its_model(path: Path) -> None:
    @tool
    async def dig(site: str) -> str:
        """Dig somewhere."""
        return f"{site} is deep"

    async def talk(model: Model) -> list[str]:
        async with Runtime(clock=VirtualClock()) as runtime:
            chat = await runtime.open(Agent(model, tools=[dig]))
            return [str(await chat.ask("How deep is a?")), str(await chat.ask("Thanks."))]

    script = call("dig", site="a"), "Very.", "Welcome."
    told = await talk(RecordingModel(ScriptedModel(*script), path))
    assert await talk(TapeModel(path)) == told == ["Very.", "Welcome."]


async def test_a_tape_has_the_window_and_the_price_of_its_model(path: Path) -> None:
    price = Price(input=2.0, output=8.0)
    live = ScriptedModel("Hello.", context_window=8_000, price=price)
    await heard(RecordingModel(live, path), asked("Hi."))
    tape = TapeModel(path)
    assert (tape.context_window, tape.price) == (8_000, price)


async def test_a_reply_comes_as_fast_as_it_came_or_as_is_said(path: Path) -> None:
    pause = asyncio.Event()
    loop = asyncio.get_running_loop()
    recording = RecordingModel(ScriptedModel(reply("a", pause, "b")), path)
    recorded = await beside(heard(recording, asked("Hi.")))
    await asyncio.sleep(8)
    pause.set()
    await recorded
    for speed, seconds in ((None, 0), (1.0, 8), (4.0, 2)):
        began = loop.time()
        await heard(TapeModel(path, speed=speed), asked("Hi."))
        assert loop.time() - began == pytest.approx(seconds, abs=0.01)
    with pytest.raises(ConfigurationError):
        TapeModel(path, speed=0)


async def test_a_reply_that_its_reader_left_ends_there_when_it_is_played(path: Path) -> None:
    recording = RecordingModel(ScriptedModel(stall("I am"), "Well."), path)
    async with recording.stream(asked("Hi.")) as chunks:
        await anext(chunks)
    assert read_tape(path)[0].end == "left"
    async with Runtime(clock=VirtualClock()) as runtime:
        chat = await runtime.open(Agent(TapeModel(path, strict=False)))
        with pytest.raises(IncompleteResponseError):
            await chat.ask("Hi.")


# -- which reply ---------------------------------------------------------------------------------


async def test_requests_may_come_in_any_order_and_equal_ones_in_that_of_the_tape(
    path: Path,
) -> None:
    recording = RecordingModel(ScriptedModel("one", "two", "two again"), path)
    for said in ("1", "2", "2"):
        await heard(recording, asked(said))
    tape = TapeModel(path)
    texts = [(await heard(tape, asked(said)))[0] for said in ("2", "1", "2")]
    assert [getattr(chunk, "text", "") for chunk in texts] == ["two", "one", "two again"]
    with pytest.raises(TapeMismatchError, match="it has 3 replies, and all were played"):
        await heard(tape, asked("1"))


async def test_a_request_that_was_not_recorded_is_refused_and_told_what_differs(
    path: Path,
) -> None:
    answer = ToolMessage((ToolResult(CallId("call-1"), "dig", "12 m deep"),))
    settings: dict[str, Json] = {"temperature": 0}
    given = asked("Hi.", answer, tools=(DIG,), settings=settings)
    await heard(RecordingModel(ScriptedModel("Hello."), path), given)

    async def told(request: ModelRequest) -> list[str]:
        with pytest.raises(TapeMismatchError) as error:
            await heard(TapeModel(path), request)
        assert error.value.call == 1
        return list(error.value.differences)

    other = ToolMessage((ToolResult(CallId("call-1"), "dig", "13 m deep"),))
    assert await told(replace(given, messages=(given.messages[0], other))) == [
        "messages[1].results[0].content: '12 m deep' became '13 m deep'"
    ]
    assert await told(replace(given, messages=given.messages[:1])) == ["messages: 2 became 1"]
    assert await told(replace(given, tools=(), settings={"temperature": 1, "seed": 3})) == [
        "tools.dig is missing now",
        "settings.temperature: 0 became 1",
        "settings.seed is new: 3",
    ]
    assert await told(replace(given, instructions="Be long.", tail="Now.")) == [
        "instructions: 'Be brief.' became 'Be long.'",
        "tail: '' became 'Now.'",
    ]
    many = asked(*[str(number) for number in range(9)])
    assert (await told(many))[-1] == "and more"


async def test_one_that_is_not_strict_plays_the_next_whatever_it_is_asked(path: Path) -> None:
    await heard(RecordingModel(ScriptedModel("Hello."), path), asked("Hi."))
    chunks = await heard(TapeModel(path, strict=False), asked("Something else."))
    assert getattr(chunks[0], "text", "") == "Hello."


# -- the file ------------------------------------------------------------------------------------


async def test_messages_are_written_once_and_a_longer_history_costs_what_is_new(
    path: Path,
) -> None:
    recording = RecordingModel(ScriptedModel("x", loop=True), path)
    history: list[Message] = []
    for number in range(50):
        history.append(user_message(f"message {number}"))
        await heard(recording, asked(*history, tools=(DIG,)))
    written = lines(path)
    assert len([each for each in written if "message" in each]) == 50
    assert len([each for each in written if "part" in each and "tools" in each]) == 1
    assert max(len(each["messages"]) for each in written if "messages" in each) == 1
    calls = read_tape(path)
    assert [len(each.request.messages) for each in calls] == list(range(1, 51))
    assert list(calls[-1].request.messages) == history


async def test_what_is_remembered_of_conversations_is_bounded(path: Path) -> None:
    recording = RecordingModel(ScriptedModel("x", loop=True), path)
    for number in range(HISTORIES + 5):
        await heard(recording, asked(f"conversation {number}"))
    assert len(recording._histories) == HISTORIES  # pyright: ignore[reportPrivateUsage]


async def test_conversations_side_by_side_are_kept_apart(path: Path) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    recording = RecordingModel(ScriptedModel(reply("a", first, "b"), reply("c", second, "d")), path)
    one = await beside(heard(recording, asked("1")))
    two = await beside(heard(recording, asked("2")))
    second.set()
    await two
    first.set()
    await one
    tape = TapeModel(path)
    assert await heard(tape, asked("2")) == await two
    assert await heard(tape, asked("1")) == await one


async def test_a_tape_that_is_there_is_added_to_and_is_its_owner_s_alone(path: Path) -> None:
    await heard(RecordingModel(ScriptedModel("one"), path), asked("1"))
    await heard(RecordingModel(ScriptedModel("two"), path), asked("1"))
    assert [len(each.chunks) for each in read_tape(path)] == [2, 2]
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


async def test_secrets_in_settings_are_not_recorded_and_do_not_matter(path: Path) -> None:
    secrets: dict[str, Json] = {
        "api_key": "s3cret",
        "extra_headers": {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "X-Team": "a"},
        "max_tokens": 5,
        "servers": [{"url": "https://a", "auth_token": "s3cret"}],
    }
    await heard(RecordingModel(ScriptedModel("Hello."), path), asked("Hi.", settings=secrets))
    assert "s3cret" not in path.read_text()
    assert read_tape(path)[0].request.settings == {
        "extra_headers": {"X-Team": "a"},
        "max_tokens": 5,
        "servers": [{"url": "https://a"}],
    }
    assert await heard(TapeModel(path), asked("Hi.", settings={**secrets, "api_key": "other"}))


async def test_a_line_that_was_cut_is_skipped_and_added_to_in_a_line_of_its_own(
    path: Path,
) -> None:
    await heard(RecordingModel(ScriptedModel("one"), path), asked("1"))
    whole = path.read_text()
    path.write_text(whole[:-9])
    [lost] = read_tape(path)
    assert lost.end == "lost"
    await heard(RecordingModel(ScriptedModel("two"), path), asked("2"))
    assert [each.end for each in read_tape(path)] == ["lost", "finished"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("hello\n", "line 1: it is no tape, or this line is damaged: not JSON"),
        ('{"name": "x"}\n', "line 1: it is no tape: it does not begin with one's first line"),
        ("[1]\n", "line 1: it is no tape, or this line is damaged: no JSON object"),
        ('{"tape": 2, "session": "s", "model": "m"}\n', "version 2 is newer than 1"),
    ],
)
async def test_a_file_that_is_no_tape_is_refused_and_left_alone(
    path: Path, text: str, why: str
) -> None:
    path.write_text(text)
    with pytest.raises(TapeError, match=f"a.tape.*{why}"):
        TapeModel(path)
    if text:
        with pytest.raises(TapeError):
            RecordingModel(ScriptedModel(), path)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"Hello."', '"Hel', "not JSON"),
        ('"type": "text"', '"type": "song"', "kind that is not known"),
        ('"text": "Hello."', '"txt": 1', "lacks text"),
        ('"call": "', '"call": "z', "is missing"),
    ],
)
async def test_a_damaged_tape_says_in_which_line(path: Path, old: str, new: str, why: str) -> None:
    await heard(RecordingModel(ScriptedModel("Hello."), path), asked("Hi."))
    written = path.read_text().splitlines(keepends=True)
    [at] = [number for number, line in enumerate(written) if "Hello." in line]
    written[at] = written[at].replace(old, new)
    path.write_text("".join(written))
    with pytest.raises(TapeError, match=f"line {at + 1}: .*{why}") as told:
        read_tape(path)
    assert told.value.line == at + 1


def test_a_tape_that_is_not_there_and_one_that_is_no_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="No such file"):
        TapeModel(tmp_path / "none.tape")
    with pytest.raises(TapeError, match=r"directory|No such file"):
        RecordingModel(ScriptedModel(), tmp_path / "no" / "where.tape")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(TapeError, match="not even text"):
        read_tape(tmp_path / "bytes")


async def test_a_tape_that_can_be_written_no_more_ends_and_the_conversation_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = RecordingModel(ScriptedModel("one", "two"), path)
    path.unlink()
    path.mkdir()
    assert await heard(recording, asked("1"))
    assert await heard(recording, asked("2"))
    assert isinstance(recording.error, OSError)
    assert len([each for each in caplog.records if "recorded no further" in each.message]) == 1


async def test_what_is_no_json_ends_the_recording_and_nothing_else(path: Path) -> None:
    recording = RecordingModel(
        ScriptedModel(reply("a", Finished("s", Usage(usd=float("nan"))))), path
    )
    assert len(await heard(recording, asked("1"))) == 2
    assert recording.error is not None


async def test_a_cancelled_reader_is_cancelled_and_what_came_is_on_the_tape(path: Path) -> None:
    recording = RecordingModel(ScriptedModel(stall("I am")), path)
    reading = await beside(heard(recording, asked("Hi.")))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    [recorded] = read_tape(path)
    assert (recorded.end, len(recorded.chunks)) == ("left", 1)


async def test_a_long_reply_is_not_kept_in_memory(path: Path) -> None:
    begun = asyncio.Event()
    pieces = ["x" * 1000] * (BUFFER // 1000 + 10)
    recording = RecordingModel(ScriptedModel(reply(*pieces, begun)), path)

    async def read() -> AsyncGenerator[Chunk]:
        async with recording.stream(asked("Hi.")) as chunks:
            async for chunk in chunks:
                yield chunk

    async with aclosing(read()) as chunks:
        for _ in pieces:
            await anext(chunks)
        assert path.stat().st_size > BUFFER

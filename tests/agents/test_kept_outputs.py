"""Outputs that are too long for the model: cut, kept whole, and read on."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.harness import Talk, talking

from sidetask import Agent, tool
from sidetask.agents.tools.kept import _fitting  # pyright: ignore[reportPrivateUsage]
from sidetask.agents.tools.outputs import MAX_BYTES, MAX_LINES, cut
from sidetask.core.errors import StoreUnavailableError, ToolError
from sidetask.core.messages import Message, ToolMessage
from sidetask.models.base import ModelRequest
from sidetask.models.scripted import Reply
from sidetask.stores.base import Record
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call

MARK = re.compile(r'\[\.\.\. [\d,]+ bytes(?:, [\d,]+ lines)? left out: read_output\(id="(.+)", ')
BOOK = "\n".join([f"{n}: what stands in line {n}" for n in range(5_000)])


@tool
async def read_book() -> str:
    """Read a book."""
    return BOOK


@tool
async def fail_at_length() -> str:
    """Fail."""
    raise ToolError(BOOK)


@tool
async def list_all() -> list[int]:
    """List."""
    return list(range(30_000))


def _last(messages: Sequence[Message]) -> str:
    """The last answer to a call."""
    answers = [message for message in messages if isinstance(message, ToolMessage)]
    return answers[-1].results[-1].content


def _answers(talk: Talk) -> list[str]:
    return [answer.content for answer in talk.answers()]


async def test_a_long_output_keeps_head_and_tail_and_tells_how_to_read_on() -> None:
    async with talking(call("read_book"), "I see.", tools=[read_book]) as talk:
        await talk.chat.ask("go")
        [content] = _answers(talk)
        assert content.startswith("0: what stands in line 0\n")
        assert content.endswith("4999: what stands in line 4999")
        assert len(content.encode()) <= MAX_BYTES
        [task_id] = MARK.findall(content)
        assert task_id == "task-1"


@pytest.mark.parametrize("name", ["read_book", "fail_at_length"])
async def test_the_whole_text_can_be_read_on_piece_by_piece(name: str) -> None:
    """A model that does what it is told, from the place where the head ends."""
    pieces: list[str] = []

    def read_on(request: ModelRequest) -> Reply:
        content = _last(request.messages)
        if pieces or "left out" not in content:
            pieces.append(content.rpartition("\n[")[0])
        told = re.search(r"offset=(\d+)", content)
        if told is None:
            return "I have read it."
        return call("read_output", id="task-1", offset=int(told[1]), limit=40_000)

    def begin(request: ModelRequest) -> Reply:
        pieces.append("")
        return read_on(request)

    script = [call(name), begin, *[read_on] * 20]
    async with talking(*script, tools=[read_book, fail_at_length]) as talk:
        assert (await talk.chat.ask("go")).text == "I have read it."
        first = _answers(talk)[0]
        head = first[: first.index("\n[...")]
        assert head + "".join(pieces[2:]) == BOOK
        assert not any("left out" in content for content in _answers(talk)[1:])


async def test_json_is_read_on_as_text() -> None:
    script = (call("list_all"), call("read_output", id="task-1", offset=100, limit=20), "ok")
    async with talking(*script, tools=[list_all]) as talk:
        await talk.chat.ask("go")
        text = str(list(range(30_000)))
        more = len(text) - 120
        assert _answers(talk)[1] == (
            f"{text[100:120]}\n[... {more:,} more letters: go on with offset=120 ...]"
        )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"id": "task-9"}, "no output 'task-9' is kept"),
        ({"id": "task-1", "offset": 9_999_999}, "nothing begins at 9,999,999"),
        ({"id": "task-1", "offset": -1}, "offset is a whole number from 0 on"),
        ({"id": "task-1", "offset": True}, "offset is a whole number"),
        ({"id": "task-1", "limit": 0}, "limit is a whole number from 1 on"),
        ({}, "no output ''"),
    ],
)
async def test_what_cannot_be_read_is_told(arguments: dict[str, Any], problem: str) -> None:
    script = (call("read_book"), call("read_output", **arguments), "ok")
    async with talking(*script, tools=[read_book]) as talk:
        await talk.chat.ask("go")
        assert problem in _answers(talk)[1]
        assert talk.answers()[1].is_error


async def test_conversations_do_not_read_each_others_outputs() -> None:
    async with talking(call("read_book"), "ok", tools=[read_book]) as talk:
        await talk.chat.ask("go")
        model = ScriptedModel(call("read_output", id="task-1"), "ok")
        async with talk.runtime.open(Agent(model, tools=[read_book])) as other:
            await other.ask("go")
            assert "no output 'task-1' is kept" in _last(other.history())


async def test_the_tool_is_there_from_the_start_so_that_the_prompt_stays_the_same() -> None:
    async with talking(call("read_book"), "I see.", tools=[read_book]) as talk:
        await talk.chat.ask("go")
        one, two = talk.model.requests
        assert one.tools == two.tools
        assert [schema.name for schema in one.tools] == ["read_book", "read_output"]
    async with talking("Hello.") as talk:
        await talk.chat.ask("hi")
        assert talk.model.requests[0].tools == ()


async def test_a_store_that_does_not_take_it_costs_the_rest_and_not_the_call() -> None:
    class Full(MemoryStore):
        def put(self, record: Record[Any]) -> None:
            raise StoreUnavailableError("the disk is full", "make room")

    script = (call("read_book"), "I see.")
    async with talking(*script, tools=[read_book], runtime={"store": Full()}) as talk:
        await talk.chat.ask("go")
        assert "lines left out ...]" in _answers(talk)[0]
        assert not talk.answers()[0].is_error


def test_an_id_that_is_too_long_for_the_line_is_not_told() -> None:
    assert cut(BOOK, lambda _: "x" * 500) == cut(BOOK)
    assert len(cut(BOOK, lambda _: "x" * 40).encode()) <= MAX_BYTES


@pytest.mark.slow
@settings(max_examples=50)
@given(st.text(max_size=50), st.sampled_from([1, 999, 3_001]))
def test_a_piece_that_is_read_is_never_cut_again(text: str, times: int) -> None:
    piece = _fitting((text * times)[:40_000])
    line = "\n[... 1,999,999 more letters: go on with offset=1999999 ...]"
    assert (text * times).startswith(piece)
    assert cut(piece + line) == piece + line
    assert piece.count("\n") < MAX_LINES

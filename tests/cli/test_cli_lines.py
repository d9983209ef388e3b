"""A chat without a terminal, on a virtual clock: what is printed, and how it ends."""

import asyncio
import json
import os

import pytest

from sidetask import Agent
from sidetask.cli.lines import Lines, Manner, OneLine, hold
from sidetask.core.codec import event_from_json
from sidetask.core.events import Event, RunCompleted
from sidetask.models.scripted import ScriptedModel, call
from sidetask.testing import VirtualClock
from tests.cli.kitchen import Said, agent, bake, hotel
from tests.limits import HANG

Capture = pytest.CaptureFixture[str]


async def test_lines_are_turns_and_blank_ones_and_comments_are_not(capsys: Capture) -> None:
    assert await hold(agent, Said("# comment", "", "  ", "> one", "> two"), Manner()) == 0
    assert capsys.readouterr().out.splitlines() == ["❯ > one", "one", "", "❯ > two", "two"]  # noqa: RUF001


async def test_a_line_that_says_quit_ends_the_input_and_what_runs_is_waited_for(
    capsys: Capture,
) -> None:
    slow = Agent("you", tools=[bake])
    said = Said("bake cake seconds=7", "/quit", "> never")
    assert await hold(slow, said, Manner(approve=True)) == 0
    out = capsys.readouterr().out
    assert "baked cake" in out
    assert "never" not in out


async def test_a_refused_line_does_not_stop_the_rest_and_makes_the_exit_code_1(
    capsys: Capture,
) -> None:
    assert await hold(agent, Said("nope", "> after"), Manner()) == 1
    assert "after" in capsys.readouterr().out.splitlines()


async def test_a_question_without_a_terminal_is_denied_and_said_so(capsys: Capture) -> None:
    assert await hold(agent, OneLine("bake cake"), Manner()) == 0
    said = capsys.readouterr()
    assert said.err == ("sidetask: denied, as there is nobody to ask (--yes approves): bake cake\n")
    assert "The call was denied: there is nobody to ask." in said.out


async def test_a_question_in_the_background_is_answered_before_the_end(capsys: Capture) -> None:
    slow = Agent("you", tools=[bake])
    assert await hold(slow, Said("bake cake seconds=7", "> on"), Manner(approve=True)) == 0
    assert capsys.readouterr().out.endswith("baked cake\n  │ </task-result>\n")


async def test_what_an_agent_below_asks_is_shown_as_its_and_answered(capsys: Capture) -> None:
    said = Said("cook input=cake", "later input=cake")
    assert await hold(hotel(), said, Manner(approve=True)) == 0
    out = capsys.readouterr().out
    assert "? approval-1  task-2 of cook asks to run bake\n  what: cake" in out
    assert "? approval-2  task-4 of cook asks to run bake\n" in out
    assert out.count("It is baked.") == 2


async def test_what_an_agent_below_asks_is_denied_where_there_is_nobody(capsys: Capture) -> None:
    assert await hold(hotel(), OneLine("cook input=cake"), Manner()) == 0
    said = capsys.readouterr()
    assert (
        "denied, as there is nobody to ask (--yes approves): bake what=cake seconds=0" in said.err
    )
    assert "approval-1 denied by sidetask: there is nobody to ask" in said.out


async def test_the_end_of_the_time_stops_what_runs_and_tells_it(
    capsys: Capture, clock: VirtualClock
) -> None:
    assert await hold(agent, Said("stir"), Manner(timeout=3), clock=clock) == 1
    said = capsys.readouterr()
    assert "sidetask: not done within 3 s\n" in said.err
    assert "sidetask: stopping ● task-1 stir  0:03" in said.err


async def test_json_is_one_event_a_line_that_the_codec_reads_back(capsys: Capture) -> None:
    assert await hold(agent, Said("bake cake"), Manner(approve=True, as_json=True)) == 0
    events: list[Event] = [
        event_from_json(json.loads(line)) for line in capsys.readouterr().out.splitlines()
    ]
    facts = [event.seq for event in events if not event.live]
    assert facts == list(range(1, len(facts) + 1))
    assert isinstance(events[-1], RunCompleted)


async def test_one_shot_prints_the_answers_alone_late_ones_too(capsys: Capture) -> None:
    model = ScriptedModel(call("bake", what="cake"), "It is in the \x1b[1moven.", "Here it is.")
    manner = Manner(approve=True, answers_only=True)
    assert await hold(Agent(model, tools=[bake]), OneLine("a cake"), manner) == 0
    assert capsys.readouterr().out == "It is in the oven.\nHere it is.\n"


async def test_one_shot_tells_a_failed_turn_on_standard_error(capsys: Capture) -> None:
    model = ScriptedModel(RuntimeError("no flour"))
    assert await hold(Agent(model), OneLine("a cake"), Manner(answers_only=True)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sidetask: the turn failed: ModelError: ")


class TestLines:
    """Reading a descriptor, on the real event loop."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_lines_come_whole_whatever_the_pieces(self) -> None:
        reading, writing = os.pipe()
        lines = Lines(reading)
        first = asyncio.ensure_future(anext(lines))
        os.write(writing, b"\xef\xbb\xbfon")
        os.write(writing, "e\r\ntwö\n\xff".encode("latin-1"))
        assert await asyncio.wait_for(first, HANG) == "one"
        os.write(writing, b"three")
        os.close(writing)
        assert [line async for line in lines] == ["tw\ufffd", "\ufffdthree"]
        os.close(reading)

    async def test_a_descriptor_that_cannot_be_read_is_an_empty_input(self) -> None:
        directory = os.open("/", os.O_RDONLY)
        assert [line async for line in Lines(directory)] == []
        os.close(directory)

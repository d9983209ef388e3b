"""Which events are shown, and in which order they read."""

import pytest

from sidetask import Agent
from sidetask.cli.lines import CLOCK, Manner, hold
from sidetask.cli.view.transcript import Transcript
from sidetask.core.events import AssistantMessageCommitted, Lagged, TaskDetached, TextDelta
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.messages import AssistantMessage, Text
from sidetask.models.scripted import ScriptedModel, cut, reply
from sidetask.tasks.aio.clock import Clock
from sidetask.testing import VirtualClock
from tests.cli.kitchen import Said, agent

Capture = pytest.CaptureFixture[str]
HERE = ConversationId("c")


async def shown(
    agent: Agent, *lines: str, capsys: Capture, approve: bool = True, clock: Clock = CLOCK
) -> list[str]:
    """What is printed of turns with these lines; blank lines left out."""
    await hold(agent, Said(*lines), Manner(approve=approve), clock=clock)
    return [line for line in capsys.readouterr().out.splitlines() if line]


async def test_a_call_its_receipt_and_the_late_result_read_as_a_conversation(
    capsys: Capture, clock: VirtualClock
) -> None:
    assert await shown(agent, "bake cake", "> meanwhile", capsys=capsys, clock=clock) == [
        "❯ bake cake",  # noqa: RUF001
        '→ bake {"what": "cake"}  you-1',
        "? approval-1  task-1 asks to run bake",
        "  what: cake",
        "approval-1 approved by --yes",
        "← bake  you-1",
        "  │ Running in the background as task-1. Its result will follow by itself.",
        "❯ > meanwhile",  # noqa: RUF001
        "meanwhile",
        "● task-1 bake succeeded after 20 s",
        "✉ bake  task-1",
        '  │ <task-result task="task-1" tool="bake" status="succeeded">',
        "  │ baked cake",
        "  │ </task-result>",
    ]


async def test_a_refused_line_and_a_denied_call_say_why(capsys: Capture) -> None:
    lines = await shown(agent, "bkae cake", "bake cake", capsys=capsys, approve=False)
    assert lines[1].startswith("✗ refused: no tool 'bkae': did you mean bake?")
    assert lines[-3:] == [
        "approval-1 denied by sidetask: there is nobody to ask",
        "✗ bake  you-1",
        "  │ The call was denied: there is nobody to ask.",
    ]


async def test_the_details_of_a_question_in_a_tools_body_are_shown(capsys: Capture) -> None:
    assert "  degrees: 300" in await shown(agent, "heat", capsys=capsys)


async def test_a_reply_that_is_cut_keeps_its_text_and_says_so(capsys: Capture) -> None:
    model = ScriptedModel(cut("I was about", " to say"))
    lines = await shown(Agent(model), "hi", capsys=capsys)
    assert lines[1:] == [
        "I was about to say",
        "… the reply was cut here",
        "✗ the turn failed: IncompleteResponseError:"
        " the stream of scripted ended in the middle; nothing of it was run",
    ]


async def test_a_reply_is_told_line_by_line_as_it_comes(capsys: Capture) -> None:
    model = ScriptedModel(reply("one\ntw", "o\n\nthree", " and a bit\nfo", "ur"))
    lines = await shown(Agent(model), "count", capsys=capsys)
    assert lines[1:] == ["one", "two", "three and a bit", "four"]


def delta(text: str) -> TextDelta:
    return TextDelta(seq=1, at=0.0, conversation_id=HERE, index=1, text=text)


def test_text_that_was_streamed_is_not_told_again() -> None:
    transcript = Transcript()
    told = transcript.lines(delta("one\ntwo"))
    assert [line.plain for line in told] == ["one"]
    whole = AssistantMessageCommitted(
        seq=2, at=0.0, conversation_id=HERE, message=AssistantMessage((Text("one\ntwo\nthree"),))
    )
    assert [line.plain for line in transcript.lines(whole)] == ["two\nthree"]


def test_events_that_came_too_fast_are_told_by_number() -> None:
    told = Transcript().lines(Lagged(1_200))
    assert [line.plain for line in told] == ["… 1,200 events came too fast to be shown …"]


def test_what_only_a_program_wants_to_know_is_not_shown() -> None:
    event = TaskDetached(
        seq=1,
        at=0.0,
        conversation_id=HERE,
        task_id=TaskId("task-1"),
        call_id=CallId("1"),
        name="bake",
        reason="timer",
    )
    assert Transcript().lines(event) == []

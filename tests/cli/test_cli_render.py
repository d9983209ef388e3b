"""Lines to read: harmless to a terminal, whole where a person agrees, short elsewhere."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.cli.view import render
from sidetask.core.events import (
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskEnded,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from sidetask.core.ids import ApprovalId, CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import Image, Notification, ToolCall, ToolResult
from sidetask.core.routing import DEFAULT_POLICY, TaskKind
from sidetask.tasks.values import Progress, TaskSnapshot


def snapshot(
    status: TaskStatus = TaskStatus.RUNNING,
    *,
    arguments: str = '{"what": "cake"}',
    progress: Progress | None = None,
    error: str | None = None,
) -> TaskSnapshot:
    return TaskSnapshot(
        id=TaskId("task-1"),
        conversation_id=ConversationId("c"),
        turn_id=None,
        call_ids=(CallId("you-1"),),
        parent_id=None,
        name="bake",
        arguments=arguments,
        kind=TaskKind.BACKGROUND,
        detached=False,
        status=status,
        attempt=1,
        policy=DEFAULT_POLICY,
        created_at=100.0,
        started_at=None if status is TaskStatus.QUEUED else 102.0,
        finished_at=110.5,
        progress=progress,
        error=error,
        metadata={},
    )


def asked(arguments: str, *, reason: str = "bake asks before it runs") -> ApprovalRequested:
    return ApprovalRequested(
        seq=1,
        at=0.0,
        conversation_id=ConversationId("c"),
        task_id=TaskId("task-1"),
        call_id=CallId("you-1"),
        name="bake",
        approval_id=ApprovalId("approval-1"),
        arguments=arguments,
        reason=reason,
        metadata={},
        summary="bake: cake",
    )


def plain(lines: list[render.Text]) -> str:
    return "\n".join(line.plain for line in lines)


# -- what could control a terminal ---------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jclear", "clear"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("cut off \x1b[", "cut off "),
        ("10%\r20%\r\nend", "10%\n20%\nend"),
        ("a\bb\x00c\x7fd", "abcd"),
        ("left\u202eright", "leftright"),
        ("tab\tand ünïcode 中", "tab\tand ünïcode 中"),
    ],
)
def test_sequences_and_control_characters_are_not_shown(written: str, shown: str) -> None:
    assert render.cleaned(written) == shown


@given(st.text(alphabet="\x1b\x9b\x90\x9c[]0;mP\\\x07\r\n\t ab\u202e\u200b\ud800中"))
def test_nothing_that_could_control_a_terminal_is_ever_shown(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t" for char in render.cleaned(text))


def test_what_a_person_agrees_to_shows_its_invisible_characters() -> None:
    call = json.dumps({"what": "rm \u202e-rf\x1b[1A\r"})
    assert "rm \\u202e-rf\\u001b[1A\\r" in plain(render.question(asked(call), hint=False))
    assert render.call(ToolCall(CallId("1"), "sh", '{"a": "\u202e"}')).plain.startswith(
        '→ sh {"a": "\\u202e"}'
    )


# -- results -----------------------------------------------------------------------------------


def test_a_long_result_is_shown_by_its_head_and_its_tail() -> None:
    content = "\n".join(f"line {n}" for n in range(1, 101))
    lines = render.result(ToolResult(CallId("you-1"), "read", content), limit=8)
    assert [line.plain for line in lines] == [
        "← read  you-1",
        *(f"  │ line {n}" for n in range(1, 7)),
        "  │ … 92 more lines, which the model reads too …",
        "  │ line 99",
        "  │ line 100",
    ]


def test_a_very_long_line_is_cut_and_without_a_limit_nothing_is() -> None:
    answer = ToolResult(CallId("1"), "read", "x" * 5_000, is_error=True)
    assert plain(render.result(answer, limit=8)).endswith(
        "xxx … 3,000 more characters, which the model reads too"
    )
    assert plain(render.result(answer, limit=None)) == "✗ read  1\n  │ " + "x" * 5_000


def test_a_notification_is_shown_in_the_text_that_the_model_reads() -> None:
    item = Notification(
        TaskId("task-1"),
        (CallId("1"),),
        "draw",
        "succeeded",
        "a picture",
        (Image(data=b"1234"), Image(url="http://x/y.png")),
    )
    shown = plain(render.notification(item, limit=20))
    assert shown.splitlines() == [
        "✉ draw  task-1",
        *(f"  │ {line}" for line in item.framed.splitlines()),
        "  │ [image/png, 4 bytes]",
        "  │ [image/png, http://x/y.png]",
    ]


# -- tasks and questions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "line"),
    [
        (snapshot(), "● task-1 bake  0:07  cake"),
        (
            snapshot(progress=Progress(None, "in the oven")),
            "● task-1 bake  0:07  cake  in the oven",
        ),
        (snapshot(progress=Progress(0.3, "")), "● task-1 bake  0:07  cake  ━━━━━━━━━━ 30%"),
        (snapshot(TaskStatus.QUEUED), "· task-1 bake  queued  cake"),
        (snapshot(arguments='{"a": 1, "b": [2]}'), "● task-1 bake  0:07  a=1 b=[2]"),
        (snapshot(arguments="{broken"), "● task-1 bake  0:07  {broken"),
        (snapshot(arguments=json.dumps({"a": "x\n" * 40})), f"● task-1 bake  0:07  {'x ' * 23}x…"),
    ],
)
def test_a_task_at_work_is_one_line(task: TaskSnapshot, line: str) -> None:
    assert render.task_line(task, 109.9).plain == line


def test_a_task_that_waits_for_a_decision_says_how_to_give_it() -> None:
    waiting = snapshot(TaskStatus.AWAITING_APPROVAL)
    assert (
        render.task_line(waiting, 109.0, approval_id="approval-2").plain
        == "? task-1 bake  waits for /approve approval-2  cake"
    )
    assert "an approval" in render.task_line(waiting, 109.0).plain


def test_a_task_that_is_over_tells_how_and_when() -> None:
    failed = snapshot(TaskStatus.FAILED, error="no\nflour")
    assert render.past_task(failed).plain == "○ task-1 bake cake  failed after 8.5 s: no flour"


def end(made: Callable[..., TaskEnded], **fields: object) -> TaskEnded:
    return made(
        seq=1,
        at=0.0,
        conversation_id=ConversationId("c"),
        task_id=TaskId("task-1"),
        call_id=CallId("1"),
        name="bake",
        duration=75.0,
        **fields,
    )


LEFT = "; its work did not stop and is left behind"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (end(TaskSucceeded, metadata={}), "succeeded after 1:15"),
        (end(TaskFailed, error="no", error_type="E"), "failed after 1:15: no"),
        (end(TaskTimedOut, timeout=75.0, abandoned=False), "timed out after 1:15: it had 75 s"),
        (end(TaskCancelled, reason="x", abandoned=True), f"cancelled after 1:15: x{LEFT}"),
        (end(TaskDenied, reason="no"), "denied after 1:15: no"),
    ],
)
def test_every_end_of_a_task_has_its_words(event: TaskEnded, words: str) -> None:
    assert render.task_end(event).plain == f"● task-1 bake {words}"


def test_a_question_shows_all_arguments_and_how_to_answer() -> None:
    event = asked('{"what": "cake\\ncake", "hot": true}')
    assert plain(render.question(event, hint=True)).splitlines() == [
        "? approval-1  task-1 asks to run bake",
        "  what: cake",
        "        cake",
        "  hot: true",
        "  /approve approval-1   /deny approval-1 [reason]",
    ]


def test_a_tool_that_asks_in_its_own_words_is_quoted_with_its_details() -> None:
    event = asked("{}", reason="the oven is hot")
    assert plain(render.question(event, details={"degrees": 300}, hint=False)) == (
        "? approval-1  task-1 bake asks: the oven is hot\n  degrees: 300"
    )


@pytest.mark.parametrize(
    ("seconds", "clock", "words"),
    [(0.24, "0:00", "0.2 s"), (59.7, "0:59", "60 s"), (3723, "1:02:03", "1:02:03")],
)
def test_seconds_are_told_as_people_do(seconds: float, clock: str, words: str) -> None:
    assert render.elapsed(seconds) == clock
    assert render.spent(seconds) == words

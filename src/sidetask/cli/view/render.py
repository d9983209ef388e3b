"""Events as lines to read: what the model says, what it is told, what a person is asked.

What somebody else wrote (a tool, a model, a command's output) comes in through `_line` alone,
which takes from it all that could control a terminal.
"""

import json
import re
from collections.abc import Iterable, Sequence

from rich.text import Text

from sidetask.agents.quota.gate import GateStatus
from sidetask.core.errors import InvalidInputError
from sidetask.core.events import (
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskEnded,
    TaskFailed,
    TaskTimedOut,
)
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import Attachment, Notification, ToolCall, ToolResult
from sidetask.core.usage import Usage
from sidetask.state.provenance import Provenance
from sidetask.tasks.values import Progress, TaskSnapshot

Part = str | tuple[str, str]
"""A text, or a text and its style."""

GUTTER = "  │ "
"""Stands before the lines of what a tool wrote."""
BRIEF = 48
"""Characters of a call's arguments where only a glance is needed."""
_PROMPT = "❯ "  # noqa: RUF001 - this very character, at home in prompts
_BAR = 10
_VALUE = 60
_LONG_LINE = 2_000
_LEFT = "; its work did not stop and is left behind"

# ECMA-48: control sequences, strings up to their terminator (unended ones too), single escapes.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def cleaned(text: str) -> str:
    """The text without what could control a terminal or reorder what is read."""
    if text.isprintable():
        return text
    plain = _SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join([char for char in plain if char.isprintable() or char in "\n\t"])


def revealed(text: str) -> str:
    """The text with its invisible characters written out, for what a person agrees to."""
    return "".join(
        [
            char if char.isprintable() or char == "\n" else f"\\u{ord(char):04x}"
            for char in text.replace("\r", "\\r")
        ]
    )


def shortened(text: str, width: int) -> str:
    """The text on one line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def count(number: int, of: str) -> str:
    """So many of something."""
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def note(text: str) -> Text:
    """Something the command itself says."""
    return _line((text, "dim"))


def entry(name: str, what: str) -> Text:
    """An entry of a list: a name, and what it is."""
    return _line((name, "cyan"), what)


def problem(text: str) -> Text:
    """Something that went wrong."""
    return _line(("✗ ", "bold red"), text)


def echo(line: str) -> Text:
    """A line as the user wrote it."""
    return _line((_PROMPT, "bold green"), (line, "bold"))


# -- what a model says and is told -----------------------------------------------------------


def said(text: str) -> Text:
    """Text of a reply."""
    return _line(text)


def call(asked: ToolCall) -> Text:
    """A tool call as it was sent."""
    return _line(
        ("→ ", "cyan"),
        (asked.name, "bold"),
        f" {revealed(asked.arguments)}",
        (f"  {asked.id}", "dim"),
    )


def result(answer: ToolResult, limit: int | None) -> list[Text]:
    """The answer to a call, as the model reads it."""
    mark = ("✗ ", "bold red") if answer.is_error else ("← ", "cyan")
    head = _line(mark, (answer.name, "bold"), (f"  {answer.call_id}", "dim"))
    return [head, *_body(answer.content, limit), *_attached(answer.attachments)]


def notification(item: Notification, limit: int | None) -> list[Text]:
    """A late result, in the very text that the model reads."""
    head = _line(("✉ ", "magenta"), (item.name, "bold"), (f"  {item.task_id}", "dim"))
    return [head, *_body(item.framed, limit), *_attached(item.attachments)]


# -- tasks and approvals ---------------------------------------------------------------------


def task_line(task: TaskSnapshot, now: float, *, approval_id: str = "") -> Text:
    """A task at work: what, for how long, how far. What matters most is cut off last."""
    head: list[Part] = [(f"{task.id} ", "bold"), (f"{task.name}  ", "cyan")]
    asked = glance(_call_of(task))
    match task.status:
        case status if approval_id or status is TaskStatus.AWAITING_APPROVAL:
            asks = f"/approve {approval_id}" if approval_id else "an approval"
            wait: list[Part] = [("waits for ", "dim"), (f"{asks}  ", "yellow")]
            return _line(("? ", "bold yellow"), *head, *wait, asked)
        case TaskStatus.QUEUED:
            return _line(("· ", "dim"), *head, ("queued  ", "dim"), asked)
        case _:
            since = task.started_at or task.created_at
            time = (f"{elapsed(now - since)}  ", "bold")
            return _line(("● ", "cyan"), *head, time, asked, *_progress(task.progress))


def past_task(task: TaskSnapshot) -> Text:
    """A task that is over."""
    seconds = (task.finished_at or task.created_at) - (task.started_at or task.created_at)
    error = f": {shortened(task.error, 80)}" if task.error else ""
    return _line(
        ("○ ", "dim"),
        (f"{task.id} ", "bold"),
        f"{task.name} {glance(_call_of(task))}",
        (f"  {task.status} after {spent(seconds)}{error}", "dim"),
    )


def task_end(event: TaskEnded) -> Text:
    """The end of a task that ran beside the conversation."""
    word = event.kind.removeprefix("task_").replace("_", " ")
    return _line(
        ("● ", "green" if word == "succeeded" else "red"),
        (f"{event.task_id} ", "bold"),
        f"{event.name} {word} after {spent(event.duration)}{_why(event)}",
    )


def written(key: str, value: Json, by: Provenance) -> Text:
    """A key of the state: its value, and who wrote it."""
    origin = [by.source, by.resolver, by.task_id, f"version {by.version}"]
    return _line(
        (f"{shortened(revealed(key), 2 * _VALUE)}  ", "bold"),
        shortened(json.dumps(value, ensure_ascii=False), _VALUE),
        ("  " + " ".join(revealed(each) for each in origin if each), "dim"),
    )


def question(
    asked: ApprovalRequested, *, details: JsonObject | None = None, asker: str = "", hint: bool
) -> list[Text]:
    """What a person is asked, with all of its arguments: nothing of them is left out. `asker` is
    the agent whose call it is, if that is not the one who is talked to."""
    own_words = asked.reason and asked.reason != f"{asked.name} asks before it runs"
    what: list[Part] = (
        [(asked.name, "bold"), f" asks: {revealed(asked.reason)}"]
        if own_words
        else ["asks to run ", (asked.name, "bold")]
    )
    head = [("? ", "bold yellow"), (f"{asked.approval_id}  ", "bold"), f"{asked.task_id} "]
    if asker:
        head.append(f"of {revealed(asker)} ")
    lines = [_line(*head, *what)]
    if asked.summary and not asked.summary.startswith(asked.name):
        lines.append(_line(f"  {revealed(asked.summary)}"))
    values = _values(ToolCall(asked.call_id, asked.name, asked.arguments))
    for name, value in [*values, *_texts(details or {})]:
        shown = revealed(value).replace("\n", "\n" + " " * (len(name) + 4))
        lines.append(_line("  ", (f"{revealed(name)}: ", "dim"), (shown, "yellow")))
    if hint:
        lines.append(note(f"  /approve {asked.approval_id}   /deny {asked.approval_id} [reason]"))
    return lines


def consumed(what: str, usage: Usage) -> Text:
    """What model calls have consumed."""
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    tokens = f"{usage.input_tokens:,} tokens in{cached}, {usage.output_tokens:,} out"
    cost = f", ${usage.usd:,.4f}" if usage.usd else ""
    return entry(what.ljust(13), f"{count(usage.requests, 'model call')}: {tokens}{cost}")


def gate(status: GateStatus) -> Text:
    """Whether the calls of an API key have to wait, and how many do."""
    state = f"closed for {status.opens_in:.0f} s" if status.opens_in else "open"
    hits = f", refused {status.hits} in a row" if status.hits else ""
    line = f", {status.waiting} in line" if status.waiting else ""
    behind = f" ({status.waiting_background} behind)" if status.waiting_background else ""
    return entry(f"key {status.key[:7]}".ljust(13), f"{state}{hits}{line}{behind}")


def stopping(tasks: Sequence[TaskSnapshot], now: float) -> list[Text]:
    """What ends because the command does."""
    return [note("stopping ") + task_line(task, now) for task in tasks]


def glance(asked: ToolCall) -> str:
    """A call's arguments, shortened: `README.md`, or `path=docs limit=3`."""
    values = _values(asked)
    if len(values) == 1:
        return shortened(values[0][1], BRIEF)
    return shortened(" ".join(f"{name}={value}" for name, value in values), BRIEF)


def elapsed(seconds: float) -> str:
    """`0:07`, `12:00`, `1:02:03`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spent(seconds: float) -> str:
    """`0.2 s`, `20 s`, `12:00`."""
    if seconds >= 60:
        return elapsed(seconds)
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _why(event: TaskEnded) -> str:
    match event:
        case TaskFailed(error=error):
            return f": {shortened(error, 120)}"
        case TaskTimedOut(timeout=timeout, abandoned=abandoned):
            return f": it had {timeout:g} s{_LEFT if abandoned else ''}"
        case TaskCancelled(reason=reason, abandoned=abandoned):
            return f": {reason}{_LEFT if abandoned else ''}"
        case TaskDenied(reason=reason, abandoned=abandoned):
            return f": {reason}{_LEFT if abandoned else ''}"
        case _:
            return ""


def _call_of(task: TaskSnapshot) -> ToolCall:
    return ToolCall(task.call_ids[0], task.name, task.arguments)


def _progress(progress: Progress | None) -> list[Part]:
    if progress is None:
        return []
    parts: list[Part] = []
    if progress.fraction is not None:
        done = round(progress.fraction * _BAR)
        parts += ["  ", ("━" * done, "cyan"), ("━" * (_BAR - done), "dim")]
        parts.append(f" {progress.fraction:.0%}")
    if progress.note:
        parts.append((f"  {shortened(progress.note, 60)}", "dim"))
    return parts


def _values(asked: ToolCall) -> list[tuple[str, str]]:
    """The arguments by name, as texts."""
    try:
        return _texts(asked.parsed())
    except InvalidInputError:
        return [("arguments", asked.arguments)]


def _texts(values: JsonObject) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in values.items()
    ]


# -- making lines ----------------------------------------------------------------------------


def _line(*parts: Part) -> Text:
    text = Text()
    for part in parts:
        content, style = part if isinstance(part, tuple) else (part, "")
        text.append(cleaned(content), style)
    return text


def _body(content: str, limit: int | None) -> list[Text]:
    if limit is None:
        return [_indented(Text(line)) for line in cleaned(content).split("\n")]
    return [_indented(line) for line in _trimmed(content.splitlines() or [""], limit)]


def _trimmed(lines: list[str], limit: int) -> Iterable[Text]:
    """Head and tail of what is too long to be shown. The model reads all of it."""
    if len(lines) <= limit:
        return map(_cut, lines)
    tail = limit // 4
    left = note(f"… {len(lines) - limit:,} more lines, which the model reads too …")
    return [*map(_cut, lines[: limit - tail]), left, *map(_cut, lines[-tail:])]


def _cut(line: str) -> Text:
    if len(line) <= _LONG_LINE:
        return _line(line)
    rest = len(line) - _LONG_LINE
    more = note(f" … {rest:,} more characters, which the model reads too")
    return _line(line[:_LONG_LINE]) + more


def _attached(attachments: Sequence[Attachment]) -> list[Text]:
    return [
        _indented(note(f"[{each.media_type}, {len(each.data):,} bytes]"))
        if each.data is not None
        else _indented(note(f"[{each.media_type}, {each.url}]"))
        for each in attachments
    ]


def _indented(line: Text) -> Text:
    return Text.assemble((GUTTER, "dim"), line)

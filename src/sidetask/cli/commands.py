"""What a user says to the chat and not to the model: `/tasks`, `/cancel task-1`.

A command is one entry of `COMMANDS`. It answers with lines; what it changes is told by the
events that follow from it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from rich.text import Text

from sidetask.cli.session import Session
from sidetask.cli.view import render
from sidetask.core.errors import InvalidInputError, SidetaskError
from sidetask.core.lifecycle import TERMINAL
from sidetask.models.human import usage

BY = "you"
"""Who decides, where a decision tells by whom it was made."""
_PAST = 5
_KEYS = 50

Answer = Sequence[Text]


def _no_ids(_: Session) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to say to the chat."""

    name: str
    argument: str
    help: str
    run: Callable[[Session, str], Awaitable[Answer]]
    ids: Callable[[Session], list[str]] = _no_ids
    """What its argument may be now."""


def is_command(line: str) -> bool:
    """Whether a line is meant for the chat. One that begins with a blank never is."""
    return line.startswith("/")


async def obey(line: str, session: Session) -> Answer:
    """Carry out a line that is a command, and return what there is to say about it."""
    name, _, argument = line.removeprefix("/").partition(" ")
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        return [render.problem(_unknown(name))]
    try:
        return await command.run(session, argument.strip())
    except SidetaskError as error:
        return [render.problem(str(error))]


def complete(line: str, session: Session) -> list[tuple[str, str]]:
    """What the last word of a command line may become, each with a hint."""
    name, blank, begun = line.removeprefix("/").partition(" ")
    if not blank:
        found = [each for each in COMMANDS if each.name.startswith(name)]
        return [
            (f"/{each.name} " if each.argument else f"/{each.name}", each.help) for each in found
        ]
    command = next((each for each in COMMANDS if each.name == name), None)
    ids = command.ids(session) if command is not None else []
    return [(each, "") for each in ids if each.startswith(begun)]


def _unknown(name: str) -> str:
    close = get_close_matches(name, [each.name for each in COMMANDS], n=1)
    guess = f"did you mean /{close[0]}?" if close else "/help lists them"
    return f"no command /{name}: {guess} (a line with a blank before it goes to the model)"


# -- the commands ----------------------------------------------------------------------------


async def _help(session: Session, _: str) -> Answer:
    width = max(len(f"{each.name} {each.argument}") for each in COMMANDS) + 4
    lines = [
        render.entry(f"/{each.name} {each.argument}".ljust(width), each.help) for each in COMMANDS
    ]
    lines += [render.entry(key.ljust(width), what) for key, what in KEYS]
    if session.driven:
        lines.append(
            render.note("You are the model. A line is one or several calls (;), or > text")
        )
        lines += [render.entry("  " + usage(tool), "") for tool in session.chat.available_tools]
    return lines


async def _tasks(session: Session, _: str) -> Answer:
    tasks = list(session.chat.tasks)
    asked = session.asked()
    past = [task for task in tasks if task.status in TERMINAL]
    lines = [render.past_task(task) for task in past[-_PAST:]]
    if len(past) > _PAST:
        lines.insert(0, render.note(f"… {len(past) - _PAST} more that are over"))
    now = session.now()
    lines += [
        render.task_line(task, now, approval_id=asked.get(task.id, ""))
        for task in tasks
        if task.status not in TERMINAL
    ]
    return lines or [render.note("no tasks yet")]


async def _state(session: Session, prefix: str) -> Answer:
    state = session.chat.state
    found = [(key, state.provenance(key)) for key in state.keys(prefix)]
    lines = [render.written(key, state.get(key), by) for key, by in found if by is not None]
    if len(lines) > _KEYS:
        more = f"… {len(lines) - _KEYS} more before these: /state PREFIX shows fewer"
        lines = [render.note(more), *lines[-_KEYS:]]
    return lines or [render.note("nothing is kept" + (f" under {prefix}" if prefix else ""))]


async def _usage(session: Session, _: str) -> Answer:
    chat = session.chat
    return [
        render.consumed("last turn", chat.last_turn_usage),
        render.consumed("in all", chat.total_usage),
        *[render.gate(each) for each in chat.quota.status()],
    ]


async def _cancel(session: Session, argument: str) -> Answer:
    task_id = _one_of(argument, _running(session), "task at work")
    if await session.chat.tasks.cancel(task_id, "the user cancelled it") == "cancelled":
        return []
    return [render.note(f"{task_id} was over already")]


async def _detach(session: Session, argument: str) -> Answer:
    task_id = _one_of(argument, _running(session), "task at work")
    if session.chat.tasks.detach(task_id):
        return []
    return [render.note(f"{task_id} holds up no turn")]


async def _approve(session: Session, argument: str) -> Answer:
    approval_id = _one_of(argument, _open(session), "approval open")
    session.chat.approvals.approve(approval_id, by=BY)
    return []


async def _deny(session: Session, argument: str) -> Answer:
    given, _, reason = argument.partition(" ")
    approval_id = _one_of(given, _open(session), "approval open")
    session.chat.approvals.deny(approval_id, reason.strip() or None, by=BY)
    return []


async def _quit(session: Session, _: str) -> Answer:
    session.leave()
    return []


def _running(session: Session) -> list[str]:
    return [task.id for task in session.chat.tasks.running()]


def _keys(session: Session) -> list[str]:
    return session.chat.state.keys()


def _open(session: Session) -> list[str]:
    return [approval.id for approval in session.chat.approvals]


def _one_of(given: str, known: list[str], what: str) -> str:
    """The id that is meant: as it is, by its number alone, or the only one there is.

    Raises:
        InvalidInputError: None is given, and there is not exactly one.
    """
    if given:
        return next((each for each in known if given == each.rpartition("-")[2]), given)
    if len(known) == 1:
        return known[0]
    raise InvalidInputError(f"which one? {', '.join(known)}" if known else f"there is no {what}")


COMMANDS = (
    Command("tasks", "", "what is at work, and what was lately", _tasks),
    Command("state", "[PREFIX]", "what is kept, and who wrote it", _state, _keys),
    Command("usage", "", "tokens and cost, and which API keys have to wait", _usage),
    Command("cancel", "ID", "stop a task", _cancel, _running),
    Command("detach", "ID", "send it to the background: the turn goes on", _detach, _running),
    Command("approve", "ID", "let a task run that asks first", _approve, _open),
    Command("deny", "ID [reason]", "refuse it; the model is told the reason", _deny, _open),
    Command("help", "", "this list", _help),
    Command("quit", "", "leave; what still runs is stopped", _quit),
)
KEYS = (
    ("Ctrl-C", "interrupt the turn; the background goes on. Twice: leave"),
    ("Ctrl-D", "leave"),
    ("Tab", "complete"),
)

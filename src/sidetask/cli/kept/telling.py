"""What a task waits for, in a few plain lines."""

from collections.abc import Iterator, Sequence
from time import localtime, strftime
from typing import assert_never

from sidetask.cli.view.render import count
from sidetask.client import (
    Asking,
    AtHome,
    ClosedGate,
    Ended,
    Held,
    Parked,
    Queued,
    Running,
    Standing,
    Stopping,
    Untold,
    Why,
)
from sidetask.stores.members import Member
from sidetask.stores.queue import MAX_CLAIMS

_DAY = 86_400.0


def lines_of(why: Why, now: float) -> list[str]:
    """The first line says where the task stands, the others what that depends on and what can be
    done. `now`: seconds since the epoch."""
    task = why.task
    first, *more = _told(why, now)
    lines = [f"{task.id} {task.name}: {first}", *more]
    if why.ordered is not None:
        by = why.ordered.by or "somebody"
        lines.append(f"{by} has asked for its end; {_home(why)}")
    return lines


def _told(why: Why, now: float) -> Iterator[str]:
    task = why.task
    match why:
        case Ended():
            error = f": {task.error}" if task.error else ""
            yield f"{task.status} at {moment(task.finished_at or task.created_at, now)}{error}"
            if not why.is_taken:
                yield f"its result waits to be taken; {_home(why)}"
        case Asking():
            yield "waits for a person" if why.approvals else "is answered, and has not gone on yet"
            yield from _asked(why, now)
        case Held():
            yield f"queued where its conversation is open, since {moment(task.created_at, now)}"
            yield from _held(why)
            yield _home(why)
            yield from _gates(why.gates, now)
        case AtHome():
            since = moment(task.started_at or task.created_at, now)
            note = "" if task.progress is None else task.progress.note
            yield f"running where its conversation is open, since {since}{_note(note)}"
            yield _home(why)
            yield from _gates(why.gates, now)
        case Queued():
            before = f"{why.place} before it" if why.place else "the next one"
            yield f"in the queue since {moment(why.since, now)}, {before}"
            yield from _workers(why)
        case Stopping():
            yield f"being stopped on {_owner(why)} ({why.reason or 'cancelled'})"
            yield f"its tool gets {task.policy.grace:g} s to clean up"
        case Running():
            yield from _running(why, now)
        case Parked():
            yield f"parked: {why.error}"
            yield f"to let workers try again: sidetask retry {task.id}"
            yield f"to give it up: sidetask cancel {task.id}"
        case Untold():
            yield f"its worker was done at {moment(why.since, now)}"
            yield f"its result is not told yet; {_home(why)}"
        case _:
            assert_never(why)


def _asked(why: Asking, now: float) -> Iterator[str]:
    for each in why.approvals:
        reason = f": {each.reason}" if each.reason else ""
        yield f"{each.id} asks since {moment(each.created_at, now)}{reason}"
        yield each.summary
        yield f"to answer: sidetask approve {each.id}, or sidetask deny {each.id} REASON"
    if not why.approvals:
        yield _home(why)


def _held(why: Held) -> Iterator[str]:
    cap = why.task.policy.cap
    if cap is not None:
        yield f"of {why.task.name} at most {cap} run at once in a process, and {why.running} run"
    else:
        yield f"it has no cap of its own; {why.running} of its name run"


def _home(why: Why) -> str:
    """Who has its conversation open, and what is to be done about it."""
    name = repr(why.task.conversation_id)
    match why.home.standing:
        case Standing.OPEN:
            assert why.home.member is not None
            return f"its conversation {name} is open in {name_of(why.home.member)}"
        case Standing.NOWHERE:
            return (
                f"its conversation {name} is open nowhere: a worker that has its agent takes it up,"
                " or whoever resumes it"
            )
        case Standing.STUCK:
            return f"workers have died of its conversation {name}: it goes on when it is resumed"
        case Standing.BELOW:
            return f"its conversation {name} is part of another one, and goes on with that"
        case Standing.UNKNOWN:
            return f"if its conversation is open nowhere, it goes on when {name} is resumed"


def _gates(gates: Sequence[ClosedGate], now: float) -> Iterator[str]:
    for each in gates:
        opens = moment(each.opens_at, now)
        yield f"if it calls a model: the API key {each.key[:8]} is parked until {opens}"


def _workers(why: Queued) -> Iterator[str]:
    taking = [each for each in why.workers if not each.member.draining]
    if not why.workers:
        yield f"no living worker knows {why.key}: start one that does; {_home(why)}"
    elif not taking:
        known = count(len(why.workers), "worker")
        yield f"known to living workers: {known}, all of which are draining"
    else:
        full = sum(each.is_full for each in taking)
        known = count(len(taking), "worker")
        yield f"known to living workers: {known}, {_busy(full, len(taking))}"
    others = sum(each.member.id in why.others for each in taking)
    if others:
        yield f"{others} of them have another release of the tool, and take it if no other will"
    if why.claims:
        died = "a process has" if why.claims == 1 else f"{why.claims} processes have"
        yield f"{died} died of it; after {MAX_CLAIMS} it is parked"


def _busy(full: int, of: int) -> str:
    if not full:
        return "with room for it"
    return "all of them busy" if full == of and of > 1 else f"{full} busy" if of > 1 else "busy"


def _running(why: Running, now: float) -> Iterator[str]:
    yield f"running on {_owner(why)} since {moment(why.since, now)}{_note(why.note)}"
    if why.member is None:
        yield "that worker lives no more: another process is about to see to its job"
    if why.claims > 1:
        yield f"it was begun {why.claims} times"
    for each in why.questions:
        yield f"its tool asks: {each!r}; a person is asked when its conversation is resumed"


def _note(note: str) -> str:
    return f": {note}" if note else ""


def _owner(why: Running) -> str:
    if why.member is None:
        return why.owner
    return f"{why.member.role} {name_of(why.member)}"


def name_of(member: Member) -> str:
    """A member, for people."""
    return f"{member.id} (pid {member.pid} on {member.host})"


def moment(at: float, now: float) -> str:
    """A time of day; with its date, if that is not within a day."""
    return strftime("%H:%M:%S" if abs(now - at) < _DAY else "%Y-%m-%d %H:%M", localtime(at))

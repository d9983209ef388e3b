"""Logging: the logger `sidetask`, quiet until somebody listens, and whose work a record is of.

Every module logs under its own name, a child of `sidetask`. Nothing is printed by itself. With
`SIDETASK_LOG=debug` (or `info`, `warning`, `error`) in the environment, or after
`log_to_stderr("debug")`, records go to standard error; at `info` it is told how turns and tasks
end, at `debug` every fact as well. `WorkFilter` gives the records of any handler of yours the
ids of the conversation, turn, run, task and span in whose code they were made.

What is said in a conversation is in no record of ours but where a tool's or a host's own error
has it in its text.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from sidetask.agents.turn.log import current_turn
from sidetask.core.errors import ConfigurationError
from sidetask.core.events import (
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
    TaskEnded,
    TaskEvent,
)
from sidetask.tasks.aio.streams import Stream
from sidetask.tasks.parts.body import current_body

VARIABLE = "SIDETASK_LOG"
"""The environment variable that turns it on."""

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_IDS = ("conversation_id", "turn_id", "run_id", "task_id", "trace_id", "span_id")
_root = logging.getLogger("sidetask")
_events = logging.getLogger("sidetask.events")
_log = logging.getLogger(__name__)


class WorkFilter(logging.Filter):
    """Lets every record pass and says whose work it is of: `conversation_id`, `turn_id`,
    `run_id`, `task_id`, `trace_id`, `span_id`, each `""` where there is none.

    Give it to a handler: `handler.addFilter(WorkFilter())`. Ids that a record has are kept.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the ids; none is looked for before a record is to be shown."""
        found = {**_of_work(), **_of_span()}
        for name in _IDS:
            if name not in record.__dict__:
                record.__dict__[name] = found.get(name) or ""
        return True


class StderrHandler(logging.Handler):
    """Writes records to standard error, as it is then: a prompt may stand in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(WorkFilter())
        self.setFormatter(_Line())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - the one boundary: logging ends no program
            self.handleError(record)


def log_to_stderr(level: Level = "warning") -> None:
    """Write what is logged to standard error from now on. Called again, it changes the level.

    Runtimes that are made from now on tell their events too, at `info` and `debug`.

    Raises:
        ConfigurationError: No such level.
    """
    number = _LEVELS.get(level)
    if number is None:
        raise ConfigurationError(f"a level is one of {', '.join(_LEVELS)}, not {level!r}")
    if not any(isinstance(handler, StderrHandler) for handler in _root.handlers):
        _root.addHandler(StderrHandler())
    _root.setLevel(number)


def tell_events(stream: Stream) -> None:
    """Let the events of a runtime be logged, if anybody wants such records."""
    if _events.isEnabledFor(logging.DEBUG):
        stream.tap(_fact)
    elif _events.isEnabledFor(logging.INFO):
        stream.tap(_end)


def _fact(event: Event) -> None:
    if not event.live:
        _tell(logging.INFO if isinstance(event, _ENDS) else logging.DEBUG, event)


def _end(event: Event) -> None:
    if isinstance(event, _ENDS):
        _tell(logging.INFO, event)


def _tell(level: int, event: Event) -> None:
    task_id = event.task_id if isinstance(event, TaskEvent) else ""
    name = f" {event.name}" if isinstance(event, TaskEvent) else ""
    took = f" after {event.duration:.3f} s" if isinstance(event, TaskEnded) else ""
    ids = {
        "conversation_id": event.conversation_id,
        "turn_id": event.turn_id or "",
        "run_id": event.run_id or "",
        "task_id": task_id,
    }
    with suppress(Exception):  # the one boundary: a host's filter or handler, which only looks on
        _events.log(level, "%s%s%s", event.kind.value, name, took, extra=ids)


_ENDS = (RunCompleted, RunFailed, RunCancelled, TaskEnded)


class _Line(logging.Formatter):
    """`12:00:01 WARNING sidetask.runtime.driver [conversation-1 turn-2 task-3] text`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(work)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        given = record.__dict__
        shown = [given[name] for name in ("conversation_id", "turn_id", "task_id") if given[name]]
        if given["trace_id"]:
            shown.append(f"span {given['trace_id']}:{given['span_id']}")
        given["work"] = f" [{' '.join(shown)}]" if shown else ""
        return super().format(record)


def _of_work() -> dict[str, str | None]:
    """The task whose code runs, else the turn."""
    body, turn = current_body.get(), current_turn.get()
    if body is not None:
        launch = body.record.launch
        return {
            "conversation_id": launch.conversation_id,
            "turn_id": launch.turn_id,
            "run_id": launch.run_id,
            "task_id": body.record.id,
        }
    if turn is not None:
        return {
            "conversation_id": turn.conversation.id,
            "turn_id": turn.turn_id,
            "run_id": turn.run_id,
        }
    return {}


def _of_span() -> dict[str, str | None]:
    """The current span, if OpenTelemetry is in use: it is not loaded for this."""
    find: Any = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if find is None:
        return {}
    context = find().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _begin() -> None:
    """What importing this does: nothing is printed by itself, unless the environment says so."""
    _root.addHandler(logging.NullHandler())
    wanted = os.environ.get(VARIABLE, "").strip().lower()
    if wanted in _LEVELS:
        log_to_stderr(wanted)  # pyright: ignore[reportArgumentType] - it is one of them
    elif wanted:
        log_to_stderr()
        _log.warning("%s is one of %s, not %r", VARIABLE, ", ".join(_LEVELS), wanted)


_begin()

"""Asking a person before a tool runs.

A rule is `"ask"`, or a function of the parsed arguments that says whether to ask. It fails
closed: a rule that raises, or says neither True nor False, denies the call.
"""

import inspect
import json
import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import ApprovalNeeded, ApprovalRequest, Refused

# Any: what types a tool's arguments and dependencies have is its author's business.
Arguments: TypeAlias = dict[str, Any]
Context: TypeAlias = RunContext[Any]
ApprovalRule: TypeAlias = Literal["ask"] | Callable[[Arguments], bool]

KIND = "tool"
"""The kind of approval that a tool itself asks for; policies ask for others."""

_MAX_SUMMARY = 300
_log = logging.getLogger(__name__)


def check_rule(tool: str, rule: object) -> None:
    """Refuse what is no rule for the tool `tool`.

    Raises:
        ConfigurationError: It is neither "ask" nor a plain function; None is no rule at all.
    """
    if rule is None or rule == "ask":
        return
    if not callable(rule) or inspect.iscoroutinefunction(rule):
        raise ConfigurationError(
            f"tool {tool!r}: approval is 'ask' or a plain function of the arguments, not {rule!r}"
        )


def held_by(
    rule: ApprovalRule, call: ToolCall, ctx: Context, arguments: Arguments
) -> ApprovalNeeded | Refused | None:
    """What keeps a call from running; None: nothing."""
    try:
        if ctx.is_approved(KIND, call.digest()):
            return None
        asks = True if rule == "ask" else rule(dict(arguments))
        summary = summary_of(call)
    except Exception as error:  # noqa: BLE001 - the one boundary: a rule that fails denies
        _log.debug("the approval rule of %s failed", call.name, exc_info=error)
        return Refused(f"the approval rule of {call.name} failed, so it was not run: {error!r}")
    if asks is False:
        return None
    if asks is not True:
        return Refused(
            f"the approval rule of {call.name} said {asks!r}, so it was not run:"
            " True asks a person, False lets it run"
        )
    request = ApprovalRequest(kind=KIND, reason=f"{call.name} asks before it runs", summary=summary)
    return ApprovalNeeded((request,))


def summary_of(call: ToolCall) -> str:
    """The call in one line: `shell: rm -rf x`. The arguments are the model's own."""
    arguments = call.parsed()
    match list(arguments.values()):
        case [str() as only] if only.isprintable():
            text = only
        case _:
            shown = [f"{_printable(name)}={_shown(value)}" for name, value in arguments.items()]
            text = ", ".join(shown)
    if len(text) > _MAX_SUMMARY:
        text = f"{text[:_MAX_SUMMARY]} [... {len(text) - _MAX_SUMMARY:,} more characters]"
    return f"{call.name}: {text}" if text else call.name


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _printable(name: str) -> str:
    """A name that cannot rewrite the terminal of whoever decides; so is `_shown` a value."""
    return name if name.isprintable() else json.dumps(name)

"""What home and worker write for each other: the order, its outcome, and what is asked meanwhile.

All of it is JSON in the store's queue, or a record beside it. Either side may be of another
release: a field that is unknown is skipped, and one that is missing takes its default.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any, cast

from sidetask.core.codec import value_from_json, value_to_json
from sidetask.core.errors import CodecError
from sidetask.core.ids import RunId, TaskId, TurnId, value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DEFAULT_POLICY, TaskPolicy
from sidetask.stores.base import Kind
from sidetask.tasks.values import (
    NOTHING,
    ApprovalNeeded,
    Completed,
    Errored,
    Progress,
    Refused,
    ToolOutcome,
)


def key_of(agent: str, tool: str) -> str:
    """What a job is claimed by."""
    return f"{agent}/{tool}"


def job_id_of(task_id: TaskId, attempt: int) -> str:
    """The id of the job that carries an attempt of a task out."""
    return f"{task_id}:{attempt}"


# -- the order ------------------------------------------------------------------------------------


@value
class Granted:
    """A person has approved this very call."""

    kind: str
    digest: str


@value(kw_only=True)
class JobOrder:
    """All that a worker has to know of a call."""

    call: ToolCall
    """As policies and hooks have left it."""
    agent: str
    attempt: int = 1
    exactly: bool = False
    """Somebody has judged the arguments as the JSON has them: they are read as that."""
    turn_id: TurnId | None = None
    run_id: RunId | None = None
    user: str | None = None
    policy: TaskPolicy = DEFAULT_POLICY
    """Its timeout is looked after at home, which cancels the job."""
    approved: tuple[Granted, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=lambda: NOTHING)


def order_to_json(order: JobOrder) -> JsonObject:
    """The `data` of a job.

    Raises:
        CodecError: Its metadata is not JSON.
    """
    return value_to_json(JobOrder, order)


def order_from_json(data: JsonObject) -> JobOrder:
    """What `order_to_json` wrote.

    Raises:
        CodecError: It is corrupt, or of a newer version.
    """
    return value_from_json(JobOrder, data)


# -- the outcome ----------------------------------------------------------------------------------

_OUTCOMES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "completed": Completed,
        "errored": Errored,
        "approval_needed": ApprovalNeeded,
        "refused": Refused,
    }
)
_WORDS = {kind: word for word, kind in _OUTCOMES.items()}


def outcome_to_json(outcome: ToolOutcome) -> JsonObject:
    """The `result` of a job. What of a value or of metadata is no JSON is left out: a model reads
    the text.

    Raises:
        CodecError: It is no outcome.
    """
    kind = type(outcome)
    if kind not in _WORDS:
        raise CodecError(f"{outcome!r:.100} is no outcome of a tool")
    try:
        written = value_to_json(kind, outcome)
    except CodecError:
        match outcome:
            case Completed():
                outcome = replace(outcome, value=None, metadata=NOTHING)
            case Errored():
                outcome = replace(outcome, metadata=NOTHING)
            case _:
                raise
        written = value_to_json(kind, outcome)
    return {**written, "type": _WORDS[kind]}


def outcome_from_json(data: JsonObject) -> ToolOutcome | None:
    """What `outcome_to_json` wrote; None: it is lost, and nobody knows the outcome.

    Raises:
        CodecError: It is corrupt, of a newer version, or of an unknown type.
    """
    if data.get("lost"):
        return None
    kind = _OUTCOMES.get(str(data.get("type")))
    if kind is None:
        raise CodecError(f"unknown type of outcome {data.get('type')!r:.40}")
    return cast("ToolOutcome", value_from_json(kind, data))


def progress_to_json(progress: Progress) -> JsonObject:
    """What a worker notes of a job."""
    return value_to_json(Progress, progress)


def progress_from_json(data: JsonObject) -> Progress:
    """What `progress_to_json` wrote.

    Raises:
        CodecError: It is corrupt, or of a newer version.
    """
    return value_from_json(Progress, data)


# -- questions ------------------------------------------------------------------------------------


@value(kw_only=True)
class Ask:
    """What the body of a job asks a person, and the answer.

    The worker puts it, open; home asks, and closes it as `approved` or `denied`. A worker that
    goes on without an answer closes it as `withdrawn`.
    """

    job_id: str
    reason: str
    details: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    answer: str | None = None
    """None, "approved" or "denied": as the status of its record."""
    note: str | None = None
    """Why it was denied."""


ASKS = Kind("ask", Ask, open=frozenset({"open"}))
"""By `ask_id`."""
OF_A_CHILD = frozenset({"tool", "arguments"})
"""The details that a question has beside its own when it is not the job's body that asks."""


def ask_id(job_id: str, number: int) -> str:
    """The id of the `number`th question of a job, from 1 in the order in which its body asks: a
    body that begins again asks the same ones."""
    return f"{job_id}:{number}"

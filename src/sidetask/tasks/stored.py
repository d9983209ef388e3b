"""What of tasks a store keeps: the kinds of their records, and how a decision is entered.

A result waits for the loop or for the host until the history write that acknowledges it; a
decision is made once, whichever process enters it.
"""

from typing import Literal, TypeAlias

from sidetask.core.errors import AlreadyDecidedError, ApprovalNotFoundError
from sidetask.core.ids import TaskId, value
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.core.routing import OnComplete
from sidetask.stores.base import RESULT, Kind, Record, Records
from sidetask.stores.members import HOME
from sidetask.tasks.values import Approval, Decision, Resolution, TaskSnapshot

NEWS = "news"
RESULTS = Kind(RESULT, Resolution, open=frozenset({"loop", NEWS, "host"}))
"""By task id; its status says who takes it: the loop; the loop, but no conversation is taken up for
it; the host."""
APPROVALS = Kind("approval", Approval, open=frozenset({str(Decision.OPEN)}))


OrderKind: TypeAlias = Literal["cancel", "detach", "send", "go_on"]
"""`go_on`: a turn was cut off by who let the conversation go, and is to be gone on with."""


@value(kw_only=True)
class Order:
    """What another process asks of the one that has a conversation open."""

    kind: str
    """An `OrderKind`."""
    by: str = ""
    task_id: TaskId | None = None
    """Of the task to cancel or to detach."""
    text: str = ""
    """What is said, or why it is cancelled."""


ORDERS = Kind("order", Order, open=frozenset({"open"}))


@value(kw_only=True)
class SubAgent:
    """A conversation that works for a task."""

    task_id: TaskId


SUB_AGENTS = Kind("sub_agent", SubAgent, open=frozenset({"open"}))
"""In the conversation of the task, by the id of the one that works for it; open as long as it does.
"""


@value(kw_only=True)
class Home:
    """How somebody has a conversation open."""

    adopted: bool = False
    """By itself, to carry it to idle: it lets go of it for anybody who wants it."""
    takings: int = 0
    """How often in a row it was taken up so, with no good end until now."""
    wanted_by: str = ""
    """The member that waits for it."""


HOMES = Kind(HOME, Home)
"""One for each conversation that was ever open where others can see it. Its status is the id of the
member that has it, or one of `NOBODY`, `STUCK`, `BELOW`: none is open, for it holds up nothing."""


@value(kw_only=True)
class Step:
    """What a finished step of a task returned."""

    value: Json


STEPS = Kind("step", Step)
"""By task id, key, and how often the key was asked for before."""
NOT_STORED = "sidetask.not_stored"
"""In a stored task's metadata: its arguments were kept out of the store, so that no later process
can run it."""
TASKS = Kind(
    "task",
    TaskSnapshot,
    open=frozenset({str(each) for each in TaskStatus if each not in TERMINAL}),
)


def result_record(resolution: Resolution, *, to_loop: bool, at: float) -> Record[Resolution]:
    """The record of a result that nobody has taken yet."""
    return Record(
        kind=RESULTS,
        conversation_id=resolution.conversation_id,
        id=resolution.task_id,
        status=_taker(resolution) if to_loop else "host",
        at=at,
        value=resolution,
    )


def _taker(resolution: Resolution) -> str:
    return NEWS if resolution.on_complete is OnComplete.NOTIFY else "loop"


def approval_record(approval: Approval) -> Record[Approval]:
    """The record of a question, open or decided."""
    return Record(
        kind=APPROVALS,
        conversation_id=approval.conversation_id,
        id=approval.id,
        status=str(approval.decision),
        at=approval.decided_at or approval.created_at,
        value=approval,
    )


def task_record(task: TaskSnapshot) -> Record[TaskSnapshot]:
    """The record of a task as it is now."""
    return Record(
        kind=TASKS,
        conversation_id=task.conversation_id,
        id=task.id,
        status=str(task.status),
        at=task.finished_at or task.started_at or task.created_at,
        value=task,
    )


async def decide(store: Records, approval: Approval) -> Approval:
    """Enter a decision: `approval` as it is decided now.

    Raises:
        AlreadyDecidedError: It was decided before, here or by another process.
        ApprovalNotFoundError: The store has no approval of this id.
    """
    stands = await store.swap(approval_record(approval), expect=str(Decision.OPEN))
    if stands is None:
        raise ApprovalNotFoundError(approval.id)
    if stands.value is not approval:
        first = stands.value
        raise AlreadyDecidedError(first.id, first.decision, first.decided_by, first.decided_at)
    return approval

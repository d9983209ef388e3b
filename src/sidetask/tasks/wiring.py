"""The parts of a task manager, put together."""

from collections.abc import Callable

from sidetask.core.ids import value
from sidetask.core.messages import ToolCall
from sidetask.core.routing import Route
from sidetask.engines.base import Engine
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.parts.approvals import Approvals
from sidetask.tasks.parts.asking import Asking
from sidetask.tasks.parts.body import Spawn
from sidetask.tasks.parts.delivery import Delivery
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.mailbox import Mailbox
from sidetask.tasks.parts.permits import Limits, Permits
from sidetask.tasks.parts.records import Keeping
from sidetask.tasks.parts.runner import FindWork, Runner
from sidetask.tasks.parts.turns import Turns


@value
class Parts:
    """Everything that manager and handle share."""

    outbox: Outbox
    ledger: Ledger
    permits: Permits
    mailbox: Mailbox
    approvals: Approvals
    delivery: Delivery
    runner: Runner
    asking: Asking
    turns: Turns
    engine: Engine
    keeper: Keeping | None


def assemble(  # noqa: PLR0913 - what a manager is made of
    outbox: Outbox,
    engine: Engine,
    limits: Limits,
    *,
    find_work: FindWork,
    spawn: Spawn,
    route_of: Callable[[ToolCall, Route], Route],
    keeper: Keeping | None = None,
) -> Parts:
    """Make the parts and introduce them to each other."""
    ledger = Ledger(outbox, limits, keeper)
    permits = Permits(limits)
    mailbox = Mailbox(keeper)
    approvals = Approvals("" if keeper is None else keeper.tag)
    delivery = Delivery(ledger, mailbox, outbox)
    runner = Runner(
        ledger, permits, delivery, engine, find_work=find_work, spawn=spawn, keeper=keeper
    )
    asking = Asking(
        approvals,
        ledger,
        runner,
        delivery,
        outbox,
        route_of=route_of,
        age=limits.approval_age,
        keeper=keeper,
    )
    runner.desk.questions = asking
    turns = Turns(ledger, mailbox, runner, delivery)
    return Parts(
        outbox,
        ledger,
        permits,
        mailbox,
        approvals,
        delivery,
        runner,
        asking,
        turns,
        engine,
        keeper,
    )

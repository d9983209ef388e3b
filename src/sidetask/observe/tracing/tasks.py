"""The spans of tasks: from being queued to their end, whoever waits.

    what it is                                       span             part of
    a call that its turn waits for                   execute_tool     the turn
    a call in the background, from its begin         execute_tool     a trace of its own
    an agent that somebody called                    task             what called it
    an agent that was dispatched                     dispatch         a trace of its own

Work that nobody waits for is in a trace of its own, linked with what launched it, in both
directions: a trace should end with the request that it tells of. A call that detaches while it
runs stays where it is, as spans cannot move; it ends when the work ends, and the turn that gets
its result links to it.
"""

from collections import OrderedDict

from opentelemetry.trace import SpanContext

from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskEnded,
    TaskFailed,
    TaskQueued,
    TaskStarted,
    TaskTimedOut,
)
from sidetask.core.ids import TaskId
from sidetask.observe.tracing import names
from sidetask.observe.tracing.meters import Meters
from sidetask.observe.tracing.spans import ROOT, OpenSpan, Pen, current, link

KEPT = 1000
"""Ended tasks that a later turn may still link to, the last ones."""
LOST = "lost"
"""The outcome of what was never told to have ended."""


class _Work:
    """A living task."""

    __slots__ = ("entered", "late", "name", "operation", "span")

    def __init__(self, span: OpenSpan, event: TaskQueued, operation: str) -> None:
        self.span = span
        self.operation = operation
        self.name = event.name
        self.late = event.background
        """Its result comes after the call was answered."""
        self.entered = False
        """It has begun, and its body's code is inside the span."""


class TaskSpans:
    """The spans of one runtime's tasks."""

    def __init__(self, pen: Pen, meters: Meters, *, content: bool) -> None:
        self._pen = pen
        self._meters = meters
        self._content = content
        self._alive: dict[TaskId, _Work] = {}
        self._ended: OrderedDict[TaskId, SpanContext] = OrderedDict()

    def living(self, task_id: TaskId | None) -> OpenSpan | None:
        """The span of a task that has not ended."""
        work = self._alive.get(task_id) if task_id is not None else None
        return None if work is None else work.span

    def find(self, task_id: TaskId) -> SpanContext | None:
        """What a link to this task leads to, if it is known."""
        span = self.living(task_id)
        return self._ended.get(task_id) if span is None else span.span.get_span_context()

    def queued(self, event: TaskQueued, arguments: str | None) -> None:
        """A task exists, or begins another attempt."""
        work = self._alive.get(event.task_id)
        if work is not None:
            work.span.tell("queued", event.at, {names.ATTEMPT: event.attempt})
            return
        operation = _operation(event)
        alone = event.background or operation == names.DISPATCH
        launcher = current()
        seen = launcher.get_span_context()
        span = self._pen.begin(
            f"{operation} {event.name}",
            event.at,
            attributes=_attributes(event, operation),
            within=ROOT if alone else None,
            links=(link(seen, "launcher"),) if alone and seen.is_valid else (),
        )
        if alone and launcher.is_recording():
            launcher.add_link(span.span.get_span_context(), {names.LINK: "launched"})
        if arguments is not None and self._content:
            span.set({names.ARGUMENTS: arguments})
        self._alive[event.task_id] = _Work(span, event, operation)
        self._meters.queued(operation, event.name)

    def started(self, event: TaskStarted) -> None:
        """An attempt begins."""
        work = self._alive.get(event.task_id)
        if work is None:
            return
        span = work.span
        span.tell("started", event.at, {names.ATTEMPT: event.attempt})
        # The first start is told in the task's own context, from which later attempts are copied;
        # one that goes on after an approval is told in the context of who approved.
        if not work.entered:
            work.entered = True
            waited = event.at - span.began
            span.set({names.QUEUE_WAIT_TIME: waited})
            span.enter()
            self._meters.started(work.operation, work.name, waited)

    def detached(self, event: TaskDetached) -> None:
        work = self._alive.get(event.task_id)
        if work is not None:
            work.late = True
            work.span.set({names.DETACHED: True})
            work.span.tell("detached", event.at, {names.REASON: event.reason})

    def approval_requested(self, event: ApprovalRequested) -> None:
        work = self._alive.get(event.task_id)
        if work is not None:
            work.span.tell("approval requested", event.at, {names.APPROVAL: event.approval_id})

    def approval_decided(self, event: ApprovalDecided) -> None:
        work = self._alive.get(event.task_id)
        if work is not None:
            details = {names.APPROVAL: event.approval_id, names.DECISION: event.decision}
            work.span.tell("approval decided", event.at, details)

    def ended(self, event: TaskEnded) -> None:
        """A task has ended: the only way in which its span does."""
        work = self._alive.pop(event.task_id, None)
        if work is None:
            return
        span = work.span
        failed = False
        error_type = why = None
        match event:
            case TaskFailed():
                failed, error_type, why = True, event.error_type or "_OTHER", event.error
            case TaskTimedOut():
                failed, error_type = True, "timeout"
                why = f"not done within {event.timeout:g} s"
            case TaskCancelled() | TaskDenied():
                why = event.reason
            case _:
                pass
        if isinstance(event, TaskCancelled | TaskTimedOut | TaskDenied) and event.abandoned:
            span.set({names.ABANDONED: True})
        if why is not None and not failed and self._content:
            span.set({names.REASON: why})
        shown = why if self._content or isinstance(event, TaskTimedOut) else None
        span.end(event.at, event.outcome, error_type=error_type, why=shown)
        self._meters.ended(work.operation, work.name, event.outcome, event.duration)
        if work.late:
            self._remember(event.task_id, span.span.get_span_context())

    def close(self, at: float) -> None:
        """End what is left: its end could not be told."""
        while self._alive:
            _, work = self._alive.popitem()
            work.span.end(at, LOST, error_type=LOST)
            self._meters.ended(work.operation, work.name, LOST, max(0, at - work.span.began))

    def _remember(self, task_id: TaskId, context: SpanContext) -> None:
        if not context.is_valid:
            return
        self._ended[task_id] = context
        self._ended.move_to_end(task_id)
        if len(self._ended) > KEPT:
            self._ended.popitem(last=False)


def _operation(event: TaskQueued) -> str:
    if event.executor is None:
        return names.EXECUTE_TOOL
    is_awaited = event.executor == names.INVOKE_AGENT or event.parent_id is not None
    return names.TASK if is_awaited else names.DISPATCH


def _attributes(event: TaskQueued, operation: str) -> dict[str, str | bool]:
    told: dict[str, str | bool] = {
        names.CONVERSATION: event.conversation_id,
        names.TASK_ID: event.task_id,
        names.BACKGROUND: event.background,
    }
    if operation == names.EXECUTE_TOOL:
        told[names.OPERATION] = operation
        told[names.TOOL] = event.name
        told[names.TOOL_TYPE] = "function"
        told[names.CALL] = event.call_id
    if event.turn_id is not None:
        told[names.TURN] = event.turn_id
    if event.parent_id is not None:
        told[names.PARENT_TASK] = event.parent_id
    return told

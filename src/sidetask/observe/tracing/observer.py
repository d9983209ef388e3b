"""Spans and metrics of a runtime, made of its events and of nothing else.

The hot path knows nothing of this: it publishes events, and this hears them. See `base` for
why code inside a turn or a tool finds its span as the current one. Deltas are not looked at.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.metrics import MeterProvider, get_meter, get_meter_provider
from opentelemetry.trace import TracerProvider, get_tracer, get_tracer_provider

from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AssistantMessageCommitted,
    CompactionCircuitOpened,
    DoomLoopDetected,
    Event,
    HistoryCompacted,
    ModelStarted,
    NotificationsCommitted,
    QuotaHit,
    QuotaResumed,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskFailed,
    TaskQueued,
    TaskStarted,
    TaskSucceeded,
    TaskTimedOut,
    ToolMessageCommitted,
    UsageRecorded,
    UserMessageCommitted,
)
from sidetask.core.ids import ConversationId, TaskId
from sidetask.observe.tracing import names
from sidetask.observe.tracing.meters import Meters
from sidetask.observe.tracing.spans import Pen
from sidetask.observe.tracing.tasks import TaskSpans
from sidetask.observe.tracing.turns import TurnSpans

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """How a runtime is traced: `Runtime(tracing=Tracing(content=True))`.

    Without providers of its own it uses the global ones, whenever those are set; without an SDK
    nothing is recorded. Messages, arguments, and texts of errors are private, and are left out.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    content: bool = False
    """Tell them too: what was said, arguments of calls, texts of errors."""

    def observer(self) -> "TracingObserver":
        """The observer of one runtime."""
        return TracingObserver(self)


class TracingObserver:
    """Traces one runtime."""

    def __init__(self, tracing: Tracing) -> None:
        pen = Pen(get_tracer(names.SCOPE, tracer_provider=tracing.tracer_provider))
        meters = Meters(get_meter(names.SCOPE, meter_provider=tracing.meter_provider))
        self._tasks = TaskSpans(pen, meters, content=tracing.content)
        self._turns = TurnSpans(pen, meters, self._tasks, content=tracing.content)
        self._at = 0.0
        """When the latest fact happened: the runtime's clock is told by its events."""
        self._handlers = self._table()
        self._asleep = tracing.tracer_provider is None and tracing.meter_provider is None

    def hear(self, event: Event) -> None:
        handle = self._handlers.get(type(event))
        if handle is None or (self._asleep and self._sleeps_on(event)):
            return
        self._at = event.at
        try:
            handle(event)
        except Exception:  # noqa: BLE001 - the one boundary: an SDK is a stranger's code, and only watches
            _log.exception("tracing %s of %s", event.kind, event.conversation_id)

    def opened(
        self, conversation_id: ConversationId, agent: str | None, parent_id: TaskId | None
    ) -> None:
        self._turns.opened(conversation_id, agent, parent_id)

    def asked(self) -> object:
        return get_current()

    def admitted(self, conversation_id: ConversationId, asked: object) -> None:
        self._turns.admitted(conversation_id, asked)

    def closed(self, conversation_id: ConversationId) -> None:
        self._turns.closed(conversation_id, self._at)

    def close(self) -> None:
        self._turns.close(self._at)
        self._tasks.close(self._at)

    def _sleeps_on(self, event: Event) -> bool:
        """While there is no SDK nothing is looked at, but whether there is one now."""
        if isinstance(event, RunStarted | TaskQueued):
            self._asleep = _is_stand_in(get_tracer_provider()) and _is_stand_in(
                get_meter_provider()
            )
        return self._asleep

    def _queued(self, event: TaskQueued) -> None:
        self._tasks.queued(event, self._turns.arguments(event.conversation_id, event.call_id))

    def _table(self) -> Mapping[type[Event], Callable[[Any], None]]:
        tasks, turns = self._tasks, self._turns
        return {
            RunStarted: turns.started,
            RunCompleted: turns.ended,
            RunFailed: turns.ended,
            RunCancelled: turns.ended,
            ModelStarted: turns.model_started,
            UsageRecorded: turns.used,
            UserMessageCommitted: turns.committed,
            AssistantMessageCommitted: turns.replied,
            ToolMessageCommitted: turns.committed,
            NotificationsCommitted: turns.committed,
            DoomLoopDetected: turns.noted,
            HistoryCompacted: turns.noted,
            CompactionCircuitOpened: turns.noted,
            QuotaHit: turns.noted,
            QuotaResumed: turns.noted,
            TaskQueued: self._queued,
            TaskStarted: tasks.started,
            TaskDetached: tasks.detached,
            ApprovalRequested: tasks.approval_requested,
            ApprovalDecided: tasks.approval_decided,
            TaskSucceeded: tasks.ended,
            TaskFailed: tasks.ended,
            TaskCancelled: tasks.ended,
            TaskTimedOut: tasks.ended,
            TaskDenied: tasks.ended,
        }


def _is_stand_in(provider: TracerProvider | MeterProvider) -> bool:
    """Whether it is the API's own, which keeps nothing, and no SDK's."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))

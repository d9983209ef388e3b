"""What happened, counted from the event log alone.

The demo says what the runtime promises; this checks it against the facts. It knows nothing of
the demo's story, and works on the events of any conversation.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sidetask.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AssistantMessageCommitted,
    Event,
    NotificationsCommitted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    TaskDetached,
    TaskEnded,
    TaskQueued,
    ToolMessageCommitted,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The sums of a conversation, and every promise that was broken."""

    calls: int
    """Tool calls that the model made."""
    answered: int
    """Calls that have at least one answer."""
    answered_twice: int
    launched: int
    """Tasks."""
    ended: int
    detached: int
    delivered: int
    """Late results that became part of the history."""
    delivered_twice: int
    delivery_turns: int
    """Model calls in which they were told."""
    most_at_once: int
    """Results that were told together."""
    turns: int
    turns_cut: int
    approvals_open: int
    broken: tuple[str, ...]

    @property
    def line(self) -> str:
        """The audit in one line."""
        return (
            f"{self.launched} launched, {self.ended} ended, {self.calls} calls, "
            f"{self.answered} answered, {self.answered_twice} twice, "
            f"{self.delivered} late results in {self.delivery_turns} turns "
            f"(up to {self.most_at_once} in 1), {self.delivered_twice} told twice, "
            f"{self.approvals_open} approval(s) open"
        )


def audit(events: Iterable[Event]) -> Audit:
    """Count a conversation's events and check them against the promises."""
    count = Count()
    for event in events:
        count.take(event)
    return count.audit()


class Count:
    """The sums, as they grow."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._delivered: Counter[str] = Counter()
        self._batches: list[int] = []
        self._queued: dict[str, None] = {}
        self._ends: Counter[str] = Counter()
        self._detached: set[str] = set()
        self._runs: Counter[str] = Counter()
        self._run_ends: Counter[str] = Counter()
        self._cut = 0
        self._asked: set[str] = set()

    def take(self, event: Event) -> None:
        """Count one event."""
        match event:
            case AssistantMessageCommitted():
                self._calls.update(call.id for call in event.message.calls)
            case ToolMessageCommitted():
                self._answers.update(result.call_id for result in event.message.results)
            case NotificationsCommitted():
                self._delivered.update(item.task_id for item in event.message.items)
                self._batches.append(len(event.message.items))
            case TaskQueued():
                self._queued[event.task_id] = None
            case TaskDetached():
                self._detached.add(event.task_id)
            case TaskEnded():
                self._ends[event.task_id] += 1
            case RunStarted():
                self._runs[str(event.run_id)] += 1
            case RunCompleted() | RunFailed() | RunCancelled():
                self._run_ends[str(event.run_id)] += 1
                self._cut += isinstance(event, RunCancelled)
            case ApprovalRequested():
                self._asked.add(event.approval_id)
            case ApprovalDecided():
                self._asked.discard(event.approval_id)
            case _:
                pass

    def audit(self) -> Audit:
        """The sums, and what they say of the promises."""
        return Audit(
            calls=len(self._calls),
            answered=sum(1 for call in self._calls if self._answers[call]),
            answered_twice=sum(1 for call in self._calls if self._answers[call] > 1),
            launched=len(self._queued),
            ended=sum(1 for task in self._queued if self._ends[task]),
            detached=len(self._detached),
            delivered=len(self._delivered),
            delivered_twice=sum(1 for times in self._delivered.values() if times > 1),
            delivery_turns=len(self._batches),
            most_at_once=max(self._batches, default=0),
            turns=len(self._runs),
            turns_cut=self._cut,
            approvals_open=len(self._asked),
            broken=tuple(self._broken()),
        )

    def _broken(self) -> list[str]:
        return [
            *_not_once("call", "answered", self._calls, self._answers),
            *_not_once("turn", "ended", self._runs, self._run_ends),
            *[f"task {task} ended {n} times" for task, n in self._ends.items() if n > 1],
            *[
                f"the result of {task} was told twice"
                for task, n in self._delivered.items()
                if n > 1
            ],
        ]


def _not_once(what: str, done: str, begun: Counter[str], ended: Counter[str]) -> list[str]:
    return [
        f"{what} {each} was {done} {ended[each]} times, not once"
        for each in begun
        if ended[each] != 1
    ]

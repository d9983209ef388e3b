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
    calls: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    batches: list[int] = []
    queued: dict[str, None] = {}
    ends: Counter[str] = Counter()
    detached: set[str] = set()
    runs: Counter[str] = Counter()
    run_ends: Counter[str] = Counter()
    cut = 0
    asked: set[str] = set()
    for event in events:
        match event:
            case AssistantMessageCommitted():
                calls.update(call.id for call in event.message.calls)
            case ToolMessageCommitted():
                answers.update(result.call_id for result in event.message.results)
            case NotificationsCommitted():
                delivered.update(item.task_id for item in event.message.items)
                batches.append(len(event.message.items))
            case TaskQueued():
                queued[event.task_id] = None
            case TaskDetached():
                detached.add(event.task_id)
            case TaskEnded():
                ends[event.task_id] += 1
            case RunStarted():
                runs[str(event.run_id)] += 1
            case RunCompleted() | RunFailed() | RunCancelled():
                run_ends[str(event.run_id)] += 1
                cut += isinstance(event, RunCancelled)
            case ApprovalRequested():
                asked.add(event.approval_id)
            case ApprovalDecided():
                asked.discard(event.approval_id)
            case _:
                pass
    broken = (
        *_not_once("call", "answered", calls, answers),
        *_not_once("turn", "ended", runs, run_ends),
        *[f"task {each} ended {ends[each]} times" for each in queued if ends[each] > 1],
        *[f"the result of {each} was told twice" for each in delivered if delivered[each] > 1],
    )
    return Audit(
        calls=len(calls),
        answered=sum(1 for call in calls if answers[call]),
        answered_twice=sum(1 for call in calls if answers[call] > 1),
        launched=len(queued),
        ended=sum(1 for task in queued if ends[task]),
        detached=len(detached),
        delivered=len(delivered),
        delivered_twice=sum(1 for each in delivered.values() if each > 1),
        delivery_turns=len(batches),
        most_at_once=max(batches, default=0),
        turns=len(runs),
        turns_cut=cut,
        approvals_open=len(asked),
        broken=broken,
    )


def _not_once(what: str, done: str, begun: Counter[str], ended: Counter[str]) -> list[str]:
    return [
        f"{what} {each} was {done} {ended[each]} times, not once"
        for each in begun
        if ended[each] != 1
    ]

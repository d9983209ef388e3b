"""What happened, as lanes of a terminal: each turn and each task is a bar along the time.

    turn-1         ██████                          2.1 s  completed
    task-1 crawl   ·████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒   31.4 s  succeeded

`·` waits for its permit, `█` runs and is waited for, `▒` runs beside the conversation, `?` waits
for a person.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rich.text import Text

from sidetask.cli.view.render import cleaned
from sidetask.core.events import (
    ApprovalRequested,
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    TaskDetached,
    TaskEnded,
    TaskEvent,
    TaskQueued,
    TaskStarted,
)

WIDTH = 48
"""Letters of the longest bar."""
QUEUED, AWAITED, BESIDE, ASKING = "·█▒?"
_STYLES = {"completed": "green", "succeeded": "green", "failed": "red", "timed_out": "red"}


@dataclass(slots=True)
class Lane:
    """One turn or task."""

    name: str
    begun: float
    stages: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """From when on it looked how."""
    ended: float | None = None
    outcome: str = "still at work"
    beside: bool = False


def lanes(events: Iterable[Event]) -> list[Lane]:
    """The turns and tasks that these events tell of, by their begin."""
    found: dict[str, Lane] = {}
    for event in events:
        if isinstance(event, TaskEvent):
            _note_task(found, event)
        elif event.run_id is not None:
            _note_run(found, event)
    return list(found.values())


def drawn(found: Sequence[Lane], *, width: int = WIDTH) -> list[Text]:
    """One line for each lane, all on the same scale."""
    if not found:
        return []
    begin = min(lane.begun for lane in found)
    end = max(moment for lane in found for moment in _moments(lane))
    names = max(len(lane.name) for lane in found)
    scale = width / (end - begin) if end > begin else 0.0
    return [_line(lane, begin, end, scale, names, width) for lane in found]


def _note_run(found: dict[str, Lane], event: Event) -> None:
    key = str(event.run_id)
    match event:
        case RunStarted():
            name = str(event.turn_id or event.run_id)
            found[key] = Lane(name, event.at, [(event.at, AWAITED)])
        case RunCompleted() | RunFailed() | RunCancelled():
            lane = found.setdefault(key, Lane(str(event.turn_id or event.run_id), event.at))
            lane.ended = event.at
            lane.outcome = event.kind.value.removeprefix("run_")
        case _:
            pass


def _note_task(found: dict[str, Lane], event: TaskEvent) -> None:
    name = cleaned(f"{event.task_id} {event.name}")
    lane = found.setdefault(event.task_id, Lane(name, event.at))
    match event:
        case TaskQueued(background=background):
            lane.beside = lane.beside or background
            lane.stages.append((event.at, QUEUED))
        case TaskStarted():
            lane.stages.append((event.at, BESIDE if lane.beside else AWAITED))
        case TaskDetached():
            lane.beside = True
            if lane.stages and lane.stages[-1][1] == AWAITED:
                lane.stages.append((event.at, BESIDE))
        case ApprovalRequested():
            lane.stages.append((event.at, ASKING))
        case TaskEnded():
            lane.ended, lane.outcome = event.at, event.outcome
        case _:
            pass


def _moments(lane: Lane) -> Iterator[float]:
    yield lane.begun
    yield from [moment for moment, _ in lane.stages]
    if lane.ended is not None:
        yield lane.ended


def _line(lane: Lane, begin: float, end: float, scale: float, names: int, width: int) -> Text:
    until = end if lane.ended is None else lane.ended
    row = [" "] * width
    stages = [*lane.stages, (until, "")]
    for (since, mark), (to, _) in pairwise(stages):
        first = min(int((since - begin) * scale), width - 1)
        last = max(min(round((to - begin) * scale), width), first + 1)
        row[first:last] = mark * (last - first)
    line = Text(f"{lane.name.ljust(names)}  ")
    line.append("".join(row), "cyan")
    line.append(f"  {until - lane.begun:6.1f} s  ")
    line.append(lane.outcome, _STYLES.get(lane.outcome, "yellow"))
    return line

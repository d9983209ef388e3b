"""A conversation as a picture: one lane for the turns, one for each task, over time.

An SVG that needs nothing else: its colours follow the reader's light or dark setting, its
text is text, and each bar has a title that tells its numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from sidetask.core.events import (
    ApprovalRequested,
    Event,
    NotificationsCommitted,
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

WIDTH = 1180
LABELS = 190
RIGHT = 24
TOP = 98
TURN_LANE = 34
LANE = 13
BAR = 9
_CAPTION = "Dotted: the turn in which a late result was told. Violet turns began by themselves."

_STYLE = """
  svg { --paper:#ffffff; --ink:#1f2430; --soft:#6b7385; --grid:#e6e9f0; --wait:#cfd6e4;
        --work:#3f7ddb; --late:#7d5bd0; --ask:#e0a11b; --ok:#2f9e64; --bad:#d2453d; }
  @media (prefers-color-scheme: dark) {
    svg { --paper:#12151c; --ink:#e8ebf2; --soft:#98a1b5; --grid:#252b38; --wait:#3a4356;
          --work:#5b9bff; --late:#a68bff; --ask:#f2bf4a; --ok:#4fc98a; --bad:#ff6f66; } }
  text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: var(--ink); }
  .title { font-size: 16px; font-weight: 600; }
  .soft { fill: var(--soft); }
  .tick { stroke: var(--grid); }
  .drop { stroke: var(--soft); stroke-opacity: .45; stroke-dasharray: 2 3; }
"""


@dataclass(slots=True)
class Bar:
    """A stretch of a lane."""

    start: float
    end: float | None
    colour: str
    title: str


@dataclass(slots=True)
class Lane:
    """One task's row."""

    label: str
    bars: list[Bar] = field(default_factory=list[Bar])
    told_at: float | None = None
    end_colour: str = "soft"


class Timeline:
    """Collects bars from events, and draws them."""

    def __init__(self) -> None:
        self._turns: dict[str, Bar] = {}
        self._lanes: dict[str, Lane] = {}
        self._detached: set[str] = set()
        self._first: float | None = None
        self._last = 0.0

    def add(self, event: Event) -> None:
        """Take the next event of one conversation."""
        if event.live:
            return
        if self._first is None:
            self._first = event.at
        self._last = max(self._last, event.at)
        match event:
            case RunStarted():
                title = f"{event.turn_id}, begun by {event.cause}"
                colour = "work" if event.cause == "user" else "late"
                self._turns[str(event.run_id)] = Bar(event.at, None, colour, title)
            case RunCompleted() | RunFailed() | RunCancelled():
                self._end_turn(event)
            case NotificationsCommitted():
                for item in event.message.items:
                    if item.task_id in self._lanes:
                        self._lanes[item.task_id].told_at = event.at
            case TaskEvent():
                self._add_task(event)
            case _:
                pass

    def svg(self, title: str, subtitle: str) -> str:
        """The picture."""
        height = TOP + TURN_LANE + len(self._lanes) * LANE + 40
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' role="img" aria-label="{escape(title)}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--paper)"/>',
            f'<text class="title" x="20" y="30">{escape(title)}</text>',
            f'<text class="soft" x="20" y="50">{escape(subtitle)}</text>',
            f'<text class="soft" x="20" y="66">{_CAPTION}</text>',
            *_legend(),
            *self._grid(height),
            *self._drops(),
            *self._turn_lane(),
        ]
        for index, lane in enumerate(self._lanes.values()):
            parts += self._lane(lane, TOP + TURN_LANE + index * LANE)
        parts.append("</svg>")
        return "\n".join(parts) + "\n"

    # -- collecting --------------------------------------------------------------------------

    def _end_turn(self, event: RunCompleted | RunFailed | RunCancelled) -> None:
        bar = self._turns.get(str(event.run_id))
        if bar is None:
            return
        bar.end = event.at
        if not isinstance(event, RunCompleted):
            bar.colour = "bad"
            bar.title += f", {event.kind}"

    def _add_task(self, event: TaskEvent) -> None:
        lane = self._lanes.setdefault(event.task_id, Lane(f"{event.task_id} {event.name}"))
        late = event.task_id in self._detached
        match event:
            case TaskQueued():
                _next(lane, event.at, "wait", "waits for a permit")
                if event.background:
                    self._detached.add(event.task_id)
            case TaskStarted():
                _next(lane, event.at, "late" if late else "work", "runs")
            case TaskDetached():
                self._detached.add(event.task_id)
                _next(lane, event.at, "late", "runs beside the conversation")
            case ApprovalRequested():
                _next(lane, event.at, "ask", "waits for a person")
            case TaskEnded():
                _next(lane, event.at, None, "")
                lane.end_colour = "ok" if event.kind == "task_succeeded" else "bad"
            case _:
                pass

    # -- drawing -----------------------------------------------------------------------------

    def _x(self, at: float) -> float:
        first = self._first or 0.0
        span = max(self._last - first, 0.001)
        return round(LABELS + (at - first) / span * (WIDTH - LABELS - RIGHT), 1)

    def _grid(self, height: int) -> list[str]:
        first = self._first or 0.0
        span = max(self._last - first, 0.001)
        step = next((s for s in (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300) if span / s <= 12), 600)
        parts: list[str] = []
        for index in range(int(span / step) + 1):
            x = self._x(first + index * step)
            parts.append(
                f'<line class="tick" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - 26}"/>'
                f'<text class="soft" x="{x}" y="{height - 10}" text-anchor="middle">'
                f"{index * step:g} s</text>"
            )
        return parts

    def _turn_lane(self) -> list[str]:
        parts = [f'<text x="{LABELS - 10}" y="{TOP + 14}" text-anchor="end">turns</text>']
        for bar in self._turns.values():
            parts.append(self._bar(bar, TOP, 18))
        return parts

    def _drops(self) -> list[str]:
        """From the end of a task up to the turn in which its result was told."""
        parts: list[str] = []
        for index, lane in enumerate(self._lanes.values()):
            if lane.told_at is not None:
                x, y = self._x(lane.told_at), TOP + TURN_LANE + index * LANE + BAR / 2
                parts.append(f'<line class="drop" x1="{x}" x2="{x}" y1="{TOP + 18}" y2="{y}"/>')
                parts.append(f'<circle cx="{x}" cy="{y}" r="1.8" fill="var(--soft)"/>')
        return parts

    def _lane(self, lane: Lane, y: float) -> list[str]:
        label = escape(lane.label)
        parts = [
            f'<text class="soft" x="{LABELS - 10}" y="{y + BAR - 1}" text-anchor="end"'
            f' style="font-size:9.5px">{label}</text>'
        ]
        parts += [self._bar(bar, y, BAR) for bar in lane.bars]
        ended = lane.bars[-1].end if lane.bars else None
        if ended is not None:
            x = self._x(ended)
            parts.append(
                f'<circle cx="{x}" cy="{y + BAR / 2}" r="3.2" fill="var(--{lane.end_colour})"/>'
            )
        return parts

    def _bar(self, bar: Bar, y: float, height: int) -> str:
        end = self._last if bar.end is None else bar.end
        x, width = self._x(bar.start), max(self._x(end) - self._x(bar.start), 1.5)
        title = escape(f"{bar.title}: {end - bar.start:.2f} s")
        return (
            f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" rx="2.5"'
            f' fill="var(--{bar.colour})"><title>{title}</title></rect>'
        )


def draw(events: Iterable[Event], *, title: str, subtitle: str) -> str:
    """The timeline of one conversation's events as an SVG document."""
    timeline = Timeline()
    for event in events:
        timeline.add(event)
    return timeline.svg(title, subtitle)


def _next(lane: Lane, at: float, colour: str | None, title: str) -> None:
    """The lane's last bar ends here, and perhaps another begins."""
    if lane.bars and lane.bars[-1].end is None:
        lane.bars[-1].end = at
    if colour is not None:
        lane.bars.append(Bar(at, None, colour, title))


def _legend() -> list[str]:
    words = [
        ("work", "holds up its turn"),
        ("late", "beside the conversation"),
        ("wait", "queued"),
        ("ask", "waits for a person"),
        ("ok", "succeeded"),
        ("bad", "cut or failed"),
    ]
    parts: list[str] = []
    x = 500
    for colour, word in words:
        parts.append(
            f'<rect x="{x}" y="22" width="10" height="10" rx="2.5" fill="var(--{colour})"/>'
        )
        parts.append(f'<text class="soft" x="{x + 15}" y="31">{word}</text>')
        x += 30 + round(len(word) * 5.7)
    return parts

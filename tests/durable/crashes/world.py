"""What the world outside of a process has seen: what survives every crash, and cannot be unsaid."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from sidetask.core.events import Event
from sidetask.core.jsons import Json
from sidetask.core.messages import AssistantMessage, Message, NotificationMessage
from sidetask.core.usage import Usage


@dataclass
class World:
    """Written to by tools and readers; what a dead process would say is not heard."""

    alive: bool = True
    effects: Counter[str] = field(default_factory=Counter[str])
    """How often each thing was done by a tool that must do it once at most."""
    steps: Counter[str] = field(default_factory=Counter[str])
    """Steps that have begun."""
    finished: set[str] = field(default_factory=set[str])
    """Steps that `ctx.step` has returned from."""
    repeated: list[str] = field(default_factory=list[str])
    """Steps that began after they had finished."""
    events: dict[int, Event] = field(default_factory=dict[int, Event])
    """Facts that a reader was told, by number."""
    doubles: list[int] = field(default_factory=list[int])
    """Numbers that different facts were told under."""
    answers: list[str] = field(default_factory=list[str])
    """Texts of replies that `ask` returned."""
    said: list[str] = field(default_factory=list[str])
    """What a client was told is said."""
    decided: dict[str, str] = field(default_factory=dict[str, str])
    """Decisions that a client was told stand."""
    state: dict[str, Json] = field(default_factory=dict[str, Json])
    """Values that were there when something told after them was safe."""
    drained: set[str] = field(default_factory=set[str])
    """Tasks whose results the host has taken."""
    usage: Usage = field(default_factory=Usage)
    """What a host was told was consumed."""
    unpaid: list[str] = field(default_factory=list[str])
    """What the next life had forgotten of it."""
    unheard: list[str] = field(default_factory=list[str])
    """Tasks whose results woke the conversation, and no model has read them."""
    gone: set[str] = field(default_factory=set[str])
    """What a host has asked to delete: "all", or "history"."""

    def act(self, what: str) -> None:
        """A tool does something that must not be done twice."""
        if self.alive:
            self.effects[what] += 1

    def begin(self, step: str) -> None:
        if self.alive:
            self.steps[step] += 1
            if step in self.finished:
                self.repeated.append(step)

    def finish(self, step: str) -> None:
        if self.alive:
            self.finished.add(step)

    def hear(self, event: Event) -> None:
        """A reader is told."""
        if not self.alive or event.live or "all" in self.gone:
            return
        if self.events.setdefault(event.seq, event) != event:
            self.doubles.append(event.seq)

    def resume(self, usage: Usage) -> None:
        """A conversation is taken up, and has consumed so much."""
        for each in fields(usage):
            kept, told = getattr(usage, each.name), getattr(self.usage, each.name)
            if isinstance(told, int | float) and kept < told:
                self.unpaid.append(f"{each.name}: {told} were told, {kept} are kept")

    def rested(self, history: Sequence[Message]) -> None:
        """The next life has come to rest, and nobody has said anything."""
        if len(history) > 1 and isinstance(history[-1], NotificationMessage):
            before = history[-2]
            if isinstance(before, AssistantMessage) and not before.calls:
                self.unheard += [item.task_id for item in history[-1].items]

    def forget(self, what: str) -> None:
        """The host is about to delete this: it may be gone from now on."""
        if not self.alive:
            return
        self.gone.add(what)
        self.answers.clear()
        if what == "all":
            self.events.clear()
            self.state.clear()
            self.usage = Usage()

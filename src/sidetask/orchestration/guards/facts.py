"""What guards test: keys of the state, calls of tools, steps of flows, and what a host asks.

They read as `get` and `in` do: a read that names no prefix falls back to `derived:`.
"""

from collections.abc import Callable
from typing import Final, TypeAlias, cast

from sidetask.core.ids import value
from sidetask.core.jsons import Json
from sidetask.orchestration.guards.base import Fact
from sidetask.orchestration.guards.keeping import (
    DONE,
    call_key,
    meant,
    step_key,
    still_open,
    succeeded,
)
from sidetask.state.state import StateView
from sidetask.state.values import ABSENT, Absent

Look: TypeAlias = Callable[[StateView], object]


class _Some:
    """A value that is true, and not one that anybody named."""


SOME: Final = _Some()


@value
class Always(Fact):
    """Holds."""

    @property
    def subject(self) -> str:
        return "always"

    @property
    def samples(self) -> tuple[object, ...]:
        return (True,)

    def holds(self, state: StateView, flow: str = "") -> bool:
        return True


@value
class KeyFact(Fact):
    """A test of a key's value; ABSENT stands for none."""

    key: str
    tests: Callable[[object], bool]
    telling: tuple[object, ...] = ()

    @property
    def subject(self) -> str:
        return f"key {self.key}"

    @property
    def samples(self) -> tuple[object, ...]:
        return self.telling

    def test(self, value: object) -> bool:
        return self.tests(value)

    def holds(self, state: StateView, flow: str = "") -> bool:
        return self.tests(_read(state, self.key))

    def watched(self, flow: str) -> str | None:
        return self.key


@value
class CalledFact(Fact):
    """A tool was called, and a call of it succeeded."""

    tool: str

    @property
    def subject(self) -> str:
        return f"tool {self.tool}"

    def holds(self, state: StateView, flow: str = "") -> bool:
        return any(succeeded(state, key) for key in meant(state, flow, call_key, self.tool))

    def unmet(self, state: StateView, flow: str = "") -> str:
        keys = meant(state, flow, call_key, self.tool)
        begun = [task for key in keys for task in still_open(state, key)]
        return f"{self.text} ({', '.join(begun)} has not ended)" if begun else self.text

    def watched(self, flow: str) -> str | None:
        return call_key(flow, self.tool)


@value
class StepFact(Fact):
    """A step is done."""

    step: str

    @property
    def subject(self) -> str:
        return f"step {self.step}"

    def holds(self, state: StateView, flow: str = "") -> bool:
        return any(state.get(key) == DONE for key in meant(state, flow, step_key, self.step))

    def watched(self, flow: str) -> str | None:
        return step_key(flow, self.step)


@value
class CustomFact(Fact):
    """A function of the host's."""

    look: Look
    key: str

    @property
    def subject(self) -> str:
        return f"custom {self.words} {id(self.look)}"

    def holds(self, state: StateView, flow: str = "") -> bool:
        return bool(self.look(state))

    def watched(self, flow: str) -> str | None:
        return self.key


def _read(state: StateView, key: str) -> "Json | Absent":
    return cast("Json | Absent", state.get(key, cast("Json", ABSENT)))

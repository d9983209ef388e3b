"""The seam of orchestration: what an agent is to whoever invokes it, and the three ways to."""

from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from sidetask.core.jsons import Json
from sidetask.state.provenance import Source
from sidetask.state.state import StateView


@runtime_checkable
class Invocable(Protocol):
    """An agent as a value: a name, and a way to run it once.

    A local `Agent`, a pipeline of agents, an agent of another framework, a remote one and
    `as_agent(fn)` are all the same to whoever invokes them. What it spends goes to the ambient
    meter (`sidetask.core.budget`).
    """

    @property
    def name(self) -> str: ...

    async def invoke(self, input: Json, state: StateView) -> Json:
        """Run once and return the output, a JSON value; or raise the agent's own error.

        Its reads and plain writes go to `state`.
        """
        ...


class Sourced:
    """An agent value that is no agent: it says what its values come from, for their provenance."""

    source: Source


class Mode(StrEnum):
    """How an agent is invoked: who hears of its end."""

    CALL = "call"
    """Whoever calls it, and waits."""
    DISPATCH = "dispatch"
    """Nobody is told: the result is in the state, and in the handle."""
    BACKGROUND = "background"
    """The model of a conversation, by a notification, as if it had called a tool."""


ModeLike: TypeAlias = Mode | Literal["call", "dispatch", "background"]

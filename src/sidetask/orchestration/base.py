"""The seam of orchestration: what an agent is to whoever invokes it."""

from typing import Protocol, runtime_checkable

from sidetask.core.jsons import Json
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

"""Flows: conversations that go from step to step, by rules that hold whatever the model wants.

    Flow(
        "order",
        steps=[
            Step("identify", done=is_set("customer"), posture="Ask who is calling."),
            Step("order", after=["identify"], allow=["place_order"], done=called("place_order")),
        ],
        constraints=[once("place_order"), ambient("search")],
    )

A flow does not talk and plans nothing: the model does. It says what is to be done now, refuses
the calls that do not fit, and tells what is missing. How far it is stands in the state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sidetask.agents.governor import Seat
from sidetask.core.errors import FlowError
from sidetask.orchestration.flows.checking import problems
from sidetask.orchestration.flows.drawing import drawn
from sidetask.orchestration.flows.live import LiveFlow
from sidetask.orchestration.flows.plan import Plan
from sidetask.state.state import StateView


@dataclass(frozen=True, kw_only=True)
class Flow(Plan):
    """What governs the conversations of an agent: `Agent(…, flow=Flow("order", steps=[…]))`.

    Raises:
        ConfigurationError: It has no name, or no such mode.
    """

    def compile(self, tools: Iterable[str] | None = None) -> None:
        """Find what is wrong with it. Opening an agent does it, with the agent's tools; without
        `tools` their names are not looked at.

        Raises:
            FlowError: It cannot work: steps that wait for each other, that are unreachable or
                never done, guards that can never hold, names of no step or tool. All at once.
        """
        found = problems(self, tools)
        if found:
            raise FlowError(self.name, found)

    def to_mermaid(self, state: StateView | None = None) -> str:
        """The flow as the text of a Mermaid flowchart; with a conversation's state, with what is
        active and what is done."""
        return drawn(self, state)

    def govern(self, seat: Seat) -> LiveFlow:
        """Take a seat in a conversation. The runtime does it."""
        return LiveFlow(self, seat)

"""How far a flow is, as it is kept in the state: under reserved keys, so that it is saved with the
conversation, seen by whoever watches it, and found again after a restart.

    flow:<flow>:step:<step>     "entering" (what is invoked at its beginning is being started),
                                "active", "done"; none: it has not begun
    flow:<flow>:call:<tool>     {"succeeded": how many, "open": [ids of tasks that have not ended]}
    flow:<flow>:lifted          {"<tool>": [words of the guards that have held once]}
    flow:<flow>:observed        the last calls that did not fit, in a flow that only observes

Nothing is held beside it: what the state says is so.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, cast

from sidetask.core.ids import TaskId, value
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.orchestration.flows.plan import NeverUntil, Plan, Step
from sidetask.orchestration.guards.keeping import (
    DONE,
    FLOWS,
    call_key,
    step_key,
    still_open,
    succeeded,
)
from sidetask.state.provenance import Origin
from sidetask.state.state import StateView

Stage: TypeAlias = Literal["waiting", "entering", "active", "done"]

OBSERVED = 50
"""Calls that did not fit, of which the last are kept."""


@value
class Calls:
    """What is known of a tool's calls."""

    succeeded: int
    open: tuple[str, ...]
    """The ids of the tasks that have not ended."""


class Record:
    """What is kept of one flow."""

    __slots__ = ("_keys", "_plan", "_state")

    def __init__(self, plan: Plan, state: StateView) -> None:
        self._plan = plan
        self._state = state.as_writer(Origin(source="host", resolver=f"flow:{plan.name}"))
        self._keys = {step.name: step_key(plan.name, step.name) for step in plan.steps}

    # -- steps -----------------------------------------------------------------------------

    def stage(self, step: str) -> Stage:
        """How far a step is."""
        kept = self._state.get(self._keys[step])
        return cast("Stage", kept) if kept in ("entering", "active", DONE) else "waiting"

    @property
    def is_over(self) -> bool:
        """A terminal step is done."""
        return any(step.terminal and self.stage(step.name) == DONE for step in self._plan.steps)

    def active(self) -> list[Step]:
        """The steps that are active, or about to be."""
        if self.is_over:
            return []
        return [s for s in self._plan.steps if self.stage(s.name) in ("entering", "active")]

    def move(self, stages: Mapping[str, Stage], lifted: Mapping[str, list[Json]]) -> None:
        """Write what has changed, in one step."""
        changes: dict[str, object] = {self._keys[step]: stage for step, stage in stages.items()}
        if lifted:
            changes[self._lifted_key] = {**self._lifted(), **lifted}
        self._state.update(changes)

    # -- calls -----------------------------------------------------------------------------

    def calls(self, tool: str) -> Calls:
        """What is known of a tool's calls."""
        key = call_key(self._plan.name, tool)
        return Calls(succeeded(self._state, key), still_open(self._state, key))

    def begun(self, tool: str, task_id: TaskId) -> None:
        """A call of the tool has become this task, or goes on as it."""
        known = self.calls(tool)
        if task_id not in known.open:
            self._keep(tool, known.succeeded, (*known.open, task_id))

    def ended(self, tool: str, task_id: TaskId, *, well: bool) -> bool:
        """The task has ended. False: it was none of the calls that were noted."""
        known = self.calls(tool)
        if task_id not in known.open:
            return False
        left = tuple([each for each in known.open if each != task_id])
        self._keep(tool, known.succeeded + well, left)
        return True

    def _keep(self, tool: str, count: int, open_: tuple[str, ...]) -> None:
        self._state.set(call_key(self._plan.name, tool), {"succeeded": count, "open": list(open_)})

    # -- constraints -----------------------------------------------------------------------

    def is_lifted(self, constraint: NeverUntil) -> bool:
        """Its guard has held."""
        return constraint.guard.text in self._lifted().get(constraint.tool, ())

    def lifted_with(self, constraint: NeverUntil) -> list[Json]:
        """What is to be kept of a tool when this one is lifted too."""
        return [*self._lifted().get(constraint.tool, ()), constraint.guard.text]

    @property
    def _lifted_key(self) -> str:
        return f"{FLOWS}{self._plan.name}:lifted"

    def _lifted(self) -> dict[str, list[Json]]:
        kept = self._state.get(self._lifted_key)
        return cast("dict[str, list[Json]]", kept) if isinstance(kept, dict) else {}

    # -- observing -------------------------------------------------------------------------

    def observe(self, call: ToolCall, problem: str) -> None:
        """Note a call that did not fit and was let through."""
        noted: Json = {"tool": call.name, "call_id": call.id, "problem": problem}

        def add(kept: Json) -> list[Json]:
            before = kept if isinstance(kept, list) else []
            return [*before, noted][-OBSERVED:]

        self._state.modify(f"{FLOWS}{self._plan.name}:observed", add)

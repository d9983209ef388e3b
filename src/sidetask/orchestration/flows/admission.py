"""Whether a tool may be called now, and if not, what is missing.

The order in which a call is judged, and the first that objects or admits decides:

    once           it may succeed once, and it has, or a call of it has not ended
    never until    what must hold first has not held; so for what must hold now (`require`)
    deny           an active step denies it
    ambient        it may be called in every step: admitted
    allow-list     it belongs to steps none of which is active, or an active one allows only others

Calls of one reply are judged in their order, each by what is known when its turn comes: a call
that was admitted before it counts as begun, and not as done.
"""

import logging
from collections.abc import Collection

from sidetask.orchestration.flows.plan import Ambient, NeverUntil, Once, Plan, Require, Step
from sidetask.orchestration.flows.record import Record
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.keeping import DONE
from sidetask.state.results import text_of
from sidetask.state.state import StateView

SHOWN = 30
"""Tools that a refusal names at most."""

_log = logging.getLogger(__name__)


class Admission:
    """Judges calls by a plan and by how far it is."""

    __slots__ = (
        "_ambient",
        "_failing",
        "_once",
        "_owners",
        "_plan",
        "_preconditions",
        "_record",
        "_state",
    )

    def __init__(
        self, plan: Plan, record: Record, state: StateView, *, ambient: Collection[str]
    ) -> None:
        self._plan = plan
        self._record = record
        self._state = state
        self._failing: dict[int, str] = {}
        """How guards failed that did so when they were asked last, by their ids."""
        self._once = {c.tool for c in plan.constraints if isinstance(c, Once)}
        self._ambient = {t for c in plan.constraints if isinstance(c, Ambient) for t in c.tools}
        self._ambient.update(ambient)
        self._preconditions: dict[str, list[NeverUntil | Require]] = {}
        self._owners: dict[str, list[Step]] = {}
        for constraint in plan.constraints:
            if isinstance(constraint, NeverUntil | Require):
                self._preconditions.setdefault(constraint.tool, []).append(constraint)
        for step in plan.steps:
            for tool in step.allow or ():
                self._owners.setdefault(tool, []).append(step)

    def holds(self, guard: Guard) -> bool:
        """Whether a guard holds; one that raises does not, and is told once in the log."""
        try:
            held = guard.holds(self._state, self._plan.name)
        except Exception as error:  # noqa: BLE001 - the one boundary: a function of the host's
            told = f"{type(error).__name__}: {text_of(error)}"
            if self._failing.get(id(guard)) != told:
                self._failing[id(guard)] = told
                _log.exception("a guard of the flow %r failed: %s", self._plan.name, guard)
            return False
        if self._failing:
            self._failing.pop(id(guard), None)
        return held

    def problems(self, tools: Collection[str]) -> dict[str, str | None]:
        """Why each of these tools may not be called now; None: it may."""
        active = self._record.active()
        return {tool: self._problem(tool, active) for tool in tools}

    def problem(self, tool: str) -> str | None:
        """Why the tool may not be called now; None: it may."""
        return self._problem(tool, self._record.active())

    def _problem(self, tool: str, active: list[Step]) -> str | None:
        missing = self._spent(tool) or self._unmet(tool)
        if missing is not None:
            return missing
        denying = next((step for step in active if tool in step.deny), None)
        if denying is not None:
            return f"the step `{denying.name}` denies it"
        if tool in self._ambient:
            return None
        return self._shut_out(tool, active)

    def _spent(self, tool: str) -> str | None:
        if tool not in self._once:
            return None
        known = self._record.calls(tool)
        if known.succeeded:
            return "it may succeed only once, and it has"
        if known.open:
            return f"it may succeed only once, and {known.open[0]} has not ended"
        return None

    def _unmet(self, tool: str) -> str | None:
        missing = [
            self._told(each.guard)
            for each in self._preconditions.get(tool, ())
            if not (isinstance(each, NeverUntil) and self._record.is_lifted(each))
            and not self.holds(each.guard)
        ]
        return f"it has to wait until {' and '.join(missing)}" if missing else None

    def _shut_out(self, tool: str, active: list[Step]) -> str | None:
        owners = self._owners.get(tool)
        if owners is not None:
            if any(step in active for step in owners):
                return None
            return "; ".join([self._away(step) for step in owners])
        closed = next((step for step in active if step.allow is not None), None)
        if closed is None or any(step.allow is None for step in active):
            return None
        return f"the step `{closed.name}` allows only its own tools"

    def _away(self, step: Step) -> str:
        """Why a step is not active."""
        told = f"it is for the step `{step.name}`"
        if self._record.stage(step.name) == DONE or self._record.is_over:
            return f"{told}, which is over"
        needs = [f"the step `{n}` is done" for n in step.after if self._record.stage(n) != DONE]
        if not self.holds(step.gate):
            needs.append(self._told(step.gate))
        if not needs:
            return f"{told}, which has not begun"
        return f"{told}, which has to wait until {' and '.join(needs)}"

    def _told(self, guard: Guard) -> str:
        try:
            return guard.unmet(self._state, self._plan.name)
        except Exception:  # noqa: BLE001 - the one boundary: as above, and told there
            return guard.text


def listed(tools: list[str]) -> str:
    """The tools, as far as a model wants to read them."""
    more = f" and {len(tools) - SHOWN} more" if len(tools) > SHOWN else ""
    return ", ".join(tools[:SHOWN]) + more if tools else "none"

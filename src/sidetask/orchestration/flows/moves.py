"""What changes in a flow now. A decision: it reads, and changes nothing.

A step goes from waiting to entering, active and done, and never back:

    waiting -> done        it may begin, and its `done` holds already: it is passed
    waiting -> entering    all steps before it are done, and its gate holds
    entering -> active     what is invoked at its beginning is started, or has ended if it is
                           waited for. Until then its `done` does not count: what was left of an
                           earlier run of the same name is not taken for the new one.
    active -> done         its `done` holds
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sidetask.core.jsons import Json
from sidetask.orchestration.flows.plan import NeverUntil, Plan, Step
from sidetask.orchestration.flows.record import Record, Stage
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.keeping import DONE

Holds: TypeAlias = Callable[[Guard], bool]


def next_moves(
    plan: Plan, record: Record, holds: Holds
) -> tuple[Mapping[str, Stage], Mapping[str, list[Json]]]:
    """The steps that change their stage, and the tools of which a constraint is lifted, with the
    words of all that are. What follows from these changes is found when it is asked again."""
    lifted = {
        each.tool: record.lifted_with(each)
        for each in plan.constraints
        if isinstance(each, NeverUntil) and not record.is_lifted(each) and holds(each.guard)
    }
    return _stages(plan, record, holds), lifted


def _stages(plan: Plan, record: Record, holds: Holds) -> Mapping[str, Stage]:
    changes: dict[str, Stage] = {}
    if record.is_over:
        return changes
    for step in plan.steps:
        stage = record.stage(step.name)
        if stage == "waiting" and _may_begin(step, record, holds):
            changes[step.name] = _first_stage(step, holds)
        elif stage == "active" and _is_done(step, holds):
            changes[step.name] = DONE
    if any(step.terminal and changes.get(step.name) == DONE for step in plan.steps):
        return {name: stage for name, stage in changes.items() if stage == DONE}
    return changes


def _may_begin(step: Step, record: Record, holds: Holds) -> bool:
    return all(record.stage(name) == DONE for name in step.after) and holds(step.gate)


def _first_stage(step: Step, holds: Holds) -> Stage:
    if _is_done(step, holds):
        return DONE
    return "entering" if step.on_enter else "active"


def _is_done(step: Step, holds: Holds) -> bool:
    return step.done is not None and holds(step.done)

"""Whether a flow can work: everything that is wrong with it, found before it runs.

What can happen is computed from below, until nothing new can: a step can begin when those before
it can be done and its gate can hold, it can be done when its guard can hold then, and a tool can
be called when its constraints can hold and, if steps have made it their own, one of them can
begin. What is left over has a reason, and the reason is told: a circle, a guard that contradicts
itself or what comes before it, or something else that cannot happen.
"""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from sidetask.orchestration.flows.plan import Ambient, NeverUntil, Once, Plan, Require, Step
from sidetask.orchestration.guards.base import Fact, Guard
from sidetask.orchestration.guards.facts import CalledFact, StepFact
from sidetask.orchestration.guards.satisfying import Known, can_hold


def problems(plan: Plan, tools: Iterable[str] | None) -> list[str]:
    """What is wrong, in words; `tools` are those there are, None: unknown."""
    found = [*_names(plan), *_tools(plan, tools)]
    circle = _circle(plan)
    if circle:  # then nothing can be said of what can be reached
        told = f"the steps wait for each other: {' -> '.join(circle)}"
        return [*found, told, *_contradictions(plan)]
    return [*found, *_Reach(plan).problems()]


# -- names --------------------------------------------------------------------------------


def _names(plan: Plan) -> list[str]:
    names = [step.name for step in plan.steps]
    known = set(names)
    found = [] if plan.steps or plan.constraints else ["it has neither steps nor constraints"]
    found += [f"two steps are named {each!r}" for each in sorted(known) if names.count(each) > 1]
    for step in plan.steps:
        found += [
            f"the step {step.name!r} comes after {each!r}, which is no step"
            for each in step.after
            if each not in known
        ]
    asked = {fact.step: None for fact in _facts(plan) if isinstance(fact, StepFact)}
    found += [
        f"a guard waits for {each!r}, which is no step" for each in asked if each not in known
    ]
    return found


def _tools(plan: Plan, tools: Iterable[str] | None) -> list[str]:
    known = None if tools is None else set(tools)
    if known is None:
        return []
    return [
        f"there is no tool {each!r}, which {where} names"
        for each, where in _named_tools(plan).items()
        if each not in known
    ]


def _named_tools(plan: Plan) -> dict[str, str]:
    """Every tool that the plan speaks of, and where first."""
    found: dict[str, str] = {}
    for step in plan.steps:
        for tool in (*(step.allow or ()), *step.deny):
            found.setdefault(tool, f"the step {step.name!r}")
    for constraint in plan.constraints:
        for tool in constraint.tools if isinstance(constraint, Ambient) else (constraint.tool,):
            found.setdefault(tool, "a constraint")
    for fact in _facts(plan):
        if isinstance(fact, CalledFact):
            found.setdefault(fact.tool, "a guard")
    return found


def _facts(plan: Plan) -> list[Fact]:
    return [fact for guard in plan.guards() for fact in guard.facts()]


def _circle(plan: Plan) -> list[str]:
    try:
        TopologicalSorter({step.name: step.after for step in plan.steps}).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _contradictions(plan: Plan) -> list[str]:
    """Of the steps whose guards contradict themselves."""
    found: list[str] = []
    for step in plan.steps:
        if not can_hold(step.gate, lambda _: None):
            found.append(f"the gate of the step {step.name!r} can never hold: {step.gate}")
        if step.done is not None and not can_hold(step.done, lambda _: None):
            found.append(f"the step {step.name!r} can never be done: {step.done}")
    return found


# -- what can happen ------------------------------------------------------------------------


class _Reach:
    """What can happen in a flow, and why the rest cannot."""

    def __init__(self, plan: Plan) -> None:
        self._steps = {step.name: step for step in plan.steps}
        self._needs: dict[str, list[Guard]] = {}
        self._owners: dict[str, list[Step]] = {}
        self._ambient = {t for c in plan.constraints if isinstance(c, Ambient) for t in c.tools}
        for constraint in plan.constraints:
            if isinstance(constraint, NeverUntil | Require):
                self._needs.setdefault(constraint.tool, []).append(constraint.guard)
        for step in plan.steps:
            for tool in step.allow or ():
                self._owners.setdefault(tool, []).append(step)
        self._tools = {
            fact.tool: None for fact in _facts(plan) if isinstance(fact, CalledFact)
        } | dict.fromkeys((*self._needs, *self._owners))
        self._begun: set[str] = set()
        self._done: set[str] = set()
        self._callable: set[str] = set()
        self._grow()

    def _grow(self) -> None:
        size = -1
        while size < (size := len(self._begun) + len(self._done) + len(self._callable)):
            for step in self._steps.values():
                if self._can_begin(step):
                    self._begun.add(step.name)
                if step.name in self._begun and self._can_end(step):
                    self._done.add(step.name)
            self._callable |= {tool for tool in self._tools if self._can_be_called(tool)}

    def _can_begin(self, step: Step) -> bool:
        if any(self._steps[name].terminal for name in self._before(step)):
            return False
        return self._done.issuperset(step.after) and can_hold(step.gate, self._known(step))

    def _can_end(self, step: Step) -> bool:
        return step.done is not None and can_hold(step.done, self._known(step))

    def _can_be_called(self, tool: str) -> bool:
        owners = self._owners.get(tool)
        if owners and tool not in self._ambient and not any(s.name in self._begun for s in owners):
            return False
        return all(can_hold(guard, self._possible) for guard in self._needs.get(tool, ()))

    def _possible(self, fact: Fact) -> bool | None:
        """Whether a fact is certain; as far as is known now, what cannot happen is not so."""
        match fact:
            case StepFact(step=step) if step not in self._done:
                return False
            case CalledFact(tool=tool) if tool not in self._callable:
                return False
            case _:
                return None

    def _known(self, step: Step) -> Known:
        """The same, while this step begins or is active: what comes before it is done."""
        before = self._before(step)

        def known(fact: Fact) -> bool | None:
            if isinstance(fact, StepFact) and fact.step in before:
                return True
            if isinstance(fact, StepFact) and fact.step == step.name:
                return False
            return self._possible(fact)

        return known

    def _before(self, step: Step) -> set[str]:
        found: set[str] = set()
        rest = list(step.after)
        while rest:
            name = rest.pop()
            if name not in found and name in self._steps:
                found.add(name)
                rest += self._steps[name].after
        return found

    # -- telling ---------------------------------------------------------------------------

    def problems(self) -> list[str]:
        found = [text for step in self._steps.values() if (text := self._of_step(step))]
        for tool, guards in self._needs.items():
            if tool not in self._callable:
                needed = [g.text for g in guards if not can_hold(g, self._possible)]
                found += [f"the tool {tool!r} can never be called: it needs {n}" for n in needed]
        return found

    def _of_step(self, step: Step) -> str:
        known = self._known(step)
        if step.name not in self._begun:
            end = [name for name in self._before(step) if self._steps[name].terminal]
            if end:
                return f"the step {step.name!r} is unreachable: the flow is over with {end[0]!r}"
            stuck = [name for name in step.after if name in self._steps and name not in self._done]
            if stuck:
                return (
                    f"the step {step.name!r} is unreachable: {', '.join(stuck)} can never be done"
                )
            if can_hold(step.gate, known):
                return ""  # it comes after what is no step, which is told
            return f"the step {step.name!r} is unreachable: its gate can never hold: {step.gate}"
        if step.done is not None and not can_hold(step.done, known):
            return f"the step {step.name!r} can never be done: {step.done}"
        if step.done is None and step.terminal:
            return f"the step {step.name!r} is terminal and never done: say when it is"
        return ""


def tracked(plan: Plan) -> frozenset[str]:
    """The tools whose calls the flow has to remember."""
    asked = {fact.tool for fact in _facts(plan) if isinstance(fact, CalledFact)}
    return frozenset(asked | {c.tool for c in plan.constraints if isinstance(c, Once)})

"""A flow as a picture: Mermaid's text of a flowchart."""

from sidetask.orchestration.flows.plan import Plan, Step
from sidetask.orchestration.flows.record import Record
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.facts import StepFact
from sidetask.orchestration.guards.words import always
from sidetask.state.state import StateView

_CLASSES = {
    "entering": "active",
    "active": "active",
    "done": "done",
}
_STYLES = (
    "classDef active stroke-width:3px",
    "classDef done stroke-dasharray:4",
)


def drawn(plan: Plan, state: StateView | None = None) -> str:
    """The flow; with a state, also which steps are active and which are done."""
    ids = {step.name: f"s{number}" for number, step in enumerate(plan.steps)}
    lines = ["flowchart TD"]
    lines += [f"    {ids[step.name]}{_box(step)}" for step in plan.steps]
    for step in plan.steps:
        lines += _arrows(step, ids)
    if state is not None:
        record = Record(plan, state)
        stages = {name: _CLASSES.get(record.stage(name)) for name in ids}
        lines += [f"    class {ids[name]} {word}" for name, word in stages.items() if word]
        lines += [f"    {style}" for style in _STYLES]
    return "\n".join(lines) + "\n"


def _box(step: Step) -> str:
    told = [_plain(step.name)]
    told += [f"{each.mode} {_plain(each.name)}" for each in step.on_enter]
    told += [f"until {_plain(step.done.text)}"] if step.done is not None else []
    text = "<br/>".join(told)
    return f'(["{text}"])' if step.terminal else f'["{text}"]'


def _arrows(step: Step, ids: dict[str, str]) -> list[str]:
    """From what comes before it. What the gate alone waits for comes before it, too."""
    me, gate = ids[step.name], _gate(step.gate)
    asked = {fact.step for fact in step.gate.facts() if isinstance(fact, StepFact)}
    loose = [ids[name] for name in sorted(asked - set(step.after)) if name in ids]
    lines = [f"    {ids[name]} -->{gate} {me}" for name in step.after if name in ids]
    lines += [f"    {each} -.->{gate} {me}" for each in loose]
    if not lines and gate:
        lines = [f"    {me}_gate(( )) -->{gate} {me}"]
    return lines


def _gate(guard: Guard) -> str:
    return "" if guard is always else f'|"{_plain(guard.text)}"|'


def _plain(text: str) -> str:
    """Text that Mermaid does not read as its own."""
    for sign, code in (("#", "#35;"), ('"', "#quot;"), ("`", ""), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(sign, code)
    return " ".join(text.split())

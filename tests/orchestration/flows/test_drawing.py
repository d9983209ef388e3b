"""Flows as pictures."""

from pathlib import Path

from docs_src.flows import flow as shown

from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import OnEnter, Step
from sidetask.orchestration.functions import as_agent
from sidetask.orchestration.guards.words import eq, is_set, step_done
from sidetask.state import State, StateView


async def crm(state: StateView) -> None:
    """Find the customer."""


FLOW = Flow(
    "order",
    steps=[
        Step('say "hi"', done=is_set("name"), on_enter=[OnEnter(as_agent(crm))]),
        Step("left", after=['say "hi"'], gate=eq("kind", "<a>"), done=is_set("x")),
        Step("meet", gate=step_done("left") & is_set("y"), done=is_set("y"), terminal=True),
        Step("late", gate=is_set("z")),
    ],
)


def test_a_flow_is_drawn() -> None:
    assert FLOW.to_mermaid().splitlines() == [
        "flowchart TD",
        '    s0["say #quot;hi#quot;<br/>dispatch crm<br/>until name is set"]',
        '    s1["left<br/>until x is set"]',
        '    s2(["meet<br/>until y is set"])',
        '    s3["late"]',
        '    s0 -->|"kind is #quot;#lt;a#gt;#quot;"| s1',
        '    s1 -.->|"the step left is done and y is set"| s2',
        '    s3_gate(( )) -->|"z is set"| s3',
    ]


def test_a_name_of_several_lines_is_drawn_on_one() -> None:
    flow = Flow("order", steps=[Step("a\nb", gate=is_set("c\n\td"), done=is_set("größe.☕"))])
    assert flow.to_mermaid().splitlines() == [
        "flowchart TD",
        '    s0["a b<br/>until größe.☕ is set"]',
        '    s0_gate(( )) -->|"c d is set"| s0',
    ]


def test_with_a_state_it_shows_how_far_it_is() -> None:
    state = State()
    state.update({'flow:order:step:say "hi"': "done", "flow:order:step:left": "entering"})
    lines = FLOW.to_mermaid(state).splitlines()
    assert [line for line in lines if "    class " in line] == [
        "    class s0 done",
        "    class s1 active",
    ]
    assert FLOW.to_mermaid().splitlines() == lines[:8]


def test_the_guide_shows_the_flow_of_its_example() -> None:
    page = Path(__file__).parents[3] / "docs" / "guides" / "flows.md"
    assert f"```mermaid\n{shown.to_mermaid()}```" in page.read_text("utf-8")

"""What is found wrong with a flow before it runs."""

from collections.abc import Sequence
from typing import Any

import pytest

from sidetask.core.errors import ConfigurationError, FlowError, InvalidInputError, TemplateError
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import (
    Constraint,
    OnEnter,
    Step,
    ambient,
    before,
    never_until,
    once,
    require,
)
from sidetask.orchestration.flows.record import Record
from sidetask.orchestration.functions import as_agent
from sidetask.orchestration.guards.words import (
    always,
    called,
    eq,
    failed,
    is_set,
    is_true,
    resolved,
    step_done,
)
from sidetask.orchestration.resolvers.resolver import Resolver
from sidetask.state import State, StateView

TOOLS = ("ask", "pay", "search")
DONE = is_set("done")


async def fetch(state: StateView) -> int:
    return 1


def problems(
    *steps: Step, constraints: Sequence[Constraint] = (), tools: Sequence[str] | None = TOOLS
) -> list[str]:
    try:
        Flow("order", steps=steps, constraints=constraints).compile(tools)
    except FlowError as error:
        return list(error.problems)
    return []


def test_a_flow_that_can_work_compiles() -> None:
    assert not problems(
        Step("ask", done=called("ask"), allow=["ask"]),
        Step("left", after=["ask"], gate=eq("kind", "a"), done=DONE),
        Step("right", after=["ask"], gate=~eq("kind", "a"), done=DONE),
        Step("pay", gate=step_done("left") | step_done("right"), allow=["pay"], done=called("pay")),
        Step("rest", after="pay"),
        constraints=[once("pay"), before("ask", "pay"), ambient("search")],
    )


def test_everything_that_is_wrong_is_told_at_once() -> None:
    flow = Flow(
        "order",
        steps=[
            Step("a", after=["b"], done=DONE, allow=["nope"]),
            Step("b", after=["a", "missing"], done=eq("k", 1) & eq("k", 2)),
        ],
        constraints=[once("neither")],
    )
    with pytest.raises(FlowError) as caught:
        flow.compile(TOOLS)
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.flow == "order"
    text = str(caught.value)
    for each in ("a -> b", "'missing'", "'nope'", "'neither'", "`k` is 1 and `k` is 2"):
        assert each in text


def test_steps_that_wait_for_each_other_are_named_in_their_order() -> None:
    [text] = problems(
        Step("a", after=["c"], done=DONE),
        Step("b", after=["a"], done=DONE),
        Step("c", after=["b"], done=DONE),
    )
    assert "wait for each other" in text
    assert any(
        f"{x} -> {y} -> {z}" in text for x, y, z in ("cba", "bac", "acb", "abc", "bca", "cab")
    )


def test_steps_whose_gates_wait_for_each_other_are_unreachable() -> None:
    first, second = problems(
        Step("a", gate=step_done("b"), done=DONE), Step("b", gate=step_done("a"), done=DONE)
    )
    assert "'a' is unreachable" in first
    assert "'b' is unreachable" in second


@pytest.mark.parametrize(
    "guard",
    [
        eq("k", 1) & eq("k", 2),
        is_set("k") & ~is_set("k"),
        resolved("crm") & failed("crm"),
        step_done("later"),
        step_done("me"),
        ~step_done("first"),
        ~always,
    ],
    ids=str,
)
def test_a_gate_that_can_never_hold_is_told(guard: Any) -> None:
    found = problems(
        Step("first", done=DONE),
        Step("me", after=["first"], gate=guard, done=DONE),
        Step("later", after=["me"], done=DONE),
    )
    assert "'me' is unreachable: its gate can never hold" in found[0]
    assert guard.text in found[0]
    assert "'later' is unreachable: me can never be done" in found[1]


def test_a_step_that_can_never_be_done_is_told_with_what_comes_after_it() -> None:
    found = problems(
        Step("me", done=eq("k", 1) & eq("k", 2)),
        Step("stays"),
        Step("later", after=["me", "stays"], done=DONE),
        Step("end", terminal=True),
    )
    assert found == [
        "the step 'me' can never be done: `k` is 1 and `k` is 2",
        "the step 'later' is unreachable: me, stays can never be done",
        "the step 'end' is terminal and never done: say when it is",
    ]


def test_what_comes_after_the_end_is_unreachable() -> None:
    [text] = problems(
        Step("end", done=DONE, terminal=True),
        Step("between", after=["end"], done=DONE),
        Step("after", after=["between"], done=DONE),
    )[:1]
    assert text == "the step 'between' is unreachable: the flow is over with 'end'"


def test_a_call_that_no_step_can_allow_in_time_is_none() -> None:
    first, second = problems(
        Step("first", done=called("pay")), Step("second", after=["first"], allow=["pay"], done=DONE)
    )
    assert "'first' can never be done" in first
    assert "'second' is unreachable" in second
    assert not problems(
        Step("first", done=called("pay")),
        Step("second", after=["first"], allow=["pay"], done=DONE),
        constraints=[ambient("pay")],
    )


@pytest.mark.parametrize(
    "constraints",
    [
        [before("pay", "pay")],
        [before("pay", "ask"), before("ask", "pay")],
        [never_until("pay", is_set("k")), require("pay", ~always)],
        [require("pay", eq("k", 1) & eq("k", 2))],
    ],
)
def test_a_tool_that_can_never_be_called_is_told(constraints: list[Constraint]) -> None:
    found = problems(Step("a", done=DONE), constraints=constraints)
    assert "the tool 'pay' can never be called" in "".join(found)


def test_a_guard_that_waits_for_no_step_is_told() -> None:
    found = problems(Step("a", done=step_done("b")))
    assert "a guard waits for 'b', which is no step" in found


def test_unknown_tools_are_told_with_where_they_stand_if_the_tools_are_known() -> None:
    steps = (Step("a", done=called("w") | DONE, allow=["x"], deny=["y"]),)
    constraints = [once("z"), ambient("search", "v")]
    assert [text.split(",")[0] for text in problems(*steps, constraints=constraints)] == [
        "there is no tool 'x'",
        "there is no tool 'y'",
        "there is no tool 'z'",
        "there is no tool 'v'",
        "there is no tool 'w'",
    ]
    assert not problems(*steps, constraints=constraints, tools=None)


def test_two_steps_of_one_name_and_an_empty_flow_are_told() -> None:
    assert "two steps are named 'a'" in problems(Step("a", done=DONE), Step("a", done=DONE))
    assert problems() == ["it has neither steps nor constraints"]
    assert not problems(constraints=[once("pay")])


# -- values that are wrong by themselves --------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "a:b", "n" * 401, None])
def test_what_could_not_be_read_in_a_key_is_no_name(name: Any) -> None:
    for make in (Step, Flow):
        with pytest.raises(ConfigurationError, match="no name"):
            make(name)


def test_names_may_be_long_and_hold_dots_and_letters_of_all_languages() -> None:
    state, name = State(), "größe.☕ 1" + "n" * 390
    assert not problems(Step(name, done=DONE))
    Record(flow := Flow(name, steps=[Step(name)]), state).move({name: "done"}, {})
    assert Record(flow, state).is_over is False
    assert step_done(name)(state)


def test_a_step_does_not_allow_what_it_denies() -> None:
    with pytest.raises(ConfigurationError, match="allows and denies pay"):
        Step("a", allow=["pay"], deny=["pay"])


def test_a_lone_name_is_one_name() -> None:
    step = Step("a", after="before", allow="pay", deny="search")
    assert (step.after, step.allow, step.deny) == (("before",), ("pay",), ("search",))


def test_a_posture_with_an_open_brace_is_told_when_it_is_written() -> None:
    with pytest.raises(TemplateError):
        Step("a", posture="Ask for {date")


def test_a_mode_that_is_none_is_refused() -> None:
    agent = as_agent(fetch)
    with pytest.raises(ConfigurationError, match="'enforce' or 'observe'"):
        Flow("a", mode="watch")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="a mode is one of"):
        OnEnter(agent, mode="wait")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="on_complete"):
        OnEnter(agent, on_complete="shout")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInputError):
        OnEnter(agent, name="turn")


def test_a_resolver_keeps_its_own_name_and_input() -> None:
    resolver = Resolver.fetch("crm", fetch)
    assert OnEnter(resolver).name == "crm"
    for wrong in ({"name": "other"}, {"input": 1}):
        with pytest.raises(ConfigurationError, match="its own name and input"):
            OnEnter(resolver, **wrong)  # pyright: ignore[reportArgumentType]


def test_a_guard_of_an_entry_is_checked_for_what_it_names() -> None:
    entry = OnEnter(as_agent(fetch), when=is_true("k") & called("nope") & step_done("gone"))
    found = problems(Step("a", on_enter=[entry], done=DONE))
    assert len(found) == 2

"""What is of another kind than a flow can use, as callers without types may give it."""

# pyright: reportArgumentType=false

from collections.abc import Callable

import pytest

from sidetask import Agent
from sidetask.core.errors import ConfigurationError
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import (
    OnEnter,
    Step,
    ambient,
    before,
    never_until,
    once,
    require,
)
from sidetask.orchestration.functions import as_agent
from sidetask.orchestration.guards.words import called
from sidetask.state import StateView
from sidetask.testing import ScriptedModel


async def fetch(state: StateView) -> int:
    return 1


AGENT = as_agent(fetch)


def holds(state: StateView) -> bool:
    return True


async def wait(state: StateView) -> str:
    return "patience"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Step("a", gate=holds), "the gate of the step 'a' is a guard, not <function"),
        (lambda: Step("a", done=True), "what ends the step 'a' is a guard, not True; custom"),
        (lambda: never_until("pay", holds), "what 'pay' waits for is a guard"),
        (lambda: require("pay", holds), "what 'pay' requires is a guard"),
        (lambda: OnEnter(AGENT, when=holds), "when to invoke 'fetch' is a guard"),
        (lambda: OnEnter(fetch), r"as_agent\(fn\) makes one"),
        (lambda: OnEnter(AGENT, input=wait), "the input of 'fetch' is an ordinary function"),
        (lambda: Step("a", posture=wait), "the posture of the step 'a'.* ordinary function"),
        (lambda: Step("a", on_enter=[AGENT]), "each of on_enter is of type OnEnter, not"),
        (lambda: Step("a", on_enter=OnEnter(AGENT)), "on_enter are given in a list, not as OnE"),
        (lambda: Step("a", allow=[fetch]), "each of names .* is of type str, not <function"),
        (lambda: ambient(["search"]), r"the name of a tool is of type str, not \['search'\]"),
        (lambda: before("ask", fetch), "the name of a tool is of type str"),
        (lambda: once(fetch), "the name of a tool is of type str"),
        (lambda: Flow("f", steps=["a"]), "each of steps is of type Step, not 'a'"),
        (lambda: Flow("f", steps=Step("a")), "steps are given in a list, not as Step"),
        (lambda: Flow("f", constraints=once("pay")), "constraints are given in a list"),
        (lambda: Agent(ScriptedModel("Hi."), flow=[Flow("f")]), r"flow= takes a Flow, not \[Flow"),
        (lambda: Flow("f", constraints=[called("pay")]), "each of constraints is of type Once or"),
    ],
)
def test_what_is_of_another_kind_is_refused_where_it_is_given(
    make: Callable[[], object], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=what):
        make()

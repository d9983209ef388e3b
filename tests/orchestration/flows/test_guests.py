"""Agents with a flow that others invoke, on a state that is not their own."""

import asyncio

import pytest

from sidetask import Agent, Limits
from sidetask.orchestration.base import Mode
from sidetask.orchestration.calling import call as invoke_agent
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import OnEnter, Step, once
from sidetask.orchestration.guards.words import called, resolved
from sidetask.state import State
from sidetask.testing import ScriptedModel, call, running_runtime
from tests.orchestration.flows.governed import TOOLS, Slow
from tests.runtime.harness import settle

FLOW = Flow(
    "order",
    steps=[
        Step("ask", allow=["ask"], done=called("ask")),
        Step("pay", after=["ask"], allow=["pay"], done=called("pay")),
    ],
    constraints=[once("pay")],
)
SCRIPT = (call("pay"), call("ask"), call("pay"), "Done.")


async def test_an_agent_that_is_invoked_twice_goes_twice_through_its_flow() -> None:
    model = ScriptedModel(*SCRIPT, *SCRIPT)
    agent = Agent(model, name="orders", tools=TOOLS, flow=FLOW)
    state = State()
    async with running_runtime() as runtime:
        for _ in range(2):
            assert await invoke_agent("order", agent, state, tasks=runtime) == "Done."
    assert state.keys() == ["order:status", "order:result"]
    assert ["Step `ask`" in request.tail for request in model.requests] == [
        True,
        True,
        False,
        False,
    ] * 2


async def test_what_a_guests_flow_invokes_lands_in_the_state_that_it_was_given() -> None:
    crm = Slow("crm")
    flow = Flow(
        "order",
        steps=[Step("ask", on_enter=[OnEnter(crm.agent, mode="call")], done=resolved("crm"))],
    )
    agent = Agent(ScriptedModel("Done."), name="orders", tools=TOOLS, flow=flow)
    state = State()
    async with running_runtime() as runtime:
        crm.let_go()
        assert await invoke_agent("order", agent, state, tasks=runtime) == "Done."
        await settle()
    assert state["crm:result"] == "crm is done"


@pytest.mark.parametrize("mode", ["call", "dispatch", "background"])
async def test_what_a_guests_flow_invokes_needs_no_permit_beside_that_of_its_run(
    mode: Mode,
) -> None:
    crm = Slow("crm")
    flow = Flow(
        "order",
        steps=[Step("ask", on_enter=[OnEnter(crm.agent, mode=mode)], done=resolved("crm"))],
    )
    agent = Agent(ScriptedModel("Done."), name="orders", tools=TOOLS, flow=flow)
    state = State()
    async with asyncio.timeout(100), running_runtime(limits=Limits(total=1)) as runtime:
        crm.let_go()
        assert await invoke_agent("order", agent, state, tasks=runtime) == "Done."

"""What steps invoke when they begin: waited for or not, once, and again after a restart."""

# pyright: reportPrivateUsage=false

import asyncio

import pytest

from sidetask import Agent, AgentHandle, RunContext, Tool
from sidetask.core.budget import Budget, ambient_meter
from sidetask.core.errors import BudgetExceededError, TurnCancelledError
from sidetask.core.events import TaskEvent
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.usage import Usage
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import OnEnter, Step
from sidetask.orchestration.functions import as_agent
from sidetask.orchestration.guards.words import failed, is_set, resolved, settled
from sidetask.orchestration.invoker import EXECUTOR
from sidetask.orchestration.resolvers.resolver import Resolver
from sidetask.state import Origin, State, StateView, start_result
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import ScriptedModel, call
from tests.orchestration.flows.governed import Slow, governing, ordering, stage
from tests.runtime.harness import beside, settle, talking

NOBODY = Origin()


async def test_the_next_model_call_waits_for_what_is_called() -> None:
    crm = Slow("crm")
    flow = Flow(
        "order",
        steps=[
            Step("ask", on_enter=[OnEnter(crm.agent, mode="call")], done=settled("crm")),
            Step("offer", after=["ask"], posture="For {crm:result}."),
        ],
    )
    async with ordering(flow, "Hello.") as talk:
        asking = await beside(talk.chat.ask("hi"))
        assert (crm.begun, talk.model.calls) == (1, 0)
        assert stage(talk.chat.state, "ask") == "entering"
        crm.let_go()
        await asking
        assert "For crm is done." in talk.model.requests[0].tail


async def test_a_stop_ends_the_waiting_and_not_the_work() -> None:
    crm = Slow("crm")
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent, mode="call")])])
    async with ordering(flow, "Hello.") as talk:
        asking = await beside(talk.chat.ask("hi"))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        assert talk.model.calls == 0
        again = await beside(talk.chat.ask("hi?"))
        assert not again.done()
        crm.let_go()
        assert (await again).text == "Hello."
        assert crm.begun == 1


async def test_what_is_dispatched_completes_a_step_in_a_later_turn() -> None:
    crm = Slow("crm")
    entry = OnEnter(crm.agent, input=lambda state: {"who": state.get("who")})
    flow = Flow(
        "order",
        steps=[
            Step("ask", on_enter=[entry], done=resolved("crm"), posture="Chat."),
            Step("offer", after=["ask"], posture="Make an offer to {crm:result}."),
        ],
    )
    async with ordering(flow, "Hello.", "Still there.", "Here you are.") as talk:
        await talk.chat.ask("hi")
        await talk.chat.ask("and?")
        assert crm.given == [{"who": None}]
        crm.let_go()
        await talk.chat.wait_for_idle()
        assert stage(talk.chat.state, "offer") == "active"  # no turn was needed for it
        await talk.chat.ask("now?")
        assert ["Chat." in r.tail for r in talk.model.requests] == [True, True, False]
        assert "Make an offer to crm is done." in talk.model.requests[2].tail
        assert talk.told() == []


async def test_of_what_is_in_the_background_the_model_hears() -> None:
    crm = Slow("crm")
    entry = OnEnter(crm.agent, mode="background", on_complete="continue")
    flow = Flow("order", steps=[Step("ask", on_enter=[entry], done=resolved("crm"))])
    async with ordering(flow, "Hello.", "I see.") as talk:
        await talk.chat.ask("hi")
        crm.let_go()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]
        assert talk.said()[-1] == "I see."


async def test_unless_it_is_said_what_is_in_the_background_wakes_nobody() -> None:
    crm = Slow("crm")
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent, mode="background")])])
    async with ordering(flow, "Hello.", "I see.") as talk:
        await talk.chat.ask("hi")
        crm.let_go()
        await talk.chat.wait_for_idle()
        assert talk.said() == ["hi", "Hello."]
        await talk.chat.ask("and?")
        assert talk.told() == ["task-1 succeeded"]


async def test_a_flow_dispatches_no_more_at_once_than_its_conversation_may_run() -> None:
    first, second = Slow("first"), Slow("second")
    entries = [OnEnter(first.agent), OnEnter(second.agent)]
    limits = Limits(conversation=1)
    flow = Flow("order", steps=[Step("ask", on_enter=entries)])
    async with ordering(flow, "Hello.", runtime={"limits": limits}) as talk:
        await settle()
        assert (first.begun, second.begun) == (1, 0)
        first.let_go()
        await settle()
        assert (first.begun, second.begun) == (1, 1)
        second.let_go()
        await talk.chat.wait_for_idle()
        assert talk.chat.state["second:status"] == "succeeded"


async def test_what_a_flow_invokes_spends_what_the_conversation_may_spend() -> None:
    async def spend(input: Json) -> None:
        meter = ambient_meter.get()
        assert meter is not None
        meter.spend(Usage(requests=1, usd=2))

    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(as_agent(spend))])])
    async with ordering(flow, "never said", budget=Budget(usd=1)) as talk:
        await talk.chat.wait_for_idle()
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("hi")


async def test_what_a_conversation_opened_by_a_tool_invokes_is_no_part_of_the_tools_task() -> None:
    crm = Slow("crm")
    inner_flow = Flow("inner", steps=[Step("ask", on_enter=[OnEnter(crm.agent)])])
    opened: list[AgentHandle] = []

    async def delegate(ctx: RunContext[None]) -> str:
        """Open another conversation and leave it open."""
        inner = Agent(ScriptedModel("Inner."), name="inner", flow=inner_flow)
        opened.append(await talk.runtime.open(inner))
        await settle()
        return "opened"

    async with talking(call("delegate"), "ok", tools=[delegate]) as talk:
        await talk.chat.ask("go")
        await settle()
        assert crm.begun == 1
        assert [task.parent_id for task in opened[0].tasks.running()] == [None]
        crm.let_go()
        await opened[0].wait_for_idle()
        assert opened[0].state["crm:status"] == "succeeded"
        await opened[0].shutdown()


async def test_a_resolver_is_invoked_in_every_mode() -> None:
    async def fetch(state: StateView) -> str:
        await asyncio.sleep(1)
        return "found"

    for mode in ("call", "dispatch", "background"):
        resolver = Resolver.fetch("crm", fetch)
        flow = Flow(
            "order",
            steps=[Step("ask", on_enter=[OnEnter(resolver, mode=mode)], done=resolved("crm"))],
        )
        async with ordering(flow, "Hello.") as talk:
            await talk.chat.ask("hi")
            await talk.chat.wait_for_idle()
            assert stage(talk.chat.state, "ask") == "done"
            assert talk.chat.state["crm:result"] == "found"


async def test_what_is_invoked_is_listed_and_told_like_every_task() -> None:
    crm = Slow("crm")
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent)])])
    async with ordering(flow, "Hello.") as talk:
        await settle()
        assert [task.name for task in talk.chat.tasks.running()] == ["crm"]
        crm.let_go()
        await talk.chat.wait_for_idle()
        told = [event for event in talk.events if isinstance(event, TaskEvent)]
        assert {event.name for event in told} == {"crm"}


async def test_a_step_may_be_completed_by_whoever_runs_what_it_waits_for() -> None:
    state = State()
    flow = Flow("order", steps=[Step("ask", done=resolved("crm"))])
    async with governing(flow, state):
        start_result(state, "crm", origin=NOBODY).settle(TaskStatus.SUCCEEDED, value="")
        assert stage(state, "ask") == "done"


async def test_what_is_done_already_is_passed_and_nothing_is_invoked() -> None:
    crm, state = Slow("crm"), State()
    start_result(state, "crm", origin=NOBODY).settle(TaskStatus.SUCCEEDED)
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent)], done=resolved("crm"))])
    async with governing(flow, state):
        await settle()
        assert (stage(state, "ask"), crm.begun) == ("done", 0)


async def test_a_result_that_is_being_made_anew_completes_nothing_until_it_is_there() -> None:
    state = State()
    start_result(state, "crm", origin=NOBODY).settle(TaskStatus.SUCCEEDED, value="old")
    flow = Flow("order", steps=[Step("ask", gate=is_set("go"), done=resolved("crm"))])
    async with governing(flow, state):
        again = start_result(state, "crm", origin=NOBODY, keep_stale=True)
        state.set("go", True)
        assert stage(state, "ask") == "active"
        again.settle(TaskStatus.SUCCEEDED, value="new")
        assert stage(state, "ask") == "done"


async def test_what_is_left_of_an_earlier_run_is_not_taken_for_the_one_that_begins() -> None:
    crm, state = Slow("crm"), State()
    start_result(state, "crm", origin=NOBODY).settle(TaskStatus.FAILED, error="old")
    done = settled("crm") & is_set("go")
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent)], done=done)])
    async with governing(flow, state):
        state.set("go", True)  # before the new run could even be started
        assert stage(state, "ask") == "entering"
        await settle()
        assert stage(state, "ask") == "active"
        crm.let_go()
        await settle()
        assert (stage(state, "ask"), state["crm:result"]) == ("done", "crm is done")


async def test_what_goes_wrong_is_in_the_state_and_guards_see_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crm, state = Slow("crm"), State()
    crm.result = ValueError("no luck")
    never = OnEnter(Slow("web").agent, input=lambda state: state["missing"])
    steps = [
        Step("ask", on_enter=[OnEnter(crm.agent, mode="call"), never], done=failed("crm")),
        Step("web", after=["ask"], done=failed("web"), terminal=True),
    ]
    async with governing(Flow("order", steps=steps), state):
        await settle()
        crm.let_go()
        await settle()
        assert (stage(state, "ask"), stage(state, "web")) == ("done", "done")
        assert "no luck" in str(state["crm:error"])
        assert "missing" in str(state["web:error"])
    assert "web was not invoked" in caplog.text


async def test_an_entry_is_left_out_if_its_guard_does_not_hold() -> None:
    crm, state = Slow("crm"), State()
    entry = OnEnter(crm.agent, when=is_set("customer"))
    flow = Flow("order", steps=[Step("ask", on_enter=[entry])])
    async with governing(flow, state):
        await settle()
        assert (crm.begun, stage(state, "ask")) == (0, "active")


async def test_what_a_tool_sets_off_is_no_part_of_the_tools_task() -> None:
    crm = Slow("crm")

    async def body(arguments: object, ctx: RunContext[None]) -> str:
        ctx.state.set("customer", 7)
        return "noted"

    note = Tool.from_schema(body, {"type": "object"}, name="note", description="Note.")
    flow = Flow(
        "order",
        steps=[
            Step("ask", done=is_set("customer")),
            Step("find", after=["ask"], on_enter=[OnEnter(crm.agent)], done=resolved("crm")),
        ],
    )
    async with ordering(flow, call("note"), "ok", tools=[note]) as talk:
        await talk.chat.ask("I am Ann.")
        [task] = talk.chat.tasks.running()
        assert (task.name, task.parent_id) == ("crm", None)
        crm.let_go()
        await talk.chat.wait_for_idle()
        assert stage(talk.chat.state, "find") == "done"


# -- the end, and after it ------------------------------------------------------------------


async def test_a_restart_invokes_again_what_had_not_ended_and_nothing_else() -> None:
    crm, web, state = Slow("crm"), Slow("web"), State()
    flow = Flow(
        "order",
        steps=[Step("ask", on_enter=[OnEnter(crm.agent), OnEnter(web.agent)], done=is_set("date"))],
    )
    async with governing(flow, state):
        await settle()
        crm.let_go()
        await settle()
        state.set("web:status", "running")  # as a crash leaves it
        saved = state.snapshot()
    after = State()
    after.update(saved)
    async with governing(flow, after):
        await settle()
        assert (crm.begun, web.begun) == (1, 2)


async def test_a_restart_in_the_middle_of_a_beginning_begins_it_anew() -> None:
    crm, state = Slow("crm"), State()
    state.set("flow:order:step:ask", "entering")
    start_result(state, "crm", origin=NOBODY).settle(TaskStatus.FAILED, error="old")
    flow = Flow("order", steps=[Step("ask", on_enter=[OnEnter(crm.agent)], done=settled("crm"))])
    async with governing(flow, state):
        await settle()
        assert (crm.begun, stage(state, "ask")) == (1, "active")


async def test_the_end_of_a_conversation_stops_what_its_flow_invoked() -> None:
    crm, web = Slow("crm"), Slow("web")
    flow = Flow(
        "order",
        steps=[Step("a", on_enter=[OnEnter(crm.agent), OnEnter(web.agent, mode="call")])],
    )
    async with ordering(flow) as talk:
        await settle()
        assert (crm.begun, web.begun) == (1, 1)
        state = talk.chat.state
    assert (state["crm:status"], state["web:status"]) == ("cancelled", "cancelled")
    assert stage(state, "a") == "entering"


async def test_a_flow_that_is_closed_leaves_no_dispatcher_and_no_run_behind() -> None:
    slow, state = Slow("crm"), State()
    flow = Flow("order", steps=[Step("s", on_enter=[OnEnter(slow.agent)])])
    async with governing(flow, state) as live:
        await settle()
        manager = live._seat.manager
        assert (slow.begun, len(manager.executors)) == (1, 2)
        await live.close()
        assert list(manager.executors) == [EXECUTOR]
        assert manager.handle().list_running() == []
        assert state["crm:status"] == "cancelled"

"""Which calls are made, and what a model reads of those that are not."""

import pytest

from sidetask import ToolError, tool
from sidetask.core.errors import FlowError
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import (
    Step,
    ambient,
    before,
    never_until,
    once,
    require,
)
from sidetask.orchestration.guards.words import called, custom, eq, is_set, is_true
from sidetask.state import State, StateView
from sidetask.testing import call
from tests.orchestration.flows.governed import (
    TOOLS,
    governing,
    judged,
    ordering,
    plain,
    refused,
    stage,
)
from tests.runtime.harness import Held

ANY = Step("talk")


# -- once ----------------------------------------------------------------------------------------


async def test_once_is_once() -> None:
    flow = Flow("order", steps=[ANY], constraints=[once("pay")])
    async with ordering(flow, call("pay"), call("pay"), "ok") as talk:
        await talk.chat.ask("go")
        [text] = refused(talk)
        assert text == (
            "`pay` was not called: it may succeed only once, and it has."
            " Allowed now: ask, offer, search."
        )


async def test_once_counts_what_has_not_ended_and_what_failed_may_be_tried_again() -> None:
    fails = [True]

    @tool
    async def pay(n: int) -> str:
        """Pay."""
        if fails.pop() if fails else False:
            raise ToolError("no luck")
        return "paid"

    flow = Flow("order", steps=[ANY], constraints=[once("pay")])
    script = ([call("pay", n=1), call("pay", n=2)], call("pay", n=3), call("pay", n=4), "ok")
    async with ordering(flow, *script, tools=[pay]) as talk:
        await talk.chat.ask("go")
        first, twin, again, last = talk.answers()
        assert first.content == "no luck"
        assert "has not ended" in twin.content
        assert again.content == "paid"
        assert "only once, and it has" in last.content


async def test_once_holds_while_a_call_is_in_the_background() -> None:
    held = Held("pay", detach_after=1)
    flow = Flow("order", steps=[Step("talk", done=called("pay"))], constraints=[once("pay")])
    async with ordering(flow, call("pay"), call("pay"), "ok", "so", tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        assert "only once, and task-1 has not ended" in refused(talk)[0]
        assert stage(talk.chat.state, "talk") == "active"
        held.let_go.set()
        await talk.chat.wait_for_idle()
        assert stage(talk.chat.state, "talk") == "done"


# -- what must be so first -------------------------------------------------------------------------


async def test_before_waits_for_a_call_that_has_succeeded() -> None:
    @tool(name="ask")
    async def failing() -> None:
        """Ask."""
        raise ToolError("no luck")

    flow = Flow("order", steps=[ANY], constraints=[before("ask", "pay")])
    tools = [failing, plain("pay")]
    async with ordering(flow, call("ask"), call("pay"), "ok", tools=tools) as talk:
        await talk.chat.ask("go")
        assert refused(talk)[1] == (
            "`pay` was not called: it has to wait until `ask` was called and has succeeded."
            " Allowed now: ask."
        )


async def test_calls_of_one_reply_are_judged_in_their_order_by_what_is_known_then() -> None:
    flow = Flow("order", steps=[ANY], constraints=[before("ask", "pay")])
    script = ([call("ask"), call("pay")], call("pay"), "ok")
    async with ordering(flow, *script) as talk:
        await talk.chat.ask("go")
        asked, early, late = talk.answers()
        assert not asked.is_error
        assert "until `ask` was called and has succeeded (task-1 has not ended)" in early.content
        assert not late.is_error


async def test_never_until_is_lifted_for_good_and_require_is_not() -> None:
    guard = is_true("consent")
    flow = Flow(
        "order", steps=[ANY], constraints=[never_until("ask", guard), require("pay", guard)]
    )
    state = State()
    async with governing(flow, state) as live:
        assert "it has to wait until `consent` is true" in (judged(live, "ask") or "")
        assert "it has to wait until `consent` is true" in (judged(live, "pay") or "")
        state.set("consent", True)
        assert (judged(live, "ask"), judged(live, "pay")) == (None, None)
        state.set("consent", False)
        assert judged(live, "ask") is None
        assert judged(live, "pay") is not None
    async with governing(flow, state) as live:  # after a restart, too
        assert judged(live, "ask") is None


async def test_what_is_lifted_of_one_tool_stays_when_another_one_is_lifted() -> None:
    rules = [never_until("pay", is_set("a")), never_until("ask", is_set("b"))]
    state = State()
    async with governing(Flow("order", constraints=rules), state) as live:
        for key in ("a", "b"):
            state.set(key, 1)
            state.delete(key)
        assert (judged(live, "pay"), judged(live, "ask")) == (None, None)


async def test_what_is_required_is_so_also_where_it_has_held_once() -> None:
    consent, state = is_true("consent"), State()
    rules = [never_until("pay", consent), require("pay", consent)]
    async with governing(Flow("order", constraints=rules), state) as live:
        state.set("consent", True)
        assert judged(live, "pay") is None
        state.set("consent", False)
        assert "has to wait until `consent` is true" in (judged(live, "pay") or "")


async def test_what_held_for_a_moment_has_held() -> None:
    state = State()
    flow = Flow("order", steps=[ANY], constraints=[never_until("pay", eq("mood", "good"))])
    async with governing(flow, state) as live:
        state.set("mood", "good")
        state.set("mood", "bad")
        assert judged(live, "pay") is None


async def test_all_that_is_missing_is_named() -> None:
    flow = Flow(
        "order",
        steps=[ANY],
        constraints=[require("pay", is_set("date") & is_true("ok")), before("ask", "pay")],
    )
    state = State()
    async with governing(flow, state) as live:
        state.set("date", "today")
        assert judged(live, "pay") == (
            "`pay` was not called: it has to wait until `ok` is true and `ask` was called and has"
            " succeeded. Allowed now: ask, offer, search."
        )


# -- steps -------------------------------------------------------------------------------------


async def test_a_step_allows_its_own_tools_and_keeps_them_to_itself() -> None:
    flow = Flow(
        "order",
        steps=[
            Step("first", allow=["ask"], done=is_true("asked")),
            Step(
                "second", after=["first"], gate=is_true("ok"), allow=["pay"], done=is_true("paid")
            ),
        ],
        constraints=[ambient("search")],
    )
    state = State()
    async with governing(flow, state) as live:
        assert live.allowed() == ["ask", "search"]
        assert judged(live, "offer") == (
            "`offer` was not called: the step `first` allows only its own tools."
            " Allowed now: ask, search."
        )
        assert (
            "it is for the step `second`, which has to wait until the step `first` is done and"
            " `ok` is true."
        ) in (judged(live, "pay") or "")
        state.set("asked", True)
        assert live.allowed() == ["offer", "search"]  # nothing is active: what is nobody's is free
        assert "which has to wait until `ok` is true." in (judged(live, "pay") or "")
        assert "it is for the step `first`, which is over" in (judged(live, "ask") or "")
        state.set("ok", True)
        assert live.allowed() == ["pay", "search"]
        state.set("paid", True)
        assert live.allowed() == ["offer", "search"]


async def test_steps_that_are_active_together_allow_what_one_of_them_does() -> None:
    flow = Flow("order", steps=[Step("a", allow=["ask"]), Step("b", allow=["pay"])])
    async with governing(flow, State()) as live:
        assert live.allowed() == ["ask", "pay"]
    flow = Flow("order", steps=[Step("a", allow=["ask"]), Step("b", deny=["search"])])
    async with governing(flow, State()) as live:
        assert live.allowed() == ["ask", "offer", "pay"]
        assert "the step `b` denies it" in (judged(live, "search") or "")


async def test_the_order_of_admission() -> None:
    """Once, then what must be so first, then deny, then ambient, then the allow-list."""
    state = State()
    flow = Flow(
        "order",
        steps=[Step("s", allow=["ask"], deny=["pay"])],
        constraints=[once("pay"), never_until("pay", is_set("date")), ambient("pay", "search")],
    )
    async with governing(flow, state) as live:
        state.set("flow:order:call:pay", {"succeeded": 1, "open": []})
        assert "only once" in (judged(live, "pay") or "")
        state.delete("flow:order:call:pay")
        assert "has to wait until `date` is set" in (judged(live, "pay") or "")
        state.set("date", "today")
        assert "the step `s` denies it" in (judged(live, "pay") or "")
        assert judged(live, "search") is None  # ambient wins over the allow-list
        assert "allows only its own tools" in (judged(live, "offer") or "")


async def test_the_tools_for_a_models_own_tasks_are_always_there() -> None:
    held = Held("pay", detach_after=1)
    flow = Flow("order", steps=[Step("s", allow=["pay"])])
    script = (call("pay"), call("list_tasks"), "ok", "so")
    async with ordering(flow, *script, tools=[held.tool]) as talk:
        await talk.chat.ask("go")
        assert refused(talk) == []
        held.let_go.set()
        await talk.chat.wait_for_idle()


async def test_a_guard_that_raises_is_one_that_does_not_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(state: StateView) -> bool:
        raise ValueError("no luck")

    for guard in (custom(broken, "all is well"), ~custom(broken, "all is ill")):
        flow = Flow("order", steps=[Step("s", done=guard)], constraints=[require("pay", guard)])
        state = State()
        async with governing(flow, state) as live:
            assert "has to wait until" in (judged(live, "pay") or "")
            assert stage(state, "s") == "active"
    assert "no luck" in caplog.text


async def test_a_guard_that_fails_again_and_again_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(state: StateView) -> bool:
        return bool(state["ready"])

    state = State()
    flow = Flow("order", steps=[Step("s", done=custom(look, "it is ready"))])
    async with governing(flow, state) as live:
        for times in (1, 1, 1, 2):
            if times == 2:  # it worked meanwhile
                state.set("ready", False)
                live.move()
                state.delete("ready")
            state.set("other", times)
            live.move()
            assert caplog.text.count("KeyError: 'ready'") == times


# -- observing ----------------------------------------------------------------------------------


async def test_who_only_observes_lets_through_and_notes() -> None:
    flow = Flow(
        "order", steps=[Step("s", allow=["ask"])], constraints=[once("ask")], mode="observe"
    )
    script = ([call("pay"), call("ask")], call("ask"), "ok")
    async with ordering(flow, *script) as talk:
        await talk.chat.ask("go")
        assert refused(talk) == []
        noted = talk.chat.state.get("flow:order:observed", as_type=list[dict[str, str]])
        assert noted is not None
        assert [each["tool"] for each in noted] == ["pay", "ask"]
        assert noted[0]["problem"] == "the step `s` allows only its own tools"
        assert noted[0]["call_id"] == talk.answers()[0].call_id
        assert "Tools" not in talk.model.requests[0].tail


async def test_of_what_was_observed_the_last_is_kept() -> None:
    state = State()
    flow = Flow("order", steps=[Step("s", allow=["ask"])], mode="observe")
    async with governing(flow, state) as live:
        for _ in range(60):
            assert judged(live, "pay") is None
    noted = state.get("flow:order:observed", as_type=list[dict[str, str]])
    assert noted is not None
    assert len(noted) == 50


# -- opening ------------------------------------------------------------------------------------


async def test_an_agent_with_a_flow_that_cannot_work_is_not_opened() -> None:
    flow = Flow("order", steps=[Step("s", allow=["fly"], done=called("swim"))])
    with pytest.raises(FlowError, match="'fly'") as caught:
        async with ordering(flow):
            pass
    assert len(caught.value.problems) == 2


async def test_without_a_flow_nothing_is_checked_and_there_is_no_tail() -> None:
    async with ordering(None, call("pay"), "ok", tools=TOOLS) as talk:  # pyright: ignore[reportArgumentType]
        await talk.chat.ask("go")
        assert talk.inside.checks == ()
        assert [request.tail for request in talk.model.requests] == ["", ""]


async def test_a_refused_call_reaches_no_tool() -> None:
    held = Held("pay")
    flow = Flow("order", steps=[Step("s", allow=["ask"])])
    async with ordering(flow, call("pay"), "ok", tools=[*TOOLS[:2], held.tool]) as talk:
        await talk.chat.ask("go")
        assert held.runs == 0
        assert "task_queued" not in talk.kinds()

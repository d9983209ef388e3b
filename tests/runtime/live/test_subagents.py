"""Sub-agents: what they inherit, what they may not, where they spend, and when they end."""

import asyncio

import pytest

from sidetask import Agent, RunContext, background, detach_after, tool
from sidetask.agents.policies.hooks import Deny, HookContext, Hooks
from sidetask.agents.policies.rules import Policy, allow, ask, deny
from sidetask.core.budget import Budget
from sidetask.core.errors import (
    AgentNotStartedError,
    BudgetExceededError,
    ConfigurationError,
    DepthLimitError,
    UnknownAgentError,
)
from sidetask.core.events import RunStarted, TaskStarted
from sidetask.core.jsons import Json
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import Approval
from sidetask.testing import ScriptedModel, call, running_runtime, stall
from tests.runtime.harness import Held, Talk, beside, settle, talking


@tool
async def note(ctx: RunContext[object], key: str) -> str:
    """Write a value."""
    ctx.state.set(key, ctx.deps)
    return "noted"


def sub(*script: object, name: str = "helper", **config: object) -> Agent:
    model = ScriptedModel(*script)  # type: ignore[arg-type]
    return Agent(model, name=name, instructions="Helps.\nAlways.", **config)  # type: ignore[arg-type]


def answer(talk: Talk, place: int = 0) -> str:
    return talk.answers()[place].content


# -- an agent as a tool --------------------------------------------------------------------


async def test_an_agent_is_a_tool_of_another_whose_calls_are_children_of_its_task() -> None:
    helper = sub(call("note", key="k"), "I did.", tools=[note])
    script = (call("helper", input="write"), "done")
    async with talking(*script, tools=[helper.as_tool()], deps="own") as talk:
        started: list[TaskStarted] = []
        talk.runtime.on("task_started", lambda event, _c, _x: started.append(event))  # type: ignore[arg-type]
        await talk.chat.ask("go")
        await settle()
        assert answer(talk) == "I did."
        assert talk.chat.state["k"] == "own"
        assert [(each.name, each.parent_id) for each in started] == [
            ("helper", None),
            ("note", "task-1"),
        ]
        assert started[1].conversation_id != talk.chat.conversation_id
        assert talk.runtime.live_agents == (talk.chat,)


async def test_the_events_of_a_sub_agent_carry_its_parents_ids() -> None:
    async with talking(call("helper", input="go"), "done", tools=[sub("ok").as_tool()]) as talk:
        seen: list[RunStarted] = []
        talk.runtime.on("run_started", lambda event, _c, _x: seen.append(event))  # type: ignore[arg-type]
        await talk.chat.ask("go")
        child = await talk.chat.spawn_subagent(sub("hello"))
        await child.ask("go")
        await settle()
        mine = talk.chat.conversation_id
        parents = [(each.parent_conversation_id, each.parent_id) for each in seen]
        assert parents == [(None, None), (mine, "task-1"), (mine, None)]
        assert child.parent_conversation_id == mine


async def test_a_tool_that_is_an_agent_is_named_and_described_by_it() -> None:
    made = sub().as_tool()
    assert (made.name, made.description) == ("helper", "Helps.")
    told = sub().as_tool(name="ask_helper", description="Ask.", detach_after=3)
    assert (told.name, told.description, told.route) == ("ask_helper", "Ask.", detach_after(3))
    with pytest.raises(ConfigurationError, match="as_tool\\(description="):
        Agent(ScriptedModel(), name="mute").as_tool()


async def test_a_sub_agent_that_takes_long_goes_on_in_the_background() -> None:
    gate = asyncio.Event()
    helper = sub([gate, "found"]).as_tool(detach_after=2)
    async with talking(call("helper", input="go"), "Meanwhile.", "Ah.", tools=[helper]) as talk:
        assert (await talk.chat.ask("go")).text == "Meanwhile."
        gate.set()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]
        assert talk.said()[-1] == "Ah."


@pytest.mark.parametrize("said", ["", "  ", None, 3])
async def test_a_call_that_says_nothing_is_an_error_for_the_model(said: Json) -> None:
    tools = [sub("never").as_tool()]
    async with talking(call("helper", input=said), "done", tools=tools) as talk:
        await talk.chat.ask("go")
        assert "say in `input`" in answer(talk)


async def test_a_task_that_is_cancelled_ends_its_sub_agent_and_what_that_waits_for() -> None:
    held = Held()
    helper = sub(call("held"), tools=[held.tool]).as_tool(route=background())
    async with talking(call("helper", input="go"), "Begun.", "Oh.", tools=[helper]) as talk:
        await talk.chat.ask("go")
        await held.begun.wait()
        assert len(talk.runtime.live_agents) == 2
        await talk.chat.tasks.cancel("task-1")
        assert talk.runtime.live_agents == (talk.chat,)
        assert not talk.runtime.tasks.list_running()
        await talk.chat.wait_for_idle()


# -- a live sub-agent ----------------------------------------------------------------------


async def test_a_sub_agent_has_a_conversation_of_its_own_and_ends_with_its_parent() -> None:
    held = Held(route=background())
    async with talking("Hi.", runtime={"deps": "shared"}) as talk:
        child = await talk.chat.spawn_subagent(sub(call("held"), "Begun.", tools=[held.tool]))
        grandchild = await child.spawn_subagent(sub("Deep."))
        assert (await child.ask("go")).text == "Begun."
        assert (await grandchild.ask("go")).text == "Deep."
        assert talk.chat.history() == ()
        assert child.state is not talk.chat.state
        await talk.chat.shutdown()
        assert talk.runtime.live_agents == ()
        assert not talk.runtime.tasks.list_running()
        for each in (child, grandchild):
            with pytest.raises(AgentNotStartedError):
                await each.ask("still there?")


async def test_a_sub_agent_may_end_before_its_parent_and_another_takes_its_place() -> None:
    async with talking("Hi.") as talk:
        async with await talk.chat.spawn_subagent(sub("One.")) as first:
            await first.ask("go")
        second = await talk.chat.spawn_subagent(sub("Two."), share_state=True)
        second.state.set("k", 1)
        assert talk.chat.state["k"] == 1
        assert set(talk.runtime.live_agents) == {talk.chat, second}
        assert (await talk.chat.ask("and you?")).text == "Hi."


async def test_a_parent_holds_its_sub_agents_though_nobody_else_does() -> None:
    async with talking("Hi.") as talk:
        await talk.chat.spawn_subagent(sub("Here."))
        await settle()
        assert len(talk.runtime.live_agents) == 2


async def test_a_sub_agent_that_is_opened_while_its_parent_is_shut_down_is_not() -> None:
    gate = asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    async with talking("Hi.") as talk:
        spawning = await beside(talk.chat.spawn_subagent(sub(), deps=slow))
        await talk.chat.shutdown()
        gate.set()
        with pytest.raises(AgentNotStartedError):
            await spawning
        with pytest.raises(AgentNotStartedError):
            await talk.chat.spawn_subagent(sub())
        assert talk.runtime.live_agents == ()


async def test_a_name_that_nobody_registered_spawns_nothing() -> None:
    async with talking("Hi.") as talk:
        with pytest.raises(UnknownAgentError, match="ghost"):
            await talk.chat.spawn_subagent("ghost")
        assert talk.runtime.live_agents == (talk.chat,)


# -- how deep ------------------------------------------------------------------------------


async def test_agents_stand_so_deep_below_each_other_and_no_deeper() -> None:
    async with talking("Hi.", runtime={"max_depth": 2}) as talk:
        second = await (await talk.chat.spawn_subagent(sub())).spawn_subagent(sub())
        with pytest.raises(DepthLimitError, match="2 deep"):
            await second.spawn_subagent(sub())
        assert len(talk.runtime.live_agents) == 3


async def test_a_model_that_asks_an_agent_too_deep_is_told() -> None:
    inner = sub("never", name="inner").as_tool()
    outer = sub(call("inner", input="go"), "It did not work.", name="outer", tools=[inner])
    script = (call("outer", input="go"), "done")
    async with talking(*script, tools=[outer.as_tool()], runtime={"max_depth": 1}) as talk:
        await talk.chat.ask("go")
        assert answer(talk) == "It did not work."


# -- rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [None, Policy(allow("*"))])
async def test_a_sub_agent_may_not_do_what_its_parent_may_not(own: Policy | None) -> None:
    helper = sub(call("note", key="k"), "I may not.", tools=[note], policy=own)
    policy = Policy(deny("note"))
    script = (call("helper", input="go"), "done")
    async with talking(*script, tools=[helper.as_tool()], policy=policy) as talk:
        await talk.chat.ask("go")
        child = await talk.chat.spawn_subagent(
            sub(call("note", key="k"), "No.", tools=[note], policy=own)
        )
        await child.ask("go")
        assert "k" not in talk.chat.state
        assert "k" not in child.state


async def test_a_sub_agents_questions_go_to_its_parents_handler() -> None:
    asked: list[str] = []

    async def handler(approval: Approval) -> Deny:
        asked.append(approval.call.name)
        return Deny("not today")

    helper = sub(call("note", key="k"), "No.", tools=[note])
    script = (call("helper", input="go"), "done")
    settings = {"on_approval": handler, "policy": Policy(ask("note"))}
    async with talking(*script, tools=[helper.as_tool()], runtime=settings) as talk:
        await talk.chat.ask("go")
        assert asked == ["note"]
        assert "k" not in talk.chat.state


async def test_a_host_that_decides_finds_its_sub_agents_questions_beside_its_own() -> None:
    helper = sub(call("note", key="k"), "Yes.", tools=[note])
    script = (call("helper", input="go"), "done")
    settings = {"on_approval": "host", "policy": Policy(ask("note"))}
    async with talking(*script, tools=[helper.as_tool()], runtime=settings, deps=1) as talk:
        asking = await beside(talk.chat.ask("go"))
        (question,) = talk.chat.approvals
        talk.chat.approvals.approve(question.id, by="ana")
        await asking
        assert talk.chat.state["k"] == 1


# -- what it costs -------------------------------------------------------------------------


async def test_what_a_sub_agent_spends_its_parent_spends() -> None:
    async with talking("One.", "never", budget=Budget(steps=3)) as talk:
        await talk.chat.ask("go")
        child = await talk.chat.spawn_subagent(sub("a", "b", "c"))
        await child.ask("go")
        await child.ask("go")
        with pytest.raises(BudgetExceededError, match="3 of 3 steps"):
            await child.ask("go")
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("go")


async def test_a_sub_agents_own_budget_limits_it_alone() -> None:
    async with talking("One.", "Two.") as talk:
        child = await talk.chat.spawn_subagent(sub("a", "b"), budget=Budget(steps=1))
        await child.ask("go")
        with pytest.raises(BudgetExceededError):
            await child.ask("go")
        assert (await talk.chat.ask("go")).text == "One."


async def test_a_sub_agents_model_calls_stand_behind_those_that_a_person_waits_for() -> None:
    async with talking("Mine.") as talk:
        child = await talk.chat.spawn_subagent(sub("Sub's."))
        quota, order = talk.chat.quota, list[str]()
        key = talk.model.quota_key
        quota.record_hit(key, 30)
        first = await beside(child.ask("go"))
        second = await beside(talk.chat.ask("go"))
        first.add_done_callback(lambda _: order.append("sub"))
        second.add_done_callback(lambda _: order.append("user"))
        await asyncio.wait([first, second])
        assert order == ["user", "sub"]


class Counting(Hooks):
    """How many conversations are open."""

    opened = now = peak = 0

    async def conversation_started(self, ctx: HookContext) -> None:
        self.opened += 1
        self.now += 1
        self.peak = max(self.peak, self.now)
        await asyncio.sleep(1)

    async def conversation_ended(self, ctx: HookContext) -> None:
        self.now -= 1


@pytest.mark.slow
async def test_a_thousand_sub_agents_at_once_run_within_the_cap() -> None:
    counting = Counting()
    helper = sub(*["ok"] * 1000, hooks=[counting]).as_tool(route=background())
    script = [tuple(call("helper", input=f"{n}.{m}") for m in range(100)) for n in range(10)]
    async with running_runtime(limits=Limits(conversation=64)) as runtime:
        model = ScriptedModel(*script, "Begun.", *["Fine."] * 50)
        async with runtime.open(Agent(model, tools=[helper])) as chat:
            await chat.ask("go")
            await chat.wait_for_idle()
            assert (counting.opened, counting.now, counting.peak) == (1000, 0, 64)
            assert runtime.live_agents == (chat,)


async def test_a_spawn_that_is_cancelled_leaves_nothing_behind() -> None:
    async with talking(stall()) as talk:
        spawning = await beside(talk.chat.spawn_subagent(sub(), deps=_never))
        spawning.cancel()
        await asyncio.wait([spawning])
        assert talk.runtime.live_agents == (talk.chat,)


async def _never() -> None:
    await asyncio.sleep(10_000)

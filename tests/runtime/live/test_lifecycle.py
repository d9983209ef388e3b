"""The beginning and the end of live agents: what is counted afterwards is nothing."""

import asyncio
from typing import Any, cast

import pytest

from sidetask import Agent, AgentHandle, Runtime, background
from sidetask.agents.policies.hooks import HookContext, Hooks
from sidetask.agents.policies.rules import Policy, ask
from sidetask.core.errors import (
    AgentNotStartedError,
    ConfigurationError,
    InvalidInputError,
    TurnCancelledError,
)
from sidetask.core.ids import ConversationId
from sidetask.runtime.live.residence import Residence
from sidetask.runtime.triggers import every
from sidetask.stores.base import ConversationRecord
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, running_runtime, stall
from tests.runtime.harness import Held, Talk, beside, settle, talking


def left(runtime: Runtime) -> list[int]:
    """What is kept of agents: handles, names, families, tools, states, journals."""
    residents = cast(Any, runtime)._residents
    on = residents._on
    return [
        len(each)
        for each in (
            runtime.live_agents,
            residents._drivers,
            on.families._kin,
            on.manager._scopes,
            on.invoker.homes,
            on.states._told,
            on.outbox._journals,
        )
    ]


NOTHING = [0] * 7


# -- a residence -----------------------------------------------------------------------------


async def test_a_residence_is_closed_in_reverse_order_and_a_failure_leaves_the_rest() -> None:
    residence, closed, faults = Residence(), list[str](), [OSError("not now")]

    def step(name: str) -> None:
        async def close(_: Residence) -> None:
            if name == "b" and faults:
                raise faults.pop()
            closed.append(name)

        residence.opened(close)

    async def last(_: Residence) -> None:
        closed.append("last")

    for name in "abc":
        step(name)
    residence.outlast(last)
    with pytest.raises(OSError, match="not now"):
        await residence.close()
    assert (closed, residence.is_empty) == (["c"], False)
    await residence.close()
    assert (closed, residence.is_empty) == (["c", "b", "a", "last"], True)
    await residence.close()


# -- openings that come to nothing -----------------------------------------------------------


async def test_a_policy_that_nobody_could_answer_opens_nothing() -> None:
    agent = Agent(ScriptedModel(), policy=Policy(ask("*")))
    async with running_runtime() as runtime:
        with pytest.raises(ConfigurationError, match="on_approval"):
            await runtime.open(agent)
        assert left(runtime) == NOTHING


class Slow(Hooks):
    """Waits where a conversation begins."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def conversation_started(self, ctx: HookContext) -> None:
        self.told.append("started")
        await asyncio.sleep(10)

    async def conversation_ended(self, ctx: HookContext) -> None:
        self.told.append("ended")


@pytest.mark.parametrize("where", ["deps", "hooks"])
async def test_an_opening_that_is_cancelled_half_way_leaves_nothing(where: str) -> None:
    async def deps() -> str:
        await asyncio.sleep(10)
        return "deps"

    hooks = Slow()
    async with running_runtime() as runtime:
        agent = Agent(ScriptedModel("hi"), hooks=[hooks])
        given = deps if where == "deps" else None

        async def open_it() -> object:
            return await runtime.open(agent, conversation_id="mine", deps=given)

        opening = await beside(open_it())
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert left(runtime) == NOTHING
        assert hooks.told == ([] if where == "deps" else ["started", "ended"])
        async with runtime.open(agent, conversation_id="mine") as chat:
            await chat.ask("go")
        assert left(runtime) == NOTHING


async def test_a_name_is_taken_from_the_first_moment_of_an_opening() -> None:
    hooks = Slow()
    async with running_runtime() as runtime:
        agent = Agent(ScriptedModel("hi"), hooks=[hooks])

        async def open_it() -> Any:
            return await runtime.open(agent, conversation_id="mine")

        first = await beside(open_it())
        with pytest.raises(ValueError, match="is open already"):
            await runtime.open(agent, conversation_id="mine")
        await (await first).shutdown()
        assert left(runtime) == NOTHING


class SlowToRead(MemoryStore):
    """Takes a second to say whether there is such a conversation."""

    durable = True

    async def conversation(self, conversation_id: ConversationId) -> ConversationRecord | None:
        await asyncio.sleep(1)
        return await super().conversation(conversation_id)


async def test_of_two_openings_of_one_name_at_once_one_is_refused() -> None:
    async with running_runtime(store=SlowToRead()) as runtime:
        agent = Agent(ScriptedModel("hi"))
        first = await beside(_open(runtime, agent))
        second = await beside(_open(runtime, agent))
        await asyncio.wait([first, second])
        assert isinstance(second.exception(), InvalidInputError)
        assert runtime.live_agents == (first.result(),)
        await first.result().shutdown()


async def _open(runtime: Runtime, agent: Agent) -> AgentHandle:
    return await runtime.open(agent, conversation_id="mine")


async def test_a_hundred_openings_overlap_and_none_hears_the_others_hooks() -> None:
    hooks = [Slow() for _ in range(100)]

    async with running_runtime() as runtime, asyncio.timeout(25):

        async def open_one(each: Slow) -> None:
            async with runtime.open(Agent(ScriptedModel("hi"), hooks=[each])) as chat:
                await chat.ask("go")

        async with asyncio.TaskGroup() as group:
            for each in hooks:
                group.create_task(open_one(each))
        assert {tuple(each.told) for each in hooks} == {("started", "ended")}
        assert left(runtime) == NOTHING


# -- ends ------------------------------------------------------------------------------------


async def test_shutdowns_from_everywhere_at_once_are_one() -> None:
    hooks = Slow()
    held = Held(route=background())
    model = ScriptedModel(call("held"), "Begun.")
    async with running_runtime() as runtime:
        chat = await runtime.open(Agent(model, tools=[held.tool], hooks=[hooks]))
        await chat.ask("go")
        ends = [await beside(chat.shutdown()) for _ in range(3)]
        await asyncio.wait([*ends, await beside(runtime.close())])
        assert hooks.told == ["started", "ended"]
        assert left(runtime) == NOTHING


async def test_a_runtime_that_is_closed_during_an_opening_leaves_nothing_of_it() -> None:
    hooks = Slow()
    async with running_runtime() as runtime:
        agent = Agent(ScriptedModel("tick"), hooks=[hooks])

        async def open_it() -> Any:
            return await runtime.open(agent, triggers=[every(10, "tick?")])

        opening = await beside(open_it())
        await runtime.close()
        with pytest.raises(AgentNotStartedError):
            await opening
        assert hooks.told == ["started", "ended"]
        assert left(runtime) == NOTHING


# -- Stop in every phase ---------------------------------------------------------------------


async def _stopped(talk: Talk, asking: "asyncio.Task[Any]") -> None:
    await talk.chat.interrupt()
    with pytest.raises(TurnCancelledError):
        await asking
    assert talk.runs() == ["run_cancelled"]
    assert (await talk.chat.ask("and now?")).text == "Well."


async def test_a_stop_while_the_turn_waits_at_the_gate_of_its_key() -> None:
    async with talking("Well.") as talk:
        talk.chat.quota.record_hit(talk.model.quota_key, 500)
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
        assert talk.runs() == ["run_cancelled"]
        assert not talk.model.requests


async def test_a_stop_in_the_hook_before_a_turn() -> None:
    class Waiting(Hooks):
        waits = True

        async def pre_turn(self, ctx: HookContext, message: object) -> None:
            if self.waits:
                self.waits = False
                await asyncio.sleep(1000)

    async with talking("Well.", hooks=[Waiting()]) as talk:
        await _stopped(talk, await beside(talk.chat.ask("go")))


@pytest.mark.parametrize("script", [stall(), stall("Half"), call("held")])
async def test_a_stop_before_in_and_after_the_reply(script: Any) -> None:
    async with talking(script, "Well.", tools=[Held().tool]) as talk:
        await _stopped(talk, await beside(talk.chat.ask("go")))


async def test_a_stop_of_a_turn_that_waits_for_its_turn_refuses_none_of_those_behind() -> None:
    async with talking(stall(), "Two.") as talk:
        first = await beside(talk.chat.ask("one?"))
        second = await beside(talk.chat.ask("two?"))
        await talk.chat.interrupt()
        assert (await second).text == "Two."
        with pytest.raises(TurnCancelledError):
            await first


async def test_a_stop_with_work_of_every_sort_answers_every_call_once() -> None:
    front, back = Held("front"), Held("back", route=background())
    late = Held("late", detach_after=1)
    asking = Held("asking", approval="ask")
    queued = Held("queued")
    tools = [each.tool for each in (front, back, late, asking, queued)]
    calls = (call("front"), call("back"), call("late"), call("asking"), call("queued"))
    settings = {"on_approval": "host"}
    async with talking(calls, "Back is done.", tools=tools, runtime=settings) as talk:
        turn = await beside(talk.chat.ask("go"))
        await asyncio.sleep(2)
        await talk.chat.interrupt()
        turn.exception()
        assert len(talk.answers()) == 5
        assert [each.name for each in talk.chat.tasks.running()] == ["back", "late"]
        assert len(talk.chat.approvals) == 0
        for each in (back, late):
            each.let_go.set()
        idle = await talk.chat.wait_for_idle()
        assert (idle.undelivered, talk.chat.turn_count) == (2, 1)  # parked until the user speaks
        assert (await talk.chat.ask("and?")).text == "Back is done."
        assert sorted(talk.told()) == ["task-2 succeeded", "task-3 succeeded"]
        await settle()

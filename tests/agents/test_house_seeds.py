"""The same chaos with all that a house may add: a gate that closes, budgets, hooks that fail, hang
and change, rules, a handler that answers, compaction, triggers, requests. Under many orders."""

import asyncio
from typing import Any

import pytest
from tests.agents.turn.test_loop_seeds import TOOLS, Chaos
from tests.runtime.harness import Talk, assert_valid, talking

from sidetask.agents.guards import Budget, Compacted, Compaction
from sidetask.agents.policies import (
    AskFirst,
    Change,
    Decision,
    Deny,
    HookContext,
    Hooks,
    Policy,
    ToolUse,
    ask,
    deny,
)
from sidetask.agents.quota import Quota
from sidetask.core.errors import ConversationBusyError, ModelError, RateLimitedError, TurnError
from sidetask.core.events import Event, HistoryCompacted, TaskEvent
from sidetask.core.messages import UserMessage
from sidetask.runtime.invocation import EmitRequest
from sidetask.runtime.triggers import TriggerContext, every, on_state
from sidetask.tasks.values import Approval
from sidetask.testing import cut, reply

STEPS = 60
LONG = "word " * 200


class Moody(Hooks):
    """Hooks that do anything."""

    def __init__(self, chaos: "HouseChaos") -> None:
        self.random = chaos.random
        self.turns: list[str] = []

    async def _mood(self) -> None:
        match self.random.randint(0, 9):
            case 0:
                raise KeyError("moody")
            case 1:
                await asyncio.sleep(self.random.choice([0, 1, 7]))
            case 2:
                gone = asyncio.get_running_loop().create_future()
                gone.cancel()
                await gone
            case _:
                pass

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        await self._mood()

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        self.turns.append(status)
        await self._mood()

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        await self._mood()
        changed = Change({**call.arguments, "seconds": 1}) if "seconds" in call.arguments else None
        return self.random.choice([None, None, None, changed, Deny("no"), AskFirst("sure?")])

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        await self._mood()

    async def on_tool_error(self, ctx: HookContext, call: ToolUse, error: str) -> str | None:
        await self._mood()
        return None

    async def on_compaction(self, ctx: HookContext, compacted: Compacted) -> None:
        await self._mood()

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        await self._mood()
        return self.random.choice([None, None, "  ", "go on"])

    async def conversation_ended(self, ctx: HookContext) -> None:
        await self._mood()


class HouseChaos(Chaos):
    """Also the provider, the handler and the host's requests."""

    async def model(self, _: object) -> Any:
        random = self.random
        chance = random.random()
        if chance < 0.08:
            raise RateLimitedError("slow down", random.choice([None, 0.5, 20.0] * 9 + [5000.0]))
        if chance < 0.1:
            return cut(LONG)
        if chance < 0.25:
            return reply(LONG)
        return await super().model(_)

    async def answer(self, _: Approval) -> Any:
        random = self.random
        await asyncio.sleep(random.choice([0, 0, 1, 30]))
        if random.random() < 0.1:
            raise OSError("no desk")
        nonsense: Any = "perhaps"
        return random.choice(
            [
                True,
                True,
                False,
                Deny("no"),
                Change({"seconds": 1}),
                Change({"seconds": "x"}),
                nonsense,
            ]
        )

    async def user(self, talk: Talk) -> None:
        random, chat = self.random, talk.chat
        match random.randint(0, 9):
            case 0:
                budget = Budget(
                    steps=random.choice([None, 1, 3]),
                    tool_calls=random.choice([None, 1, 3]),
                    seconds=random.choice([None, 0.5, 4, 30]),
                )
                self.asked.append(asyncio.create_task(chat.ask("spend", budget=budget)))
                await asyncio.sleep(0)
            case 1:
                run = talk.runtime.emit(
                    EmitRequest(input="emitted", conversation_id=chat.conversation_id)
                )
                if random.random() < 0.3:
                    run.cancel()
                self.asked.append(asyncio.ensure_future(_await(run)))
            case 2:
                chat.state.set("n", random.randint(0, 3))
            case 3:
                talk.runtime.quota.record_hit("scripted", random.choice([0.5, 10]))
            case _:
                await super().user(talk)


async def _await(run: Any) -> Any:
    return await run


def triggers_of(chaos: HouseChaos) -> list[Any]:
    async def wild(ctx: TriggerContext) -> None:
        while True:
            await asyncio.sleep(chaos.random.choice([3, 9]))
            if chaos.random.random() < 0.2:
                raise KeyError("wild")
            await ctx.turn("wild")

    return [
        every(7, "Look."),
        on_state(lambda state: state.get("n", 0) == 3, "It is three."),
        wild,
    ]


@pytest.mark.seeds
async def test_whatever_a_house_adds_each_turn_ends_once_and_nothing_is_left(seed: int) -> None:
    chaos = HouseChaos(seed)
    heard: list[Event] = []
    house = {
        "quota": Quota(jitter=chaos.random.random),
        "policy": Policy(deny("keep", when=lambda a: a["seconds"] == 5), ask("crawl")),
        "on_approval": chaos.answer,
    }
    moody = Moody(chaos)
    async with talking(
        *[chaos.model] * 2000,
        tools=TOOLS,
        runtime=house,
        hooks=[moody],
        model_timeout=5,
        max_steps=6,
        compaction=Compaction(trigger=2_000),
        budget=Budget(steps=400),
        triggers=triggers_of(chaos),
    ) as talk:
        talk.runtime.on("any", heard.append)
        for _ in range(STEPS):
            await chaos.user(talk)
        if chaos.random.random() < 0.5:
            await talk.chat.interrupt("all")
        else:
            await asyncio.sleep(chaos.random.choice([0, 1, 20]))
        await talk.chat.shutdown()
        await asyncio.wait(chaos.asked)
        for each in chaos.asked:
            error = None if each.cancelled() else each.exception()
            assert error is None or isinstance(
                error, TurnError | ModelError | ConversationBusyError
            ), error
    assert_valid(talk.history)
    compacted = [e.index for e in talk.events if isinstance(e, HistoryCompacted)]
    assert tuple(compacted) == tuple(talk.inside.context.indices)
    assert_valid(talk.inside.context.messages)
    assert len(moody.turns) == talk.kinds().count("run_started")
    tasks = [event for event in talk.events if isinstance(event, TaskEvent)]
    begun = {event.task_id for event in tasks if event.kind == "task_queued"}
    ended = [event.task_id for event in tasks if event.terminal]
    assert sorted(ended) == sorted(begun)

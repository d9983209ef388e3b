"""A user, a model and tools that do anything at any time, under many orders of the loop.

`talking` holds at its end what always holds: a valid history, one end for each turn, and
nothing alive.
"""

import asyncio
from random import Random
from typing import Any

import pytest
from tests.runtime.harness import Talk, talking

from sidetask import RunContext, TaskPolicy, ToolError, background, tool
from sidetask.core.errors import ConversationBusyError, TurnError
from sidetask.core.messages import AssistantMessage, NotificationMessage
from sidetask.models.scripted import Part
from sidetask.testing import call, cut, ignores_cancellation, reply, stall

STEPS = 40


@tool(detach_after=2)
async def crawl(seconds: float) -> str:
    """May be detached."""
    await asyncio.sleep(seconds)
    return "crawled"


@tool(route=background(), on_complete="interrupt")
async def alarm(seconds: float) -> str:
    """Cuts a reply."""
    await asyncio.sleep(seconds)
    return "ring"


@tool(route=background(), on_complete="notify")
async def note(seconds: float) -> str:
    """Waits to be heard."""
    await asyncio.sleep(seconds)
    raise ToolError("no paper")


@tool(policy=TaskPolicy(grace=1))
async def stubborn(seconds: float) -> str:
    """Does not stop."""
    await ignores_cancellation(seconds)
    return "late"


@tool(policy=TaskPolicy(on_interrupt="keep", on_duplicate="join"))
async def keep(seconds: float) -> str:
    """Survives a Stop."""
    await asyncio.sleep(round(seconds))
    return "kept"


@tool
async def asking(ctx: RunContext[None], seconds: float) -> str:
    """Asks a person."""
    await ctx.request_approval("may I?")
    await asyncio.sleep(seconds)
    return "approved"


TOOLS = [crawl, alarm, note, stubborn, keep, asking]


class Chaos:
    """What model and user do, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.asked: list[asyncio.Task[Any]] = []

    async def model(self, _: object) -> Any:
        """One reply."""
        random = self.random
        await asyncio.sleep(random.choice([0, 0, 0.5, 3]))
        if random.random() < 0.1:
            raise OSError("down")
        parts: list[Part] = ["Well, "]
        if random.random() < 0.5:
            parts += [self._call() for _ in range(random.randint(1, 4))]
        ends = [reply, reply, reply, reply, reply, reply, cut, stall]
        return random.choice(ends)(*parts)

    def _call(self) -> Any:
        random = self.random
        name = random.choice([*[each.name for each in TOOLS], "wait_for_task", "cancel_task"])
        if name in {"wait_for_task", "cancel_task"}:
            return call(name, task_id=f"task-{random.randint(1, 20)}")
        return call(name, seconds=random.choice([0, 1, 2, 2.001, 5]))

    async def user(self, talk: Talk) -> None:
        """One thing."""
        chat, random = talk.chat, self.random
        match random.randint(0, 9):
            case 0 | 1 | 2:
                self.asked.append(asyncio.create_task(chat.ask("go")))
            case 3:
                self.asked.append(asyncio.create_task(chat.ask("now", on_busy="raise")))
            case 4:
                await chat.send("and this")
            case 5:
                await chat.interrupt(random.choice(["turn", "all"]))
            case 6:
                await chat.cancel()
            case 7:
                for approval in chat.approvals:
                    random.choice([chat.approvals.approve, chat.approvals.deny])(
                        approval.id, by="ada"
                    )
            case 8 if self.asked:
                random.choice(self.asked).cancel()
            case _:
                for task in chat.tasks.running()[:2]:
                    random.choice([chat.tasks.detach, talk.runtime.tasks.task])(task.id)
        await asyncio.sleep(random.choice([0, 0, 0.5, 1, 2, 4]))


@pytest.mark.seeds
async def test_whatever_happens_nothing_is_lost_told_twice_or_left(seed: int) -> None:
    chaos = Chaos(seed)
    script = [chaos.model] * 500
    async with talking(*script, tools=TOOLS, model_timeout=5, max_steps=6) as talk:
        for _ in range(STEPS):
            await chaos.user(talk)
        await settled(talk, chaos.asked)
        for each in chaos.asked:
            error = None if each.cancelled() else each.exception()
            assert error is None or isinstance(error, TurnError | ConversationBusyError)
        assert not any(message_is_empty(m) for m in talk.history)
        told = [item.split()[0] for item in talk.told()]
        assert len(told) == len(set(told)), "told twice"
        heard = {*told, *waiting_to_be_told(talk), *read_by_the_model(talk)}
        background_tasks = {t.id for t in talk.chat.tasks if t.kind == "background"}
        assert background_tasks <= heard, "lost"
        assert {task.status in ENDED for task in talk.chat.tasks} <= {True}


ENDED = {"succeeded", "failed", "cancelled", "timed_out", "denied"}


def waiting_to_be_told(talk: Talk) -> set[str]:
    manager: Any = talk.runtime
    return set(manager._manager.take_pending_loop_updates(talk.chat.conversation_id).ids)


def read_by_the_model(talk: Talk) -> set[str]:
    """By a call of `wait_for_task` or `cancel_task`, which may have been detached itself."""
    late = [i for m in talk.history if isinstance(m, NotificationMessage) for i in m.items]
    texts = [*[a.content for a in talk.answers()], *[item.content for item in late]]
    return {text.split()[0] for text in texts if text}


async def settled(talk: Talk, asked: list[asyncio.Task[Any]]) -> None:
    """Until nothing happens any more: approvals that come up are denied."""
    for _ in range(10_000):
        for approval in talk.chat.approvals:
            talk.chat.approvals.deny(approval.id, by="ada")
        if talk.chat.is_idle and all(each.done() for each in asked):
            await talk.chat.wait_for_idle()
            return
        await asyncio.sleep(1)
    raise AssertionError("it never ends")


def message_is_empty(message: object) -> bool:
    match message:
        case AssistantMessage(parts=parts):
            return not parts
        case NotificationMessage(items=items):
            return not items
        case _:
            return False

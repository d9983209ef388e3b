"""What the soak runs: `sidetask worker --app tests.durable.soak.app:make`.

One round is one conversation, whose model asks for twenty calls in one reply: with steps, with a
side effect that must not happen twice, with a question in the middle, with children, and some that
fail. Whatever they do is a line in the log: when, in which process, in which round, what.
"""

import asyncio
import random
from typing import Any

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.core.messages import ToolCall, UserMessage
from sidetask.core.routing import TaskPolicy
from sidetask.models.base import ModelRequest
from sidetask.models.scripted import Reply
from sidetask.testing import ScriptedModel, call
from tests.durable.worker_app import say

STEPS = 6
STEP = 0.2
"""Seconds that a step takes."""
RETRY = TaskPolicy(idempotent=True, on_crash="retry")
KINDS = ("work",) * 8 + ("pay",) * 4 + ("confirm",) * 3 + ("family",) * 3 + ("fail",) * 2


async def step(run: str, name: str, number: int, at: int) -> int:
    say(run, "began", name, number, at)
    await asyncio.sleep(STEP)
    return at


async def steps(ctx: RunContext[object], run: str, name: str, number: int, *which: int) -> None:
    for at in which:
        await ctx.step(f"step {at}", step, run, name, number, at)
        say(run, "finished", name, number, at)


@tool(route=background(), policy=RETRY)
async def work(ctx: RunContext[object], run: str, number: int) -> str:
    """Work, in steps."""
    say(run, "runs", "work", number)
    await steps(ctx, run, "work", number, *range(STEPS))
    ctx.state.set(f"worked {number}", number)
    return f"worked {number}"


@tool(route=background())
async def pay(run: str, number: int) -> str:
    """Pay, which must not happen twice."""
    say(run, "paid", "pay", number)
    await asyncio.sleep(2 * STEP)
    return f"paid {number}"


@tool(route=background(), policy=RETRY)
async def confirm(ctx: RunContext[object], run: str, number: int) -> str:
    """Prepare, ask, and carry out."""
    say(run, "runs", "confirm", number)
    await steps(ctx, run, "confirm", number, 0)
    await ctx.request_approval("Really?", number=number)
    await steps(ctx, run, "confirm", number, 1)
    return f"confirmed {number}"


@tool(route=background(), policy=RETRY)
async def family(ctx: RunContext[object], run: str, number: int) -> str:
    """Let two children work."""
    say(run, "runs", "family", number)
    children = [ctx.spawn("child", run=run, number=10 * number + each) for each in range(2)]
    found = [await each for each in children]
    return f"grown {number}: {found}"


@tool(policy=RETRY)
async def child(ctx: RunContext[object], run: str, number: int) -> int:
    """Work, in steps, for a family."""
    await steps(ctx, run, "child", number, 0, 1)
    return number


@tool(route=background(), policy=RETRY)
async def fail(ctx: RunContext[object], run: str, number: int) -> str:
    """Begin, and fail."""
    say(run, "runs", "fail", number)
    await steps(ctx, run, "fail", number, 0)
    raise ValueError(f"no luck with {number}")


TOOLS: list[Any] = [work, pay, confirm, family, child, fail]


def calls(run: str) -> list[ToolCall]:
    """What the model asks for in this round: always the same."""
    kinds = list(KINDS)
    random.Random(run).shuffle(kinds)
    return [call(kind, run=run, number=number) for number, kind in enumerate(kinds)]


def answer(request: ModelRequest) -> Reply:
    """Whichever process asks: twenty calls for a user's message, and a word for results."""
    last = request.messages[-1]
    return tuple(calls(last.text)) if isinstance(last, UserMessage) else "I see."


def make(store: str | None = None) -> Runtime:
    model = ScriptedModel(answer, loop=True, record=False)
    agent = Agent(model, name="clerk", tools=TOOLS)
    return Runtime(store=store, agents=[agent], on_approval="host", max_auto_turns=1000)

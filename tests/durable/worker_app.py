"""What workers run in `test_workers`: `sidetask worker --app tests.durable.worker_app:make`.

Whatever its tools do is a line in the file that the environment names, with time and process.
`RELEASE=2` is the next release: `greet` takes one argument more. `HELD=step 2,pay`: in this process
whatever comes to these places goes no further until the test lets it.
"""

import asyncio
import os
import signal
import time
from functools import cache
from pathlib import Path

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.core.routing import TaskPolicy
from sidetask.testing import ScriptedModel
from tests.durable.program import Log

LOG = "SIDETASK_TEST_LOG"
HELD = os.environ.get("HELD", "").split(",")
STEPS = 5
RETRY = TaskPolicy(idempotent=True, on_crash="retry")


@cache
def log() -> Log:
    return Log(Path(os.environ[LOG]))


def say(*words: object) -> None:
    log().say(f"{time.time():.3f}", os.getpid(), *words)


def let_go(log: str | Path) -> None:
    """Let those go on that are held."""
    Path(f"{log}.go").touch()


async def come_to(place: str) -> None:
    while place in HELD and not os.access(f"{os.environ[LOG]}.go", os.F_OK):  # noqa: ASYNC110 - a file sets no event
        await asyncio.sleep(0.02)


async def step(number: int, at: int) -> int:
    say("began", number, at)
    await asyncio.sleep(0.1)
    await come_to(f"step {at}")
    return at


@tool(route=background(), policy=RETRY)
async def work(ctx: RunContext[object], number: int) -> str:
    """Work, in steps."""
    for at in range(STEPS):
        await ctx.step(f"step {at}", step, number, at)
        say("finished", number, at)
    return f"worked {number}"


@tool(route=background())
async def pay(number: int) -> str:
    """Pay, which must not happen twice."""
    say("paid", number)
    await asyncio.sleep(0.6)
    await come_to("pay")
    return f"paid {number}"


@tool(route=background())
async def wait(seconds: float) -> str:
    """Wait."""
    say("waits")
    try:
        await asyncio.sleep(seconds)
        await come_to("wait")
    finally:
        say("waited")
    return "waited"


@tool(route=background())
async def confirm(ctx: RunContext[object], amount: int) -> str:
    """Ask, and go on."""
    await ctx.progress(0.5, "half of it")
    await ctx.request_approval("Really?", amount=amount)
    say("confirmed", amount)
    ctx.state.set("amount", amount)
    return f"confirmed {amount}"


@tool(route=background(), policy=RETRY)
async def die() -> str:
    """End the process, as it is."""
    say("dies")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool(name="greet", route=background())
async def greet_1(name: str) -> str:
    """Greet."""
    say("greeted", 1)
    return f"Hello {name}"


@tool(name="greet", route=background())
async def greet_2(name: str, how: str = "Hi") -> str:
    """Greet."""
    say("greeted", 2)
    return f"{how} {name}"


RELEASE = os.environ.get("RELEASE", "1")
TOOLS = [work, pay, wait, confirm, die, greet_2 if RELEASE == "2" else greet_1]


def make(store: str | None = None) -> Runtime:
    agent = Agent(ScriptedModel(), name="clerk", tools=TOOLS)
    return Runtime(store=store, agents=[agent])


def with_dbos(store: str | None = None) -> Runtime:
    """The same, on the other engine."""
    agent = Agent(ScriptedModel(), name="clerk", tools=TOOLS)
    return Runtime(store=store, agents=[agent], engine="dbos")


def few(store: str | None = None) -> Runtime:
    """One that knows nothing but how to wait."""
    return Runtime(store=store, agents=[Agent(ScriptedModel(), name="clerk", tools=[wait])])

"""A pipeline: agents made into one agent.

* Its writes land in one step when it succeeds. One that fails, or is cancelled, leaves none.
* Its agents find what goes in under `input`, and what the agent before gave under `output`:
  for templates, guards and choices. The two keys are the pipeline's own. They are never
  written to the state below, so pipelines on one state do not see each other's.
* What its agents start, ends before the pipeline does.

Both follow from a fork of the state for each run, and from forks of that for branches.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar, cast

from sidetask.core.errors import ConfigurationError, InvocationTimeoutError, StateValueError
from sidetask.core.jsons import Json
from sidetask.orchestration.base import Invocable
from sidetask.state.state import Fork, StateView

T = TypeVar("T")

INPUT = "input"
OUTPUT = "output"
OWN = (INPUT, OUTPUT)
"""The keys that a pipeline keeps to itself."""

Run: TypeAlias = Callable[[Json, Fork], Awaitable[Json]]
"""One run of a pipeline, on a fork that it may write to and need not end."""


class Pipeline:
    """Agents made into one. Made by the functions of this folder."""

    __slots__ = ("_run", "agents", "name")

    def __init__(self, name: str, agents: Sequence[Invocable], run: Run) -> None:
        self.name = name
        self.agents = tuple(agents)
        """What it is made of."""
        self._run = run

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    async def invoke(self, input: Json, state: StateView) -> Json:
        """Run once. Gives the output, or raises the error of the agent that failed.

        Raises:
            StateValueError: The input, or an agent's output, is not JSON, or too big.
        """
        with kept(state) as fork:
            fork.set(INPUT, input)
            return await self._run(fork[INPUT], fork)


def keep(fork: Fork) -> None:
    """Commit what was written, but for what is the pipeline's own."""
    fork.commit(without=OWN)


@contextmanager
def kept(state: StateView) -> Generator[Fork]:
    """A fork whose writes are kept when all went well, and else never seen."""
    fork = state.fork()
    try:
        yield fork
        keep(fork)
    finally:
        fork.discard()


async def step(agent: Invocable, input: Json, fork: Fork) -> Json:
    """Run one agent on a fork, which nobody else writes to meanwhile.

    Raises:
        StateValueError: Its output is not JSON, or too big.
    """
    fork.set(INPUT, input)
    output = await agent.invoke(input, fork)
    try:
        fork.set(OUTPUT, output)
    except StateValueError as error:
        what = f"output of {agent.name}"
        raise StateValueError(what, error.value_type, error.why) from None
    return fork[OUTPUT]


async def in_time(work: Awaitable[T], seconds: float | None, name: str) -> T:
    """Await work for `seconds` at most; None: however long it takes.

    Raises:
        InvocationTimeoutError: It took longer. It was cancelled, and has ended.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            done = await work
    except TimeoutError:
        if not limit.expired():
            raise  # the work's own
        raise InvocationTimeoutError(name, cast(float, seconds)) from None
    if limit.expired():  # it ignored its cancellation, and came late
        raise InvocationTimeoutError(name, cast(float, seconds))
    return done


# -- building --------------------------------------------------------------------------------


def checked(kind: str, agents: Sequence[Invocable]) -> tuple[Invocable, ...]:
    """The agents, if a pipeline can be made of them.

    Raises:
        ConfigurationError: There is none, or one of them is no agent.
    """
    if not agents:
        raise ConfigurationError(f"{kind} needs at least one agent")
    for agent in agents:
        if not isinstance(agent, Invocable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"{kind} is made of agents, and {agent!r:.100} is none: it has no name, or no "
                "invoke(input, state); as_agent(fn) makes one of a function"
            )
    return tuple(agents)


def titled(kind: str, agents: Sequence[Invocable], name: str | None) -> str:
    """The name that was given, or one that tells what is inside."""
    return name or f"{kind}({', '.join([agent.name for agent in agents])})"

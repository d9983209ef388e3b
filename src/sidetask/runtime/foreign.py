"""Agents of other frameworks, opened like our own.

Their adapters stand above, in `interop`, and are imported by name when such an agent comes.
"""

from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeAlias, runtime_checkable

from sidetask.agents.agent import AgentConfig
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import value
from sidetask.runtime.handle import AgentHandle
from sidetask.tasks.aio.spawn import run_to_end

ADAPTERS = {"pydantic_ai": "sidetask.interop.pydantic_ai"}
"""The package that a class of agents comes from -> the module whose `move_in` knows them."""

_CLEANUP = 5.0
"""Seconds that letting go of an agent may take which could not be opened."""


@value
class Entered:
    """A foreign agent, ready for one conversation."""

    config: AgentConfig
    deps: object
    """What its tools find in `ctx.deps`."""
    close: Callable[[], Coroutine[Any, Any, None]]
    """Let go of what it holds, once the conversation has ended. Twice is fine."""


@runtime_checkable
class MovableAgent(Protocol):
    """An agent that says itself how it is opened here."""

    @property
    def name(self) -> str | None: ...

    async def enter(self, deps: object) -> Entered:
        """Raises:
        ConfigurationError: It has something that cannot be kept; the error names it.
        """
        ...


class _WithToolsets(Protocol):
    """How an agent of Pydantic AI looks without importing it."""

    @property
    def name(self) -> str | None: ...
    @property
    def toolsets(self) -> Sequence[Any]: ...


ForeignAgent: TypeAlias = MovableAgent | _WithToolsets


async def start_foreign(
    agent: ForeignAgent,
    deps: object,
    start: Callable[..., Coroutine[Any, Any, AgentHandle]],
) -> AgentHandle:
    """Open a foreign agent: `start` opens what it is described as.

    Raises:
        ConfigurationError: It is of no framework that is known here, or cannot be kept whole.
    """
    entered = await _movable(agent).enter(deps)
    try:
        handle = await start(entered.config, deps=lambda: entered.deps)
    except BaseException:  # the one boundary: a start that fails leaves nothing behind
        await run_to_end(entered.close(), within=_CLEANUP)
        raise
    handle.on_shutdown(entered.close)
    return handle


def _movable(agent: object) -> MovableAgent:
    if isinstance(agent, MovableAgent):
        return agent
    for kind in type(agent).__mro__:
        adapter = ADAPTERS.get(kind.__module__.partition(".")[0])
        if adapter is not None:
            return import_module(adapter).move_in(agent)
    raise ConfigurationError(f"{type(agent).__name__} is no agent: make one, Agent(model, ...)")

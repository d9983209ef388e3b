"""A function as an agent."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json
from sidetask.orchestration.base import Invocable
from sidetask.state.state import StateView

AgentFunction: TypeAlias = (
    Callable[[Any, StateView], Awaitable[Any]] | Callable[[Any], Awaitable[Any]]
)
"""`async fn(input, state)`, or only one of the two."""


class FunctionAgent(Invocable):
    """What `as_agent` makes."""

    def __init__(self, name: str, function: AgentFunction, takes: slice) -> None:
        self._name = name
        self._function = cast("Callable[..., Awaitable[Json]]", function)
        self._takes = takes
        """Which of (input, state)."""

    @property
    def name(self) -> str:
        return self._name

    async def invoke(self, input: Json, state: StateView) -> Json:
        return await self._function(*(input, state)[self._takes])


def as_agent(function: AgentFunction, /, *, name: str | None = None) -> FunctionAgent:
    """Make an agent of `async fn(input, state)`.

    One parameter is enough: it is the input, unless it is called `state`. The function's own
    name is the agent's, if no other is given. What it returns is JSON, or a pydantic model.

    Raises:
        ConfigurationError: It is not an async function of one or two parameters, or has no name.
    """
    own = name or getattr(function, "__name__", "")
    if not own or own == "<lambda>":
        raise ConfigurationError("an agent has a name: as_agent(fn, name=...)")
    if not _is_async(function):
        raise ConfigurationError(f"as_agent takes an async function, and {own!r} is none")
    match _parameters(function):
        case [_, _]:
            takes = slice(0, 2)
        case ["state"]:
            takes = slice(1, 2)
        case [_]:
            takes = slice(0, 1)
        case found:
            raise ConfigurationError(
                f"an agent's function takes (input, state), or one of them; {own!r} takes {found}"
            )
    return FunctionAgent(own, function, takes)


def _is_async(function: object) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object whose call is async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _parameters(function: Callable[..., object]) -> list[str]:
    """The names of the parameters that have to be given by position."""
    return [
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        and each.default is each.empty
    ]

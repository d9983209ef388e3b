"""An agent of Pydantic AI as an agent value: run by its own loop, from its input to its output."""

import inspect
import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pydantic_ai import DeferredToolRequests
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.usage import RunUsage
from pydantic_core import PydanticSerializationError, to_jsonable_python

from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json
from sidetask.interop.pydantic_ai.usage import spend
from sidetask.state.state import StateView


@dataclass(frozen=True, slots=True)
class DispatchedAgent:
    """What `from_pydantic_ai` makes: `call`, `dispatch`, `batch` and the combinators take it."""

    name: str
    agent: AbstractAgent[Any, Any]
    deps: object = None

    async def invoke(self, input: Json, state: StateView) -> Json:
        """Run the agent once. Text is its prompt, None is no prompt, all else is told as JSON.

        What it spends is charged to the ambient meter while it runs, and also when it fails or
        is cancelled. Its errors are Pydantic AI's own.

        Raises:
            ConfigurationError: It asks for approvals or external results, which only a host can
                answer, or its output is not JSON.
        """
        prompt = input if input is None or isinstance(input, str) else _told(input)
        deps = await _made(self.deps, state)
        bill = _Bill()
        try:
            async with self.agent.iter(prompt, deps=deps, usage=bill.usage) as run:
                async for _ in run:
                    bill.charge()
        finally:
            bill.charge()
        assert run.result is not None  # the loop ended well
        return _as_json(self.name, run.result.output)


def from_pydantic_ai(
    agent: AbstractAgent[Any, Any], *, deps: object = None, name: str | None = None
) -> DispatchedAgent:
    """Make an agent value of an agent of Pydantic AI.

    `deps` is what its tools find in `ctx.deps`: a value, or a function that gets the state of the
    invocation and makes them for this run (it may be async). `name` is needed if the agent has
    none of its own.

    Raises:
        ConfigurationError: It has no name.
    """
    found = name or agent.name
    if not found:
        raise ConfigurationError("the agent has no name: give it one, Agent(name=...), or name=")
    return DispatchedAgent(found, agent, deps)


class _Bill:
    """What a run has consumed, charged piece by piece."""

    __slots__ = ("_charged", "usage")

    def __init__(self) -> None:
        self.usage = RunUsage()
        """The run adds to it in place; so do runs that its tools start with `ctx.usage`."""
        self._charged = RunUsage()

    def charge(self) -> None:
        new, self._charged = self.usage - self._charged, copy(self.usage)
        spend(new)


def _told(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, default=dict)  # a mapping that is no dict


async def _made(deps: object, state: StateView) -> object:
    if not (inspect.isroutine(deps) or isinstance(deps, partial)):
        return deps
    made = cast("Callable[[StateView], object]", deps)(state)
    return await made if inspect.isawaitable(made) else made


def _as_json(name: str, output: object) -> Json:
    if isinstance(output, DeferredToolRequests):
        asked = ", ".join(call.tool_name for call in (*output.approvals, *output.calls))
        raise ConfigurationError(
            f"agent {name!r} ended with calls that a host has to answer ({asked}): open it with"
            " sidetask.open(agent), where approvals are asked for, or take those tools away"
        )
    try:
        return to_jsonable_python(output, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise ConfigurationError(f"the output of agent {name!r} is not JSON: {error}") from error

"""Pipelines in which one agent runs at a time."""

import inspect
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from sidetask.core.errors import (
    AllFailedError,
    ConfigurationError,
    RoundLimitError,
    UnknownRouteError,
)
from sidetask.core.errors.checks import check_count, check_errors, check_seconds
from sidetask.core.jsons import Json
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.combinators.pipeline import (
    Pipeline,
    checked,
    in_time,
    kept,
    step,
    titled,
)
from sidetask.state.state import Fork, StateView

Look: TypeAlias = Callable[[StateView], object]
"""A function that only looks at the state, where it finds `input` and `output`. A guard is one."""


def sequence(*agents: Invocable, name: str | None = None) -> Pipeline:
    """One after another; the output of each is the input of the next.

    Raises:
        ConfigurationError: There is no agent.
    """
    checked("sequence", agents)

    async def run(input: Json, fork: Fork) -> Json:
        value = input
        for agent in agents:
            value = await step(agent, value, fork)
        return value

    return Pipeline(titled("sequence", agents, name), agents, run)


def fallback(
    *agents: Invocable,
    on: type[Exception] | tuple[type[Exception], ...] = Exception,
    name: str | None = None,
) -> Pipeline:
    """The first that succeeds, asked in this order with the same input. A try that failed leaves
    no writes. Errors that are not of the types `on` are raised at once.

    Raises:
        ConfigurationError: There is no agent, or `on` is no type of errors.
        AllFailedError: (When it runs.) Every try failed.
    """
    checked("fallback", agents)
    check_errors("fallback(on=)", on)
    title = titled("fallback", agents, name)

    async def run(input: Json, fork: Fork) -> Json:
        failures: list[tuple[str, Exception]] = []
        for agent in agents:
            try:
                with kept(fork) as attempt:
                    return await step(agent, input, attempt)
            except on as error:
                failures.append((agent.name, error))
        raise AllFailedError(title, failures) from failures[-1][1]

    return Pipeline(title, agents, run)


def route(
    choose: Invocable | Look,
    routes: Mapping[str, Invocable],
    *,
    default: Invocable | None = None,
    name: str | None = None,
) -> Pipeline:
    """One of many, chosen by name: by a function of the state, or by an agent, whose output is
    the name. The one that is chosen gets the input of the route.

    Raises:
        ConfigurationError: There is no route, or the choice is a coroutine function.
        UnknownRouteError: (When it runs.) There is no such route, and no default.
    """
    by_name = dict(routes)
    agents = (*by_name.values(), *([] if default is None else [default]))
    checked("route", agents)
    chooser = choose if isinstance(choose, Invocable) else _looking("route", choose)
    title = titled("route", agents, name)

    async def run(input: Json, fork: Fork) -> Json:
        if isinstance(chooser, Invocable):
            chosen = await step(chooser, input, fork)
        else:
            chosen = chooser(fork)
        # Models like to end a word with a line break.
        agent = by_name.get(chosen.strip()) if isinstance(chosen, str) else None
        if agent is None:
            agent = default
        if agent is None:
            raise UnknownRouteError(str(chosen), by_name)
        return await step(agent, input, fork)

    return Pipeline(title, agents, run)


def loop(
    agent: Invocable,
    *,
    max_rounds: int,
    until: Look | None = None,
    on_limit: Literal["raise", "return"] = "raise",
    name: str | None = None,
) -> Pipeline:
    """Again and again, each output being the next input, until `until(state)` is true after a
    round; without it, `max_rounds` times.

    Raises:
        ConfigurationError: `max_rounds` is less than 1, `until` is a coroutine function, or
            `on_limit` is another word.
        RoundLimitError: (When it runs.) `until` was not true after `max_rounds`; it holds the
            last output. `on_limit="return"` gives that output instead.
    """
    checked("loop", (agent,))
    check_count("max_rounds", max_rounds)
    if on_limit not in ("raise", "return"):
        raise ConfigurationError(f"on_limit is 'raise' or 'return', not {on_limit!r}")
    reached = None if until is None else _looking("loop", until)
    title = titled("loop", (agent,), name)

    async def run(input: Json, fork: Fork) -> Json:
        value = input
        for _ in range(max_rounds):
            value = await step(agent, value, fork)
            if reached is not None and reached(fork):
                return value
        if reached is None or on_limit == "return":
            return value
        raise RoundLimitError(title, max_rounds, value)

    return Pipeline(title, (agent,), run)


def with_timeout(agent: Invocable, seconds: float, *, name: str | None = None) -> Pipeline:
    """The same agent, cancelled when it takes longer.

    Raises:
        ConfigurationError: `seconds` is not above 0.
        InvocationTimeoutError: (When it runs.) It took longer.
    """
    checked("with_timeout", (agent,))
    check_seconds("a timeout", seconds)

    async def run(input: Json, fork: Fork) -> Json:
        return await in_time(step(agent, input, fork), seconds, agent.name)

    return Pipeline(name or agent.name, (agent,), run)


def tap(agent: Invocable, *, name: str | None = None) -> Pipeline:
    """Runs the agent, and passes its own input on: for what only writes, notifies or checks."""
    checked("tap", (agent,))

    async def run(input: Json, fork: Fork) -> Json:
        await step(agent, input, fork)
        return input

    return Pipeline(titled("tap", (agent,), name), (agent,), run)


def _looking(kind: str, look: Look) -> Look:
    if not callable(look) or inspect.iscoroutinefunction(look):
        raise ConfigurationError(
            f"{kind} looks at the state with an ordinary function, not with {look!r:.100}; "
            "what takes time is an agent: as_agent(fn)"
        )
    return look

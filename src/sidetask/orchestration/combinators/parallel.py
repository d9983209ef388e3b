"""Pipelines whose branches run side by side, each on a fork of its own.

Branches do not see each other's writes. Those of `parallel` and `map_over` are committed when
all have succeeded, in the order of the branches and not of their ends: of two that wrote a key,
the later branch's value stays. What all of them are to add to belongs into their outputs.
"""

import asyncio
from collections.abc import Sequence
from itertools import islice

from sidetask.core.errors import AllFailedError, ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import check_count
from sidetask.core.jsons import Json
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.combinators.pipeline import Pipeline, checked, keep, step, titled
from sidetask.orchestration.template import Name
from sidetask.state.state import Fork
from sidetask.state.values import ABSENT, kind_of
from sidetask.tasks.aio.branches import Branches

MAP_CAP = 16
"""How many items `map_over` works on at once unless told otherwise."""


def parallel(
    *agents: Invocable, by_name: bool = False, cap: int | None = None, name: str | None = None
) -> Pipeline:
    """All of them with the same input; the output is the list of theirs, in this order, or with
    `by_name` an object. When one fails the others are cancelled and awaited, and its error is
    raised. At most `cap` run at once.

    Raises:
        ConfigurationError: There is no agent, `cap` is less than 1, or `by_name` finds two
            agents of one name.
    """
    checked("parallel", agents)
    _check_cap(cap)
    names = [agent.name for agent in agents]
    if by_name and len(set(names)) < len(names):
        raise ConfigurationError(
            f"parallel by name has two agents of one name: {', '.join(names)}; "
            "sequence(agent, name=...) is the same agent under another"
        )

    async def run(input: Json, fork: Fork) -> Json:
        outputs = await _all([(agent.name, agent, input) for agent in agents], fork, cap)
        return dict(zip(names, outputs, strict=True)) if by_name else outputs

    return Pipeline(titled("parallel", agents, name), agents, run)


def map_over(
    agent: Invocable,
    items: str | None = None,
    *,
    cap: int | None = MAP_CAP,
    name: str | None = None,
) -> Pipeline:
    """The agent once for each item of a list, at most `cap` at once; the output is the list of
    outputs, in the order of the items. `items` names the list in the state, as a template does
    (`"plan.files"`); without it the input is the list. One that fails ends all.

    Raises:
        ConfigurationError: `cap` is less than 1.
        InvalidInputError: (When it runs.) There is no list.
    """
    checked("map_over", (agent,))
    _check_cap(cap)
    key = None if items is None else Name(items.strip())
    title = titled("map_over", (agent,), name)

    async def run(input: Json, fork: Fork) -> Json:
        found = input if key is None else key.find(fork, lenient=True)
        if isinstance(found, str) or not isinstance(found, Sequence):
            what = "is missing" if found is ABSENT else f"is of type {kind_of(found)}"
            where = "its input" if items is None else repr(items)
            raise InvalidInputError(f"{title} wants a list, and {where} {what}")
        works = [(f"{agent.name}[{at}]", agent, item) for at, item in enumerate(found)]
        return await _all(works, fork, cap)

    return Pipeline(title, (agent,), run)


def race(*agents: Invocable, name: str | None = None) -> Pipeline:
    """All of them with the same input; the output is that of the first that succeeds. The others
    are cancelled and awaited, and leave no writes.

    Raises:
        ConfigurationError: There is no agent.
        AllFailedError: (When it runs.) Every one failed.
    """
    checked("race", agents)
    title = titled("race", agents, name)

    async def run(input: Json, fork: Fork) -> Json:
        forks: dict[asyncio.Task[Json], Fork] = {}
        async with Branches[Json]() as branches:
            for agent in agents:
                own = fork.fork()
                forks[branches.start(step(agent, input, own), name=agent.name)] = own
            winner = await _first_success(branches)
        if winner is None:
            told = [(task.get_name(), _failure(task)) for task in forks]
            raise AllFailedError(title, [(name, error) for name, error in told if error])
        keep(forks[winner])
        return winner.result()

    return Pipeline(title, agents, run)


async def _all(
    works: Sequence[tuple[str, Invocable, Json]], fork: Fork, cap: int | None
) -> list[Json]:
    """Run them all, at most `cap` at once, and keep what they wrote; give their outputs."""
    forks = [fork.fork() for _ in works]
    places: dict[asyncio.Task[Json], int] = {}
    outputs: list[Json] = [None] * len(works)
    async with Branches[Json]() as branches:
        waiting = iter(range(len(works)))

        def start(some: int | None) -> None:
            for at in islice(waiting, some):
                name, agent, input = works[at]
                places[branches.start(step(agent, input, forks[at]), name=name)] = at

        start(cap)
        for _ in works:
            task = await branches.next_ended()
            outputs[places.pop(task)] = task.result()
            start(1)
    for own in forks:
        keep(own)
    return outputs


async def _first_success(branches: Branches[Json]) -> "asyncio.Task[Json] | None":
    for _ in range(len(branches)):
        task = await branches.next_ended()
        if _failure(task) is None:
            return task
    return None


def _failure(task: "asyncio.Task[Json]") -> BaseException | None:
    """What a branch failed with; None: it succeeded. A branch that was cancelled, though not by
    the race, has failed too."""
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    if error is None or isinstance(error, Exception):
        return error
    raise error  # the program is being stopped


def _check_cap(cap: int | None) -> None:
    if cap is not None:
        check_count("cap", cap)

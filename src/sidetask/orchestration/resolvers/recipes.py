"""What a resolver does: what it asks for, and how the answer is made.

A recipe is an agent value that says where its answers come from: `call`, dispatchers and batches
run it like any other.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, TypeAlias, cast

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_kind
from sidetask.core.jsons import Json
from sidetask.models.base import Model
from sidetask.orchestration.base import Invocable, Sourced
from sidetask.orchestration.combinators.pipeline import INPUT
from sidetask.orchestration.resolvers.retries import ErrorTypes, retried
from sidetask.orchestration.template import Name, Template, Values
from sidetask.state.provenance import Source
from sidetask.state.state import StateView
from sidetask.state.values import ABSENT

Fetch: TypeAlias = Callable[[StateView], Awaitable[Any]]
Ask: TypeAlias = Callable[[Values], Json]
"""Makes an input from the state."""
InputSpec: TypeAlias = str | Template | Sequence[str] | None
"""A template, or a text with braces, which is one: its text. A key, with a path perhaps: the
value. Several keys: an object of their values. None: the value of `input`, null without one."""

_AGENT = "sidetask.runtime.agent"
"""Where `Agent` is. It stands above, and is imported by name when a model is asked first."""


class Recipe(Sourced):
    """How the values of one resolver are made, again if that may help."""

    def __init__(
        self, name: str, source: Source, make: Invocable, retries: int, on: ErrorTypes | None
    ) -> None:
        self.name = name
        self.source = source
        self._make = make
        self._retries = retries
        self._on = on

    async def invoke(self, input: Json, state: StateView) -> Json:
        return await retried(lambda: self._make.invoke(input, state), self._retries, self._on)


class Fetching:
    """A function of the state, as an agent."""

    def __init__(self, name: str, fetch: Fetch) -> None:
        call = getattr(fetch, "__call__", None)  # noqa: B004 - of an object whose call is async
        if not (inspect.iscoroutinefunction(fetch) or inspect.iscoroutinefunction(call)):
            raise ConfigurationError(f"{name!r} fetches with an async function, not {fetch!r:.100}")
        self.name = name
        self._fetch = fetch

    async def invoke(self, input: Json, state: StateView) -> Json:
        return await self._fetch(state)


class Asking:
    """A model without tools, as an agent: so its calls pass the gate of their key, its usage is
    told and charged, and it is seen like every other."""

    def __init__(self, name: str, model: str | Model) -> None:
        self.name = name
        self._model = model

    @cached_property
    def _agent(self) -> Invocable:
        agent = cast("Callable[..., Invocable]", import_module(_AGENT).Agent)
        return agent(self._model, name=self.name)

    async def invoke(self, input: Json, state: StateView) -> Json:
        return await self._agent.invoke(input, state)


def asking_for(spec: InputSpec) -> Ask:
    """What makes the input.

    Raises:
        TemplateError: The template is malformed.
        ConfigurationError: It is neither of these.
    """
    match spec:
        case None:
            return _input_of
        case Template():
            return spec.render
        case str() if "{" in spec or "}" in spec:
            return Template(spec).render
        case str():
            return _value_of(spec)
        case _:
            check_kind("the input of a resolver", spec, Sequence)
            each = {key: _value_of(key) for key in spec}
            return lambda values: {key: find(values) for key, find in each.items()}


def _input_of(values: Values) -> Json:
    found = Name(INPUT).find(values, lenient=True)
    return None if found is ABSENT else found


def _value_of(key: str) -> Ask:
    name = Name(key.strip())
    return lambda values: cast(Json, name.find(values))

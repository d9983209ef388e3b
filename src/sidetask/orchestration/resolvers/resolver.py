"""A resolver: a value that takes time, by name. Its input comes from the state, and what becomes
of it goes there: `n:status`, `n:result`, `n:error`.

The order of asking: make the input, which fails before anything has changed; look for a result
that is fresh; join a run that is under way for the same input; else start one.
"""

from hashlib import sha256
from typing import TypedDict, Unpack

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_count, check_errors, check_seconds
from sidetask.core.jsons import Json, canonical
from sidetask.models.base import Model
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.calling import call
from sidetask.orchestration.combinators.pipeline import INPUT, checked
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.invoker import Run, Tasks
from sidetask.orchestration.resolvers.recipes import (
    Ask,
    Asking,
    Fetch,
    Fetching,
    InputSpec,
    Recipe,
    asking_for,
)
from sidetask.orchestration.resolvers.retries import ErrorTypes
from sidetask.orchestration.resolvers.sharing import Sharing
from sidetask.orchestration.template import Template
from sidetask.state.provenance import Source
from sidetask.state.results import check_name, resolved, result_key
from sidetask.state.state import StateView
from sidetask.state.values import ABSENT, Absent
from sidetask.tasks.handle import TaskHandle


class ResolverOptions(TypedDict, total=False):
    """How a resolver runs. What is not said, is not done."""

    timeout: float
    """Seconds that one run may take, all tries and the waits between them together. A run that
    takes longer ends as `timed_out`."""
    retries: int
    """How often it tries again, with growing waits, after an error that this may help against: a
    model's that may pass, `ConnectionError`, `TimeoutError`."""
    retry_on: ErrorTypes
    """The types of errors after which it tries again, instead of those."""
    ttl: float
    """Seconds for which a result is fresh: asking again gives it, if the input is the same. Of
    `fetch`, which reads what it likes, only the age counts."""
    dedupe: bool
    """Who asks while a run for the same input is under way shares it. It stops when the last of
    them is cancelled. What it spends is charged to the first."""
    keep_stale: bool
    """The last result stays in the state until there is a new one."""


class Resolver:
    """A value by name. Made by `Resolver.agent`, `Resolver.fetch` or `Resolver.llm`.

    `await resolver(state)` gives the value, `dispatch` starts a run and returns at once. It is
    an agent, too: as a step of a pipeline its `{input}` is the pipeline's.
    """

    def __init__(self, recipe: Recipe, ask: Ask, options: ResolverOptions) -> None:
        self.name = check_name(recipe.name)
        self._recipe = recipe
        self._ask = ask
        self._options = options
        self._sharing = Sharing()

    @classmethod
    def agent(
        cls,
        name: str,
        agent: Invocable,
        *,
        input: InputSpec = None,
        **options: Unpack[ResolverOptions],
    ) -> "Resolver":
        """The output of an agent. `input` is a template (or a text with braces), a key of the
        state (`"plan.files"`), or several keys, which become an object; without it what the
        state holds under `input`.

        Raises:
            TemplateError: The template is malformed.
            ConfigurationError: That is no agent, there is no such option, or it is not of its kind.
            InvalidInputError: The name cannot be a run's.
        """
        checked("a resolver", (agent,))
        return cls(_recipe(name, "agent", agent, options), asking_for(input), options)

    @classmethod
    def fetch(cls, name: str, fetch: Fetch, **options: Unpack[ResolverOptions]) -> "Resolver":
        """What `await fetch(state)` returns. Raises as `agent` does."""
        return cls(_recipe(name, "fetch", Fetching(name, fetch), options), lambda _: None, options)

    @classmethod
    def llm(
        cls,
        name: str,
        model: str | Model,
        prompt: str | Template,
        **options: Unpack[ResolverOptions],
    ) -> "Resolver":
        """What a model says to a prompt: a template, filled from the state. `model` is as for
        an `Agent`. Raises as `agent` does."""
        template = prompt if isinstance(prompt, Template) else Template(prompt)
        return cls(_recipe(name, "llm", Asking(name, model), options), template.render, options)

    def __repr__(self) -> str:
        return f"<resolver {self.name}>"

    async def __call__(self, state: StateView, *, tasks: Tasks = None) -> Json:
        """The value: a fresh one, or that of a run, which is a task like that of `call`.

        Raises:
            TemplateError: What the input is made from is not in the state; nothing was started.
            Exception: As `call`: the agent's or the function's own error, after the last try.
            TaskFailedError: It was cancelled by somebody else, or took longer than its timeout.
        """
        return await self._resolve(state, self._ask(state), tasks)

    async def invoke(self, input: Json, state: StateView) -> Json:
        """As a step of a pipeline: the same, with `input` for what the state holds under it."""
        return await self._resolve(state, self._ask(_Given(input, state)), None)

    def dispatch(
        self, state: StateView, dispatcher: BackgroundAgentDispatcher
    ) -> TaskHandle | None:
        """Start a run as soon as the dispatcher's cap lets it; None: there is a fresh result, and
        nothing to do. With `dedupe` a run that is under way is given instead of a new one.

        Raises:
            TemplateError: What the input is made from is not in the state; nothing was started.
            TooManyTasksError, DuplicateTaskError, ManagerClosedError: As the dispatcher's.
        """
        asked = self._ask(state)
        if self._fresh(state, asked) is not ABSENT:
            return None
        key = _key(state, asked)
        shared = self._sharing.find(key) if self._options.get("dedupe") else None
        if shared is None:
            handle = dispatcher.dispatch(
                self.name,
                self._recipe,
                state,
                input=asked,
                timeout=self._options.get("timeout"),
                keep_stale=self._options.get("keep_stale", False),
            )
            run = dispatcher.invoker.runs.get(handle.id)
            if run is None or run.digest != key[1] or not self._options.get("dedupe"):
                return handle  # it has ended, or the dispatcher joined it to another run
            shared = self._sharing.keep(key, run, handle)
        shared.askers += 1
        return shared.handle

    async def _resolve(self, state: StateView, asked: Json, tasks: Tasks) -> Json:
        fresh = self._fresh(state, asked)
        if fresh is not ABSENT:
            return fresh
        timeout = self._options.get("timeout")
        keep_stale = self._options.get("keep_stale", False)
        if not self._options.get("dedupe"):
            return await call(
                self.name,
                self._recipe,
                state,
                input=asked,
                tasks=tasks,
                timeout=timeout,
                keep_stale=keep_stale,
            )
        key = _key(state, asked)
        shared = self._sharing.find(key)
        # One that waits for a permit is not waited for: it may be the permit of whoever asks.
        if shared is None or shared.handle.waiting:
            run = Run(self.name, self._recipe, state, input=asked, keep_stale=keep_stale)
            shared = self._sharing.start(key, run, tasks, timeout)
        return await self._sharing.wait(key, shared)

    def _fresh(self, state: StateView, asked: Json) -> "Json | Absent":
        """The result in the state, if it is one for this input, and young enough."""
        ttl = self._options.get("ttl")
        if ttl is None or not resolved(state, self.name):
            return ABSENT
        told = state.provenance(result_key(self.name))
        if told is None or told.input_digest != _digest(asked) or state.now() - told.at >= ttl:
            return ABSENT
        return state[result_key(self.name)]


class _Given:
    """A state in which `input` is what a pipeline hands in."""

    __slots__ = ("_input", "_state")

    def __init__(self, input: Json, state: StateView) -> None:
        self._input = input
        self._state = state

    def __contains__(self, key: object) -> bool:
        return key == INPUT or key in self._state

    def __getitem__(self, key: str) -> Json:
        return self._input if key == INPUT else self._state[key]


def _key(state: StateView, asked: Json) -> tuple[object, str]:
    return state.board, _digest(asked)


def _digest(asked: Json) -> str:
    """As a run's provenance tells it."""
    return sha256(canonical(asked).encode(errors="surrogatepass")).hexdigest()


def _recipe(name: str, source: Source, make: Invocable, options: ResolverOptions) -> Recipe:
    unknown = options.keys() - ResolverOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(
            f"resolver {name!r} has no option {', '.join(sorted(unknown))}; there are: "
            f"{', '.join(ResolverOptions.__annotations__)}"
        )
    timeout, ttl, retries = (options.get(each) for each in ("timeout", "ttl", "retries"))
    for word, seconds in (("timeout", timeout), ("ttl", ttl)):
        if seconds is not None:
            check_seconds(f"resolver {name!r}: {word}", seconds)
    if retries is not None:
        check_count(f"resolver {name!r}: retries", retries, least=0)
    if "retry_on" in options and not retries:
        raise ConfigurationError(f"resolver {name!r}: retry_on says when, retries how often: 2?")
    retry_on = options.get("retry_on")
    if retry_on is not None:
        check_errors(f"resolver {name!r}: retry_on", retry_on)
    return Recipe(name, source, make, retries or 0, retry_on)

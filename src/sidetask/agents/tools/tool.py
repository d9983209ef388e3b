"""Tools: what a model may call, and what happens when it does.

`@tool` makes one of a function; `Tool.from_schema` makes one of a JSON schema and a callable,
for tools that come from elsewhere (a server, another agent). Both are the same frozen value.

* The order of a call: parse the arguments, ask for approval, run, turn the result into text.
  Until the last approval is given, nothing of the body has happened.
* Whatever goes wrong in a tool becomes an answer to the model. Only a cancellation and a
  denial in mid-body pass through: those are for the task's manager.
"""

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from functools import partial
from typing import (
    Any,
    Generic,
    ParamSpec,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    final,
    overload,
)

from sidetask.agents.tools.asking import ApprovalRule, Arguments, Context, check_rule, held_by
from sidetask.agents.tools.outputs import cut, to_completed
from sidetask.core.errors import (
    ApprovalDeniedError,
    ConfigurationError,
    InvalidInputError,
    ToolError,
    ToolResultError,
)
from sidetask.core.errors.checks import check_kind
from sidetask.core.ids import CallId, value
from sidetask.core.jsons import Json, JsonObject, digest
from sidetask.core.messages import ToolCall
from sidetask.core.routing import (
    DEFAULT_POLICY,
    OnComplete,
    OnCompleteLike,
    Route,
    TaskPolicy,
    detach_after,
    foreground,
)
from sidetask.models.base import ToolSchema
from sidetask.tasks.aio.threads import shared as shared_threads
from sidetask.tasks.values import ApprovalNeeded, Errored, Refused, ToolOutcome

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

Held: TypeAlias = ApprovalNeeded | Refused | Errored
"""What keeps a call from running."""
Body: TypeAlias = Callable[[Arguments, Context], Awaitable[object]]
KeepFor: TypeAlias = Callable[[Context, str], str | None]
"""Keeps the whole text of a task's output; returns the id by which a model reads on in it."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_log = logging.getLogger(__name__)


class ToolOptions(TypedDict, total=False):
    """What may be said of a tool beside its function. None says nothing."""

    name: str | None
    """Letters, digits, `_` and `-`, at most 64; else the function's name."""
    description: str | None
    """Else the function's docstring."""
    detach_after: float | None
    """Seconds that a call may hold up its turn; then it goes on in the background."""
    route: Route | None
    """Instead of `detach_after`: `background()`, for example."""
    approval: ApprovalRule | None
    """`"ask"`: a person is asked before each call. A function of the arguments: True asks."""
    on_complete: OnCompleteLike | None
    """What the end of a background call does to its conversation; wins over the policy's."""
    policy: TaskPolicy | None
    """All the other axes."""
    portable: bool | None
    """A worker may carry out a background call with the tool of this name that it has itself.
    Else: what is made of a function is, and what is made of a schema is not."""


@final
@value(kw_only=True, frozen=True, eq=False)
class Tool(Generic[P, R_co]):
    """Something a model may call. Calling it as a function calls what it was made of.

    Raises:
        ConfigurationError: The name is none that a model could be told.
    """

    name: str
    description: str
    parameters: JsonObject = field(repr=False)
    """A JSON schema of type `object`."""
    route: Route = foreground()
    policy: TaskPolicy = DEFAULT_POLICY
    approval: ApprovalRule | None = None
    portable: bool = False
    """It needs nothing that this process alone has: a worker may carry a background call out."""
    parse: Callable[[str], Arguments] = field(repr=False)
    """From the JSON text that a model wrote to what `body` takes.

    Raises:
        InvalidInputError: It does not fit; the error names each field and its problem.
    """
    parse_exactly: Callable[[str], Arguments] | None = field(default=None, repr=False)
    """As `parse`, and refuses what `parse` would read as something else than it is: `"7"` as a
    number. None: `parse` does."""
    body: Body = field(repr=False)
    function: Callable[P, R_co] = field(repr=False)
    schema: ToolSchema = field(init=False, repr=False)
    """As a model is told of it."""
    fingerprint: str = field(init=False, repr=False)
    """SHA-256 of name and parameters without their descriptions: a stored call fits as long as
    this is the same."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name!r} is no name for a tool: give name=, of 1 to 64 letters,"
                " digits, '_' and '-'"
            )
        check_rule(self.name, self.approval)
        schema = ToolSchema(
            name=self.name, description=self.description, parameters=self.parameters
        )
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "fingerprint", digest(self.name, _shape(self.parameters)))

    @staticmethod
    def from_schema(
        body: Callable[[Arguments, Context], Awaitable[R]],
        parameters: JsonObject,
        **options: Unpack[ToolOptions],
    ) -> "Tool[[Arguments, Context], Awaitable[R]]":
        """A tool that is not a function of its arguments: `await body(arguments, ctx)`.

        `name` is needed. Arguments are checked to be a JSON object, and not against
        `parameters`: that is the business of whoever gave the schema.

        Raises:
            ConfigurationError: No name, or options that contradict each other.
        """
        route, policy = _route_and_policy(options)
        return Tool(
            name=options.get("name") or "",
            description=options.get("description") or "",
            parameters=parameters,
            route=route,
            policy=policy,
            approval=options.get("approval"),
            portable=options.get("portable") or False,
            parse=_parse_object,
            body=body,
            function=body,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    async def execute(
        self, call: ToolCall, ctx: Context, *, keep: KeepFor | None = None, exactly: bool = False
    ) -> ToolOutcome:
        """Carry out a call of this tool. `keep` takes the whole text of what is cut; `exactly`:
        somebody has judged the arguments as they stand in the JSON, so they are read as that.

        Raises:
            ApprovalDeniedError: A person said no while the body waited for an approval.
        """
        arguments = self._admit(call, ctx, exactly)
        if not isinstance(arguments, dict):
            return arguments
        try:
            result = await self.body(arguments, ctx)
            return to_completed(result, keep and partial(keep, ctx))
        except ApprovalDeniedError:
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a fault becomes an answer
            _log.debug("tool %s failed", self.name, exc_info=error)
            return Errored(cut(_told(error), keep and partial(keep, ctx)), type(error).__name__)

    def held(self, call: ToolCall, ctx: Context, *, exactly: bool = False) -> Held | None:
        """What keeps a call from running, before anything of it has happened; None: nothing."""
        found = self._admit(call, ctx, exactly)
        return None if isinstance(found, dict) else found

    def _admit(self, call: ToolCall, ctx: Context, exactly: bool) -> Arguments | Held:
        try:
            parse = self.parse_exactly if exactly else None
            arguments = (parse or self.parse)(call.arguments)
        except InvalidInputError as error:
            return Errored(cut(str(error)), "ToolArgumentsError")
        held = None
        if self.approval is not None:
            held = held_by(self.approval, call, ctx, arguments)
        return arguments if held is None else held


AnyTool: TypeAlias = Tool[..., object]


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
@overload
def tool(function: Callable[P, R], /, **options: Unpack[ToolOptions]) -> Tool[P, R]: ...
def tool(
    function: Callable[P, R] | None = None, /, **options: Unpack[ToolOptions]
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a function: `@tool`, `@tool(detach_after=5)` or `tool(obj.method)`.

    The schema comes from type hints and docstring. A first parameter of type `RunContext` is
    hidden from the model. A function that is not async runs on a thread of its own.

    Raises:
        ConfigurationError: A parameter that no model could fill in, or options that contradict
            each other; the error says what to do.
    """
    if function is None:
        return lambda function: _of_function(function, options)
    return _of_function(function, options)


def _of_function(function: Callable[P, R], options: ToolOptions) -> Tool[P, R]:
    # The one lazy import: pydantic and griffe are loaded by the first function that is a tool.
    from sidetask.agents.tools.schema import function_schema  # noqa: PLC0415

    route, policy = _route_and_policy(options)
    name = options.get("name") or _name_of(function)
    _check_function(name, function)
    found = function_schema(name, function)
    description = options.get("description")
    return Tool(
        name=name,
        description=found.description if description is None else description,
        parameters=found.parameters,
        route=route,
        policy=policy,
        approval=options.get("approval"),
        portable=options.get("portable") is not False,
        parse=found.parse,
        parse_exactly=found.parse_exactly,
        body=_body(function, found.context),
        function=function,
    )


def _name_of(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type) or inspect.isroutine(function):
        return function.__name__
    return type(function).__name__


def _check_function(name: str, function: object) -> None:
    if isinstance(function, type) or not callable(function):
        raise ConfigurationError(f"tool {name!r}: give it a function or a method")
    called = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigurationError(
            f"tool {name!r} is a generator: return the whole result, and tell how far it is"
            " by `await ctx.progress(...)`"
        )


def _is_async(function: object) -> bool:
    if isinstance(function, partial):
        return _is_async(function.func)
    called = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(called)


def _body(function: Callable[..., Any], context: str | None) -> Body:
    """How a function is called with parsed arguments, which are a dict of its own."""
    if _is_async(function):
        if context is None:
            return lambda arguments, _ctx: function(**arguments)
        return lambda arguments, ctx: function(**arguments, **{context: ctx})

    async def body(arguments: Arguments, ctx: Context) -> object:
        if context is not None:
            arguments[context] = ctx
        result = await shared_threads().run(partial(function, **arguments))
        # A plain function may hand on a coroutine, as decorators of async functions do.
        return await result if inspect.isawaitable(result) else result

    return body


def _told(error: BaseException) -> str:
    """An error as the model reads it: a group by what is in it, a `ToolError` in its own words."""
    match error:
        case BaseExceptionGroup():
            return "; ".join([_told(each) for each in error.exceptions])
        case ToolError() | ToolResultError():
            return str(error)
        case _:
            text = str(error)
            return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- options -----------------------------------------------------------------------------


def _route_and_policy(options: ToolOptions) -> tuple[Route, TaskPolicy]:
    unknown = options.keys() - ToolOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(ToolOptions.__annotations__)
        raise ConfigurationError(
            f"a tool has no option {', '.join(sorted(unknown))}; there are: {known}"
        )
    route, seconds = options.get("route"), options.get("detach_after")
    if seconds is not None:
        if route is not None:
            raise ConfigurationError("give a tool either detach_after= or route=, and not both")
        route = detach_after(seconds)
    policy, wanted = options.get("policy") or DEFAULT_POLICY, options.get("on_complete")
    if wanted is not None:
        flagged = policy.with_(on_complete=wanted)
        if policy.on_complete not in {OnComplete.CONTINUE, flagged.on_complete}:
            raise ConfigurationError(
                f"on_complete is '{flagged.on_complete}' as a flag and '{policy.on_complete}' in"
                " the policy: say it once"
            )
        policy = flagged
    check_kind("route", route or foreground(), Route)
    check_kind("policy", policy, TaskPolicy)
    return route or foreground(), policy


def _shape(node: Json, *, names: bool = False) -> Json:
    """A schema without its words for people; `names`: the keys are names, not keywords."""
    if isinstance(node, Mapping):
        return {
            key: _shape(value, names=not names and key in {"properties", "$defs"})
            for key, value in node.items()
            if names or key not in {"description", "title", "examples"}
        }
    if isinstance(node, list | tuple):
        return [_shape(item) for item in node]
    return node


def _parse_object(text: str) -> Arguments:
    try:
        return ToolCall(CallId(""), "", text).parsed()
    except RecursionError:
        raise InvalidInputError("the arguments are nested too deeply") from None

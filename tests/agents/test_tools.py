"""Tools as their authors make them, and as a manager carries out their calls."""

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import pytest

from sidetask.agents.tools import AnyTool, Tool, tool
from sidetask.core.errors import (
    ApprovalDeniedError,
    ConfigurationError,
    InvalidInputError,
    ToolError,
)
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import Image, ToolCall
from sidetask.core.routing import OnComplete, TaskPolicy, background, detach_after, foreground
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import ChildTask, RunContext, StateView
from sidetask.tasks.values import (
    Completed,
    Errored,
    ToolOutcome,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Deps:
    greeting: str = "hello"


class Host:
    """A task host that knows approvals and nothing else."""

    attempt = 1
    admitted = None

    def __init__(self) -> None:
        self.approved: set[tuple[str, str]] = set()
        self.told: list[str] = []
        self.token = CancelToken()

    def is_approved(self, kind: str, digest: str) -> bool:
        return (kind, digest) in self.approved

    def progress(self, fraction: float | None, note: str) -> None:
        self.told.append(note)

    progress_soon = progress

    async def request_approval(self, reason: str, details: JsonObject) -> None:
        raise ApprovalDeniedError("approval-1", reason)

    @property
    def state(self) -> StateView:
        raise NotImplementedError

    async def step(self, key: str, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        raise NotImplementedError

    def spawn(self, name: str, arguments: JsonObject) -> ChildTask:
        raise NotImplementedError


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def ctx(host: Host) -> RunContext[Deps]:
    return RunContext(
        host,
        deps=Deps(),
        conversation_id=ConversationId("c"),
        task_id=TaskId("t"),
        call_id=CallId("call"),
    )


async def run(used: AnyTool, ctx: RunContext[Any], **arguments: Any) -> ToolOutcome:
    async with asyncio.timeout(5):
        return await used.execute(ToolCall.make(used.name, arguments), ctx)


def text_of(outcome: ToolOutcome) -> str:
    assert isinstance(outcome, Completed), outcome
    return outcome.content


def error_of(outcome: ToolOutcome) -> tuple[str, str]:
    assert isinstance(outcome, Errored), outcome
    return outcome.error_type, outcome.error


@tool
async def greet(ctx: RunContext[Deps], name: str, loud: bool = False) -> str:
    """Greet someone.

    Args:
        name: Whom.
    """
    await ctx.progress(None, f"to {name}")
    said = f"{ctx.deps.greeting} {name}"
    return said.upper() if loud else said


@tool(detach_after=5, on_complete="notify", policy=TaskPolicy(timeout=60))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# -- making ------------------------------------------------------------------------------


def test_a_function_becomes_a_tool_that_a_model_can_be_told_of() -> None:
    assert (greet.name, greet.description) == ("greet", "Greet someone.")
    assert (greet.route, greet.policy, greet.approval) == (foreground(), TaskPolicy(), None)
    assert greet.schema.parameters == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Whom."},
            "loud": {"type": "boolean", "default": False},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_a_tool_is_still_a_function() -> None:
    assert add(1, b=2) == 3


def test_a_tool_is_frozen_and_its_copies_are_complete() -> None:
    with pytest.raises(FrozenInstanceError):
        add.name = "sum"  # pyright: ignore[reportAttributeAccessIssue]
    renamed = replace(add, name="plus", description="Sum.")
    assert (renamed.schema.name, renamed.schema.description) == ("plus", "Sum.")
    assert renamed.fingerprint != add.fingerprint


def test_flags_and_policy_make_the_route_and_the_axes() -> None:
    assert add.route == detach_after(5)
    assert add.policy == TaskPolicy(timeout=60, on_complete="notify")
    quiet = tool(name="quiet", description="Says nothing.", route=background())(add.function)
    assert (quiet.name, quiet.description, quiet.route) == ("quiet", "Says nothing.", background())


def test_the_same_on_complete_may_be_said_twice() -> None:
    twice = tool(add.function, on_complete="notify", policy=TaskPolicy(on_complete="notify"))
    assert twice.policy.on_complete is OnComplete.NOTIFY


def test_an_option_that_is_none_says_nothing() -> None:
    plain = tool(add.function)
    none = tool(
        add.function,
        name=None,
        description=None,
        detach_after=None,
        route=None,
        approval=None,
        on_complete=None,
        policy=None,
    )
    assert none.schema == plain.schema
    assert (none.route, none.policy, none.approval) == (plain.route, plain.policy, None)


class Greeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def greet(self, name: str) -> str:
        """Greet someone."""
        return f"{self.greeting} {name}"

    def __call__(self, name: str) -> str:
        """Greet someone at once."""
        return f"{self.greeting} {name}!"


async def test_methods_callable_objects_and_partials_are_tools(ctx: RunContext[Deps]) -> None:
    greeter = Greeter("hi")
    method, called = tool(greeter.greet), tool(greeter)
    bound = tool(partial(greet.function, loud=True), name="shout")
    assert (method.name, called.name, bound.name) == ("greet", "Greeter", "shout")
    assert called.description == "Greet someone at once."
    assert text_of(await run(method, ctx, name="Bo")) == "hi Bo"
    assert text_of(await run(called, ctx, name="Bo")) == "hi Bo!"
    assert text_of(await run(bound, ctx, name="Bo")) == "HELLO BO"
    assert tool(partial(greet.function, loud=True)).name == "greet"


def generate() -> Iterator[int]:
    yield 1


async def agenerate() -> AsyncIterator[int]:
    yield 1


async def always(arguments: dict[str, Any]) -> bool:
    return True


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (add, {"detach_after": 5, "route": background()}, "either detach_after= or route="),
        (add, {"detach_after": -1}, "detach_after is seconds >= 0"),
        (
            add,
            {"on_complete": "continue", "policy": TaskPolicy(on_complete="notify")},
            "'continue' as a flag and .*'notify' in the policy: say it once",
        ),
        (add, {"on_complete": "shout"}, "on_complete is one of"),
        (add, {"backgroud": True}, "no option backgroud; there are: name, description"),
        (add, {"name": "add two"}, "'add two' is no name for a tool"),
        (add, {"name": "x" * 65}, "is no name for a tool"),
        (lambda: 1, {}, "'<lambda>' is no name for a tool: give name="),
        (add, {"approval": "yes"}, "approval is 'ask' or a plain function.*not 'yes'"),
        (add, {"approval": always}, "approval is 'ask' or a plain function"),
        (Greeter, {}, "tool 'Greeter': give it a function or a method"),
        (5, {}, "tool 'int': give it a function or a method"),
        (generate, {}, "tool 'generate' is a generator: return the whole result"),
        (agenerate, {}, "tool 'agenerate' is a generator"),
    ],
)
def test_what_cannot_work_is_refused_when_the_tool_is_made(
    function: Any, options: dict[str, Any], message: str
) -> None:
    function = function.function if isinstance(function, Tool) else function
    with pytest.raises(ConfigurationError, match=message):
        tool(**options)(function)


def test_the_fingerprint_changes_with_the_parameters_and_not_with_their_words() -> None:
    def version_1(description: str, n: int = 1) -> None:
        """Old words.

        Args:
            n: Old words.
        """

    def version_2(description: str, n: int = 1) -> None:
        """New words."""

    def version_3(description: str, n: int = 2) -> None: ...
    def version_4(n: int = 1) -> None: ...

    def fingerprint(function: Callable[..., None]) -> str:
        return tool(function, name="it").fingerprint

    one, two, three, four = map(fingerprint, (version_1, version_2, version_3, version_4))
    assert one == two
    assert len({two, three, four}) == 3
    assert tool(version_1, name="other").fingerprint != one


@pytest.mark.slow
def test_the_first_tool_loads_pydantic_and_importing_does_not() -> None:
    code = """
import sys
import sidetask.agents.tools as tools, sidetask.agents.tools.outputs
heavy = {"pydantic", "griffe"}
assert not heavy & sys.modules.keys()
tools.Tool.from_schema(lambda arguments, ctx: None, {}, name="it")
assert not heavy & sys.modules.keys()
tools.tool(lambda: None, name="it")
assert heavy <= sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- running -----------------------------------------------------------------------------


async def test_an_async_tool_gets_the_context_and_its_arguments(
    host: Host, ctx: RunContext[Deps]
) -> None:
    assert await run(greet, ctx, name="Bo") == Completed("hello Bo", "hello Bo")
    assert host.told == ["to Bo"]


async def test_a_sync_tool_runs_on_another_thread(ctx: RunContext[Deps]) -> None:
    @tool
    def where(ctx: RunContext[Deps], word: str) -> list[object]:
        return [word, ctx.deps.greeting, threading.current_thread() is threading.main_thread()]

    outcome = await run(where, ctx, word="a")
    assert isinstance(outcome, Completed)
    assert outcome.value == ["a", "hello", False]


async def test_a_sync_wrapper_of_an_async_function_is_awaited(ctx: RunContext[Deps]) -> None:
    def logged(function: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Awaitable[str]:
            return function(*args, **kwargs)

        return wrapper

    @tool
    @logged
    async def echo(text: str) -> str:
        return text

    assert text_of(await run(echo, ctx, text="a")) == "a"


async def test_an_image_is_attached(ctx: RunContext[Deps]) -> None:
    @tool
    async def draw() -> Image:
        return Image(data=b"png")

    assert await run(draw, ctx) == Completed(None, "", (Image(data=b"png"),))


async def test_arguments_that_do_not_fit_are_told_and_nothing_runs(ctx: RunContext[Deps]) -> None:
    ran: list[int] = []

    @tool
    async def note(n: int) -> None:
        ran.append(n)

    outcome = await run(note, ctx, n="many", m=1)
    kind, error = error_of(outcome)
    assert kind == "ToolArgumentsError"
    assert error.splitlines()[1:] == [
        "- n: Input should be a valid integer, unable to parse string as an integer (got 'many')",
        "- m: no such argument; there are: n",
    ]
    assert ran == []
    with pytest.raises(InvalidInputError, match="no such argument"):
        note.parse('{"n": 1, "m": 2}')


class TooFarError(Exception):
    pass


async def test_errors_of_a_tool_are_answers(ctx: RunContext[Deps]) -> None:
    @tool
    async def fail(how: str) -> object:
        match how:
            case "own words":
                raise ToolError("the shop is closed")
            case "wordless":
                raise TooFarError
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(_raise(ToolError("closed")))
                    group.create_task(_raise(ValueError("too far")))
            case "long":
                raise ValueError("x" * 100_000)
            case _:
                pass
        return object()

    assert error_of(await run(fail, ctx, how="own words")) == ("ToolError", "the shop is closed")
    assert error_of(await run(fail, ctx, how="wordless")) == ("TooFarError", "TooFarError")
    assert error_of(await run(fail, ctx, how="group")) == (
        "ExceptionGroup",
        "closed; ValueError: too far",
    )
    assert "left out" in error_of(await run(fail, ctx, how="long"))[1]
    kind, error = error_of(await run(fail, ctx, how="no JSON"))
    assert kind == "ToolResultError"
    assert error.startswith("the tool ran, but its result is lost: it returned object")


async def _raise(error: Exception) -> NoReturn:
    raise error


async def test_errors_of_a_sync_tool_are_answers_too(ctx: RunContext[Deps]) -> None:
    @tool
    def fail() -> None:
        raise TooFarError("by 3 km")

    assert error_of(await run(fail, ctx)) == ("TooFarError", "TooFarError: by 3 km")


async def test_a_cancellation_passes_through(ctx: RunContext[Deps]) -> None:
    started = asyncio.Event()

    @tool
    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.ensure_future(run(forever, ctx))
    async with asyncio.timeout(5):
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_denial_in_the_body_passes_through(ctx: RunContext[Deps]) -> None:
    @tool
    async def wipe() -> None:
        await ctx.request_approval("all of it?")

    with pytest.raises(ApprovalDeniedError, match="all of it"):
        await run(wipe, ctx)


# -- tools that are not functions --------------------------------------------------------


async def test_a_schema_and_a_callable_make_a_tool(ctx: RunContext[Deps]) -> None:
    async def remote(arguments: dict[str, Any], ctx: RunContext[Any]) -> object:
        return {"server": ctx.deps.greeting, **arguments}

    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    far = Tool.from_schema(remote, parameters, name="far", description="Far away.", detach_after=1)
    assert (far.name, far.description, far.parameters) == ("far", "Far away.", parameters)
    assert far.route == detach_after(1)
    outcome = await run(far, ctx, q="a")
    assert isinstance(outcome, Completed)
    assert outcome.value == {"server": "hello", "q": "a"}
    assert await far({"q": "b"}, ctx) == {"server": "hello", "q": "b"}


@pytest.mark.parametrize("text", ["[1]", '{"a": ', '{"a":' * 100_000])
async def test_without_a_parser_arguments_are_a_json_object_or_refused(
    text: str, ctx: RunContext[Deps]
) -> None:
    async def remote(arguments: dict[str, Any], ctx: RunContext[Any]) -> None: ...

    far = Tool.from_schema(remote, {}, name="far")
    kind, error = error_of(await far.execute(ToolCall(CallId("1"), "far", text), ctx))
    assert kind == "ToolArgumentsError"
    assert error.startswith("the arguments are ")


def test_a_tool_of_a_schema_needs_a_name() -> None:
    async def remote(arguments: dict[str, Any], ctx: RunContext[Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="'' is no name for a tool: give name="):
        Tool.from_schema(remote, {})

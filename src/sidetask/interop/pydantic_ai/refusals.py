"""What a live agent here cannot keep of an agent of Pydantic AI is refused by name."""

import inspect
from collections.abc import Iterator, Sequence
from functools import cache, partial
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from pydantic_ai import Agent, BinaryImage, DeferredToolRequests
from pydantic_ai.models import Model
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.output import NativeOutput, PromptedOutput, TextOutput, ToolOutput
from pydantic_ai.toolsets import AbstractToolset, DynamicToolset, ExternalToolset

from sidetask.core.errors import ConfigurationError
from sidetask.interop.pydantic_ai.inside import AnyAgent, capabilities_of, unkept_by

_AS_TYPE = "give the type itself: it is asked for by a tool"


def check(agent: AnyAgent, model: Model[Any]) -> None:
    """Refuse an agent of which something would be lost.

    Raises:
        ConfigurationError: It names each thing and what to do instead.
    """
    problems = [*_of_agent(agent, model), *_of_toolsets(agent), *_of_output(agent)]
    if problems:
        name = agent.name or "without a name"
        raise ConfigurationError(
            f"agent {name} has what a live agent cannot keep: {'; '.join(problems)}. Take it out,"
            " or leave the agent to its own loop: from_pydantic_ai(agent)"
        )


def output_type(agent: AnyAgent) -> Any:
    """What a turn's output must be, for an agent that passed `check`; None: text."""
    types = [_plain(each) for each in _options(agent)]
    if not types or types == [str]:
        return None
    return Union[tuple(types)]  # noqa: UP007 - made of values


def _of_agent(agent: AnyAgent, model: Model[Any]) -> Iterator[str]:
    for capability in capabilities_of(agent):
        if type(capability) not in _usual():
            yield f"capability {type(capability).__name__}"
    if agent.event_stream_handler is not None:
        yield "event_stream_handler (read chat.events())"
    if agent.end_strategy == "early":
        yield "end_strategy='early' (all calls of a reply are run)"
    yield from unkept_by(agent)
    if isinstance(model, FunctionModel) and model.stream_function is None:
        yield "a FunctionModel that does not stream (give it stream_function=)"


@cache
def _usual() -> frozenset[type]:
    """The capabilities that every agent has."""
    return frozenset(type(each) for each in Agent().root_capability.capabilities)


def _of_toolsets(agent: AnyAgent) -> Iterator[str]:
    leaves: list[AbstractToolset[Any]] = []
    for toolset in agent.toolsets:
        toolset.apply(leaves.append)
    for leaf in leaves:
        if isinstance(leaf, ExternalToolset):
            yield f"{leaf.label}: its calls are carried out elsewhere"
        if isinstance(leaf, DynamicToolset) and leaf.per_run_step:
            yield (
                "a toolset function that is asked before each step (per_run_step=False asks it"
                " once, when the agent is opened)"
            )


def _of_output(agent: AnyAgent) -> Iterator[str]:
    options = _options(agent)
    if str in options and len(options) > 1:
        yield "text beside other output types (take str out, or put it into a field)"
    if options not in ([], [str]) and agent.validation_context is not None:
        yield "validation_context= for an output type"
    for option in options:
        match option:
            case NativeOutput():
                yield f"NativeOutput ({_AS_TYPE})"
            case PromptedOutput():
                yield f"PromptedOutput ({_AS_TYPE})"
            case TextOutput():
                yield "TextOutput (work on the reply's text after the turn)"
            case ToolOutput() if _named(cast("ToolOutput[Any]", option)):
                yield f"ToolOutput with a name or options ({_AS_TYPE})"
            case _ if _is_function(_plain(option)):
                name = getattr(_plain(option), "__name__", "")
                yield f"output function {name} (call it with the turn's output)"
            case _ if option is BinaryImage:
                yield "an image as output"
            case _:
                pass


def _options(agent: AnyAgent) -> list[Any]:
    """What the output may be. Deferred calls are none of it: here a person is asked meanwhile."""
    spec = cast("Any", agent.output_type)
    given = cast("Sequence[Any]", spec) if isinstance(spec, list | tuple) else [spec]
    flat: list[Any] = []
    for each in given:
        flat += get_args(each) if get_origin(each) in {Union, UnionType} else [each]
    return [each for each in flat if each is not DeferredToolRequests]


def _plain(option: Any) -> Any:
    return cast("Any", option).output if isinstance(option, ToolOutput) else option


def _named(option: ToolOutput[Any]) -> bool:
    given = (option.name, option.description, option.strict, option.max_retries)
    return option.sequential or any(each is not None for each in given)


def _is_function(option: object) -> bool:
    return inspect.isroutine(option) or isinstance(option, partial)

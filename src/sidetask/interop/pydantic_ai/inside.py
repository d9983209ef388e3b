"""What Pydantic AI keeps without a public name and a live agent needs: all of it stands here.

A test holds each name against the installed release. Where an `agent.override(...)` is in force,
what it gives is what is found, as in a run of Pydantic AI itself.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_ai import Agent, InstructionPart, RunContext
from pydantic_ai._instructions import SourcedInstruction, resolve_sourced_instructions
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model

from sidetask.core.errors import ConfigurationError

AnyAgent = Agent[Any, Any]
Recipe = SourcedInstruction[Any]


def model_of(agent: AnyAgent) -> Model[Any]:
    """The model, made if so far it is only named.

    Raises:
        ConfigurationError: There is none, or it cannot be made: a key or a library is missing.
    """
    if agent._override_model.get() is None and agent.model is None:
        raise ConfigurationError("the agent has no model: give it one, Agent('openai:gpt-5.2')")
    try:
        return infer_model(agent._pick_raw_model(None))
    except (UserError, ValueError, ImportError) as error:
        raise ConfigurationError(f"{agent.model}: {str(error).splitlines()[0]}") from error


def settings_of(agent: AnyAgent) -> Any:
    """Model settings, or a function of the context that makes them."""
    override = agent._override_model_settings.get()
    return agent.model_settings if override is None else override.value


def deps_of(agent: AnyAgent, given: object) -> Any:
    """The deps of its tools."""
    return agent._get_deps(given)


def tool_retries_of(agent: AnyAgent) -> int:
    """How often a tool without a number of its own may be tried again."""
    return agent._resolve_tool_retries()


def recipes_of(agent: AnyAgent) -> Sequence[Recipe]:
    """The agent's instructions, static and dynamic."""
    return agent._get_instructions()


async def resolved(recipes: Sequence[Recipe], ctx: RunContext[Any]) -> list[InstructionPart]:
    """The instructions as they are now."""
    return await resolve_sourced_instructions(recipes, ctx)


def capabilities_of(agent: AnyAgent) -> Sequence[AbstractCapability[Any]]:
    """Those that it was given, and those that every agent has."""
    return agent._effective_root_capability().capabilities


def unkept_by(agent: AnyAgent) -> Iterator[str]:
    """What was given to the agent, is not public, and would have no effect here."""
    if agent._output_validators:
        yield "@agent.output_validator (validate in the output type)"
    if agent._event_hooks.has_on_event:
        yield "@agent.on_event (read chat.events())"
    if agent._concurrency_limiter is not None:
        yield "max_concurrency= (give the runtime limits=Limits(...))"
    if agent._metadata is not None:
        yield "metadata="

"""What an agent is: a frozen description, without anything that runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Self, cast

from sidetask.agents.governor import Governance
from sidetask.agents.guards.compaction import Compaction
from sidetask.agents.policies.hooks import Hooks
from sidetask.agents.policies.rules import Policy
from sidetask.agents.tools.source import ToolSource
from sidetask.agents.tools.tool import AnyTool, Tool, tool
from sidetask.core.budget import Budget
from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_count, check_kind, check_seconds
from sidetask.core.ids import value
from sidetask.core.jsons import Json
from sidetask.models.base import Model

ToolLike = AnyTool | ToolSource | Callable[..., Any]
"""A tool, a function that becomes one, or where tools come from: a server."""


@value(kw_only=True, frozen=True)
class AgentConfig:
    """A model with instructions and tools.

    Raises:
        ConfigurationError: Two tools of one name, or a number out of range.
    """

    model: str | Model = field(kw_only=False)
    """A model, or the name of one: `"you"`."""
    name: str = "agent"
    instructions: str = ""
    tools: Sequence[ToolLike] = ()
    output_type: type[Any] | None = None
    """What a turn's output must be; None: the reply's text."""
    flow: Governance | None = None
    """What governs its conversations: a `Flow`."""
    policy: Policy | None = None
    """What its tools may do; None: all."""
    hooks: Sequence[Hooks] = ()
    max_steps: int = 25
    """Model calls in one turn."""
    budget: Budget | None = None
    """What a conversation may spend in all."""
    compaction: Compaction | None = field(default_factory=Compaction)
    """How old messages make room when a conversation becomes too long for its model; None:
    they do not."""
    model_timeout: float | None = 60.0
    """Seconds of silence after which a model call has stalled: before it starts, and between
    two pieces."""
    settings: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Passed to the model as they are."""
    toolbox: tuple[AnyTool, ...] = field(init=False, repr=False, compare=False)
    """The tools, with functions made into tools; without those of its sources."""
    sources: tuple[ToolSource, ...] = field(init=False, repr=False, compare=False)
    """Where it gets more tools from when it is opened."""

    def __post_init__(self) -> None:
        if not (self.name and isinstance(self.name, str)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
            raise ConfigurationError(f"an agent's name is a word, not {self.name!r}")
        if not (isinstance(self.model, str) or callable(getattr(self.model, "stream", None))):
            raise ConfigurationError(
                f"a model is the name of one, or has stream(), which {self.model!r:.80} has not"
            )
        check_kind("instructions", self.instructions, str)
        if self.flow is not None and not callable(getattr(self.flow, "govern", None)):
            raise ConfigurationError(f"flow= takes a Flow, not {self.flow!r:.80}")
        check_kind("settings", self.settings, Mapping)
        if not isinstance(self.tools, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise ConfigurationError("tools are given in a list: tools=[...]")
        tools = tuple([as_tool(each) for each in self.tools])
        toolbox = tuple([each for each in tools if isinstance(each, Tool)])
        sources = tuple([each for each in tools if isinstance(each, ToolSource)])
        for name, made in (("tools", tools), ("toolbox", toolbox), ("sources", sources)):
            object.__setattr__(self, name, made)
        names = [each.name for each in toolbox]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(
                f"agent {self.name!r} has two tools named {', '.join(twice)}: give one name="
            )
        check_count("max_steps", self.max_steps)
        if self.model_timeout is not None:
            check_seconds("model_timeout", self.model_timeout)

    def with_tools(self, *tools: ToolLike) -> Self:
        """The same agent with more tools."""
        return replace(self, tools=(*self.tools, *tools))


def as_tool(given: ToolLike) -> AnyTool | ToolSource:
    """What was given, or the tool that a function becomes."""
    if isinstance(given, ToolSource):
        return given
    if isinstance(given, Tool):
        return cast("AnyTool", given)
    return tool(given)

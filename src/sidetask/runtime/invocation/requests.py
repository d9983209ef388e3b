"""What a host asks for: one run of an agent, as a value."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self, TypeAlias

from sidetask.agents.agent import AgentConfig
from sidetask.core.budget import Budget
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import Content
from sidetask.models.base import Model
from sidetask.runtime.foreign import ForeignAgent

ToolChoice: TypeAlias = Literal["auto", "none", "required"] | tuple[str, ...]
"""Whether the model may, must not, or has to call a tool, or one of those that are named."""


@value(kw_only=True, frozen=True)
class EmitRequest:
    """One run: who is to answer what, and in which conversation.

    Who: `agent` (or its registered name), or `model` (with `provider`, or as
    `"provider:model"`), or, in a conversation that is open, neither. A request is a value:
    `request.with_input("…")` is another one.

    Raises:
        ConfigurationError: Both an agent and a model are named, or a provider without a model.
    """

    agent: AgentConfig | ForeignAgent | str | None = None
    provider: str | None = None
    model: str | Model | None = None
    input: Content = ""
    conversation_id: str | None = None
    """None: a fresh conversation, closed when nothing of it runs any more."""
    client_request_id: str | None = None
    """The same one again, of the same user and in the same conversation (or again in none), is
    the first run."""
    metadata: JsonObject | None = None
    """Told with `RunStarted`."""
    tool_choice: ToolChoice | None = None
    """For the run's first model call; after it the model is free, or it could never end."""
    budget: Budget | None = None
    """What the run may spend, and the agents that its tools open."""
    user: str | None = None
    """Whose the conversation is, if this opens it."""

    def __post_init__(self) -> None:
        if self.agent is not None and (self.model or self.provider):
            raise ConfigurationError("name an agent or a model in a request, not both")
        if self.provider is not None and not isinstance(self.model, str):
            raise ConfigurationError(f"name the model of {self.provider!r}: EmitRequest(model=…)")

    def with_agent(self, agent: AgentConfig | ForeignAgent | str) -> Self:
        return replace(self, agent=agent, provider=None, model=None)

    def with_model(self, model: str | Model, *, provider: str | None = None) -> Self:
        return replace(self, agent=None, provider=provider, model=model)

    def with_input(self, content: Content) -> Self:
        return replace(self, input=content)

    def with_conversation(self, conversation_id: str | None) -> Self:
        return replace(self, conversation_id=conversation_id)

    def with_client_request_id(self, client_request_id: str | None) -> Self:
        return replace(self, client_request_id=client_request_id)

    def with_metadata(self, **more: Json) -> Self:
        """The same with these besides; one of the same name is replaced."""
        return replace(self, metadata={**(self.metadata or {}), **more})

    def with_tool_choice(self, tool_choice: ToolChoice | None) -> Self:
        return replace(self, tool_choice=tool_choice)

    def with_budget(self, budget: Budget | None) -> Self:
        return replace(self, budget=budget)

    @property
    def model_name(self) -> str | Model | None:
        """The model as agents name it."""
        return self.model if self.provider is None else f"{self.provider}:{self.model}"

    @property
    def who(self) -> AgentConfig | ForeignAgent | str | None:
        """The agent that is asked; None: whoever the conversation belongs to."""
        model = self.model_name
        return self.agent if model is None else AgentConfig(model)

    @property
    def settings(self) -> Mapping[str, Json] | None:
        """What the first model call is given besides the agent's settings."""
        match self.tool_choice:
            case None:
                return None
            case str() as word:
                return {"tool_choice": word}
            case names:
                return {"tool_choice": list(names)}

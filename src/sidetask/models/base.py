"""The seam between an agent and the model that it thinks with.

Adapters translate; they decide nothing. What every model promises:

* `stream` opens the call; leaving the block closes the connection, whatever happens inside.
* Chunks come in the order in which the provider sent them. A tool call begins with a
  `CallStarted`, goes on with `CallArguments` of the same `index`, and is whole when
  `Finished` has come.
* The last chunk is `Finished`. A stream that ends without it was cut: the caller raises
  `IncompleteResponseError` and runs no call of it.
* A vendor's errors are mapped to `ModelError` and its kin at the adapter's edge.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Protocol, TypeAlias

from sidetask.core.ids import value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import Message
from sidetask.core.usage import ONE_REQUEST, Price, Usage


@value(kw_only=True)
class ToolSchema:
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: JsonObject
    """A JSON schema of type `object`."""


class RateGates(Protocol):
    """The gates of the API keys, for a model that asks others: those park and pass elsewhere."""

    def closed_for(self, key: str) -> float:
        """Seconds until calls with this `quota_key` may be sent again; 0: now."""
        ...

    def ticket(self) -> int:
        """Of a call that is sent now: those that were under way together are refused together,
        and count once."""
        ...

    def record_hit(
        self, key: str, retry_after: float | None = None, *, ticket: int | None = None
    ) -> float:
        """The provider refused a call with this key. Returns for how many seconds it is parked."""
        ...

    def record_success(self, key: str, ticket: int) -> None:
        """The provider answered: the next refusal begins with a short backoff again."""
        ...


@value(kw_only=True)
class ModelRequest:
    """One call of a model."""

    instructions: str
    messages: Sequence[Message]
    """The live history: read it, don't keep it, don't change it."""
    tools: tuple[ToolSchema, ...] = ()
    settings: JsonObject = field(default_factory=dict[str, Json])
    """Passed on as they are: temperature and the like."""
    tail: str = ""
    """What the model reads after the history, this once: it is no part of the history, so what
    was sent before stays the same, byte by byte, and the provider's cache keeps fitting."""
    gates: RateGates | None = None
    """For models that choose among others; whoever sends has waited at this model's own."""


@value
class TextChunk:
    """A piece of text."""

    text: str


@value
class ThinkingChunk:
    """A piece of thinking, perhaps with the provider's signature."""

    text: str
    signature: str | None = None


@value
class CallStarted:
    """The model begins to write its `index`-th tool call."""

    index: int
    id: str
    name: str


@value
class CallArguments:
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


@value
class Finished:
    """The reply is complete."""

    reason: str = "stop"
    """In the provider's words; the loop is driven by the calls present, not by this."""
    usage: Usage = ONE_REQUEST


Chunk: TypeAlias = TextChunk | ThinkingChunk | CallStarted | CallArguments | Finished


class Model(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """As the user wrote it: `openai:gpt-5.2`, `scripted`."""
        ...

    @property
    def quota_key(self) -> str:
        """What shares a rate limit shares this; a digest, never the API key itself."""
        ...

    @property
    def context_window(self) -> int | None:
        """In tokens; None: unknown."""
        ...

    @property
    def price(self) -> Price | None:
        """None: unknown, or nothing."""
        ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open a streamed reply.

        Raises:
            ModelError: The provider refused, failed, or could not be reached.
        """
        ...

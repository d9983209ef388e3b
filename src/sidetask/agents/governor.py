"""The seam of what governs a conversation: it may refuse calls, and say what is to be done now.

A flow is one (see `orchestration`). What a governor promises:

* `check` looks at a call before it becomes a task, and never waits. It is asked for the calls of
  a reply in their order, each after those before it were started.
* `ready` is awaited before each model call, and `tail` is asked for right before it: what it
  says stands behind the history, is read once, and is no part of it.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from sidetask.agents.tools.tool import AnyTool
from sidetask.core.budget import Meter
from sidetask.core.ids import ConversationId, value
from sidetask.core.messages import ToolCall
from sidetask.state.state import State
from sidetask.tasks.aio.streams import Stream
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.manager import AsyncTaskManager


@value(kw_only=True)
class Seat:
    """Where a governor sits: one conversation."""

    conversation_id: ConversationId
    state: State
    is_guest: bool = False
    """The state is somebody else's, who invoked it: it is no place for what concerns the
    conversation alone."""
    tools: Mapping[str, AnyTool]
    manager: AsyncTaskManager
    events: Stream
    """Of the conversation."""
    meter: Meter | None = None
    """Where the conversation spends."""


class Governor(Protocol):
    """Governs one live conversation."""

    def check(self, call: ToolCall) -> str | None:
        """Why the call is not made, for the model to read; None: it may be."""
        ...

    async def ready(self, token: CancelToken) -> None:
        """Return when the model may be called, or the token is cancelled."""
        ...

    def tail(self) -> str:
        """What the model reads behind the history now; "" says nothing."""
        ...

    async def close(self) -> None:
        """The conversation ends, its state is still there."""
        ...


class Governance(Protocol):
    """What an agent is governed by; the same for all its conversations."""

    def compile(self, tools: Iterable[str] | None = None) -> None:
        """See whether it can work with tools of these names.

        Raises:
            ConfigurationError: It cannot.
        """
        ...

    def govern(self, seat: Seat) -> Governor:
        """Take a seat: the conversation is open."""
        ...

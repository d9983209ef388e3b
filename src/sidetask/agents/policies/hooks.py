"""What a host does at fixed places of a conversation.

A hook is a method of a subclass of `Hooks`. *Deciders* (`pre_tool_call`, `on_stop`) say what
happens next and fail closed: one that raises denies the call, or lets the turn stop. *Observers*
(all others) are told; one that raises is logged, and the turn goes on. Each fires once, with its
own call's name, arguments and id, also when calls run at the same time.
"""

from collections.abc import Mapping
from typing import TypeAlias

from sidetask.agents.guards.room import Compacted
from sidetask.core.ids import CallId, ConversationId, TaskId, TurnId, value
from sidetask.core.jsons import Json
from sidetask.core.messages import UserMessage
from sidetask.state.state import StateView


@value(kw_only=True)
class HookContext:
    """Where a hook is called."""

    conversation_id: ConversationId
    agent: str
    """The agent's name."""
    user: str | None
    state: StateView
    """Of the conversation."""


@value(kw_only=True)
class ToolUse:
    """One call, as its hooks see it."""

    name: str
    arguments: Mapping[str, Json]
    """As they will run; changes of hooks before this one are in them."""
    call_id: CallId
    task_id: TaskId
    turn_id: TurnId | None


@value
class Deny:
    """The call does not run; the model is told why."""

    reason: str


@value
class AskFirst:
    """A person decides before the call runs."""

    reason: str


@value
class Change:
    """The call runs with these arguments; rules and persons see them, too."""

    arguments: Mapping[str, Json]


Decision: TypeAlias = Deny | AskFirst | Change | None
"""None: no objection."""


class Hooks:
    """Override what you need. Every method may be called for several calls at the same time."""

    async def conversation_started(self, ctx: HookContext) -> None:
        """The conversation was opened; its first turn has not begun."""

    async def conversation_ended(self, ctx: HookContext) -> None:
        """The conversation was shut down or dropped; nothing of it runs any more."""

    async def pre_turn(self, ctx: HookContext, message: UserMessage | None) -> None:
        """A turn begins; None: nobody asked for it."""

    async def post_turn(self, ctx: HookContext, status: str, text: str) -> None:
        """A turn has ended: `completed`, `failed` or `cancelled`, with its last text."""

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        """A call is about to run. Decider."""
        return None

    async def post_tool_call(self, ctx: HookContext, call: ToolUse, result: str) -> None:
        """A call has ended well; `result` is what the model reads."""

    async def on_tool_error(self, ctx: HookContext, call: ToolUse, error: str) -> str | None:
        """A call has failed. A text that is returned is what the model reads instead."""
        return None

    async def on_compaction(self, ctx: HookContext, compacted: Compacted) -> None:
        """Old messages have made room."""

    async def on_stop(self, ctx: HookContext, text: str) -> str | None:
        """The turn is about to end with this text. A reason that is returned is told to the
        model, and the turn goes on: three times in a turn at most. Decider."""
        return None


def overrides(hooks: Hooks, method: str) -> bool:
    """Whether a host wrote this one: the others cost nothing."""
    return getattr(type(hooks), method) is not getattr(Hooks, method)

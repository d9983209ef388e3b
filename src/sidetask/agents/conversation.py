"""One conversation as the loop sees it: its history, and what its turns run with."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sidetask.agents.agent import AgentConfig
from sidetask.agents.governor import Governor
from sidetask.agents.guards.context import Context
from sidetask.agents.guards.room import Compacted, Room
from sidetask.agents.guards.spending import metered
from sidetask.agents.policies.calling import TurnHooks
from sidetask.agents.quota.rank import aside
from sidetask.agents.tools.toolset import Toolset
from sidetask.core.budget import ambient_meter
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.messages import Message, ToolCall, UserMessage
from sidetask.core.usage import NO_USAGE
from sidetask.models.base import Model
from sidetask.state.state import State
from sidetask.tasks.parts.body import current_body

Check: TypeAlias = Callable[[ToolCall], str | None]
"""Looks at a call before it becomes a task: None lets it pass, else the model reads why not."""


class Conversation:
    """Its history is appended to and never copied; a turn lock guards it, above."""

    __slots__ = (
        "aside",
        "call_ids",
        "checks",
        "config",
        "context",
        "governor",
        "history",
        "hooks",
        "id",
        "last_output",
        "last_usage",
        "meter",
        "model",
        "on_compaction",
        "parent_conversation_id",
        "parent_id",
        "room",
        "state",
        "steering",
        "summary_model",
        "toolset",
        "turns",
        "unheard",
        "unwritten",
        "usage",
    )

    def __init__(  # noqa: PLR0915 - one line a field
        self,
        conversation_id: ConversationId,
        config: AgentConfig,
        model: Model,
        toolset: Toolset,
        state: State | None = None,
        summary_model: Model | None = None,
    ) -> None:
        self.id = conversation_id
        self.config = config
        self.model = model
        self.toolset = toolset
        self.state = State() if state is None else state
        """What its tools share."""
        self.parent_id: TaskId | None = None
        """The task that waits for all of it, and on whose permits its calls run."""
        self.parent_conversation_id: ConversationId | None = None
        """Of the agent whose sub-agent this is."""
        self.aside = aside.get() or _is_opened_in_background()  # at a gate, others go first
        self.meter = metered(config.budget, ambient_meter.get())
        """Where its turns spend; None: nothing limits them."""
        self.history: list[Message] = []
        self.unheard: tuple[TaskId, ...] = ()
        """Results in the history that had woken it, when a crash cut the turn before it began to
        read them: they are a reason for another one."""
        self.unwritten: tuple[tuple[Message, tuple[TaskId, ...]], ...] = ()
        """Those of them that the store did not take, with the results that they deliver: they are
        written with the next one, so that what it has is no history with a hole."""
        self.context = Context(self.history)
        """What the model is given of them; messages are appended to both through it."""
        self.room: Room | None = None
        """Keeps the context within the model's window; None: nothing does."""
        if config.compaction is not None:
            self.room = Room(
                config.compaction, self.context, model, config.instructions, toolset.schemas
            )
        self.summary_model = summary_model
        """Writes the summaries; None: the model."""
        self.on_compaction: Callable[[Compacted], Awaitable[None]] | None = None
        """Awaited when the context was compacted."""
        self.call_ids: dict[CallId, None] = {}
        """Every call id of the history. Models repeat themselves; an answer must not."""
        self.checks: tuple[Check, ...] = ()
        """Asked in this order; the first that objects answers the call."""
        self.governor: Governor | None = None
        """What says what is to be done now; one of the checks is its own."""
        self.hooks: TurnHooks | None = None
        """What a host wants to be told of its turns; None: nothing."""
        self.steering: tuple[UserMessage, ...] = ()
        """Messages for the running turn: they join it before its next model call."""
        self.usage = NO_USAGE
        self.last_usage = NO_USAGE
        self.last_output: object = None
        self.turns = 0

    def clear(self) -> None:
        """Begin anew: no message was ever said."""
        self.context.clear()
        self.unwritten = ()
        self.call_ids.clear()
        if self.room is not None:
            self.room.begin_anew()

    def govern(self, governor: Governor) -> None:
        """From now on this one governs it."""
        self.governor = governor
        self.checks += (governor.check,)


def _is_opened_in_background() -> bool:
    """It is a background tool that opens it. An invoked agent says for itself who waits."""
    body = current_body.get()
    if body is None or body.record.launch.executor is not None:
        return False
    return not body.record.foreground

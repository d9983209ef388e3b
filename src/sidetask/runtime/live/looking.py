"""Looking at a live agent: what was said, what it cost, what is at work.

Properties tell what was, also after the end; methods need a live agent that is open.
"""

from collections.abc import Sequence

from sidetask.agents.agent import AgentConfig
from sidetask.agents.quota import Quota
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Message
from sidetask.core.usage import Usage
from sidetask.models.base import ToolSchema
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.live.base import Live
from sidetask.runtime.response import ChatResponse
from sidetask.runtime.views import ConversationApprovals, ConversationTasks
from sidetask.state.state import StateView


class Looking(Live):
    """The part of a handle that shows."""

    def history(self) -> Sequence[Message]:
        """All messages so far.

        Raises:
            AgentNotStartedError: The agent is shut down.
        """
        self._driver.check_open()
        return tuple(self._conversation.history)

    @property
    def config(self) -> AgentConfig:
        return self._conversation.config

    @property
    def turn_count(self) -> int:
        return self._conversation.turns

    @property
    def total_usage(self) -> Usage:
        """Of the turns of this conversation; its sub-agents count for themselves."""
        return self._conversation.usage

    @property
    def last_turn_usage(self) -> Usage:
        return self._conversation.last_usage

    @property
    def compaction_indices(self) -> Sequence[int]:
        """For each compaction, the index in `history()` of the first message that the model was
        still given as it is."""
        return tuple(self._conversation.context.indices)

    @property
    def last_response(self) -> ChatResponse | None:
        """The latest turn since it was opened, asked for or not."""
        return self._driver.turns[-1] if self._driver.turns else None

    @property
    def last_structured_output(self) -> object:
        """The latest output of an agent with an `output_type`."""
        return self._conversation.last_output

    @property
    def available_tools(self) -> Sequence[ToolSchema]:
        """The tools that the model is told of."""
        return self._conversation.toolset.schemas

    @property
    def state(self) -> StateView:
        """What this conversation's tools share."""
        return self._conversation.state

    @property
    def quota(self) -> Quota:
        """The gates of the API keys; `quota.status()` tells which are closed."""
        return self._on.around.quota

    @property
    def invoker(self) -> Invoker:
        """How agents are invoked beside this conversation: `invoke(..., conversation=chat)`."""
        self._driver.check_open()
        return self._on.invoker

    @property
    def tasks(self) -> ConversationTasks:
        """The conversation's tasks."""
        return ConversationTasks(self._tasks, self.conversation_id)

    @property
    def approvals(self) -> ConversationApprovals:
        """What waits for a person's decision, in this conversation and those of its sub-agents."""
        return ConversationApprovals(self._tasks, self.conversation_id, self._kin.descendants)

    @property
    def parent_conversation_id(self) -> ConversationId | None:
        """Of the agent whose sub-agent this is."""
        return self._conversation.parent_conversation_id

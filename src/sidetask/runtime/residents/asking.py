"""How an agent is asked to be opened: by whom, and inside of what; and what that comes to."""

from collections.abc import Sequence
from typing import TypedDict

from sidetask.agents.agent import AgentConfig
from sidetask.agents.tools.toolset import Toolset
from sidetask.core.budget import Meter
from sidetask.core.ids import ConversationId, value
from sidetask.models.base import Model
from sidetask.runtime.house.rules import House
from sidetask.runtime.live.base import Within
from sidetask.runtime.live.family import Kin
from sidetask.runtime.triggers.base import Trigger


class Asked(TypedDict, total=False):
    """How an agent is to be opened, besides what it is."""

    user: str | None
    deps: object
    conversation_id: str | None
    triggers: Sequence[Trigger]
    within: Within | None
    parent: ConversationId
    """The live agent whose sub-agent it is."""
    meter: Meter | None
    """What it spends is spent there too; not said: where whoever opens it does."""
    resumed: bool
    """There has to be such a conversation."""


@value
class Plan:
    """What is opened, once it is known to be possible."""

    config: AgentConfig
    model: Model
    writer: Model | None
    """Writes summaries."""
    toolset: Toolset
    house: House
    parent: Kin | None

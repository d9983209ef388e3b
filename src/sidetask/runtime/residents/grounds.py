"""What every live agent of a runtime stands on."""

from collections.abc import Callable, Coroutine
from typing import Any

from sidetask.agents.tools.toolset import Toolsets
from sidetask.agents.turn_log import Surroundings
from sidetask.core.ids import ConversationId, value
from sidetask.observe.base import Observer
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.house.rules import House
from sidetask.runtime.invocation.states import StateTeller
from sidetask.runtime.live.family import Families
from sidetask.runtime.models import Models
from sidetask.state.spaces import SharedSpaces
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import AsyncTaskManager


@value(kw_only=True)
class Grounds:
    """The parts of a runtime."""

    manager: AsyncTaskManager
    around: Surroundings
    models: Models
    house: House
    families: Families
    toolsets: Toolsets
    invoker: Invoker
    states: StateTeller
    spaces: SharedSpaces
    observer: Observer | None
    deps: object
    max_auto_turns: int
    forgets: bool
    """What is shut down is gone: the store is this runtime's own, and in memory."""
    make_dispatcher: Callable[[ConversationId], BackgroundAgentDispatcher]
    start: Callable[..., Coroutine[Any, Any, AgentHandle]]
    """Opens an agent, whatever it is."""

    @property
    def store(self) -> Store:
        return self.around.store

    @property
    def outbox(self) -> Outbox:
        return self.around.outbox

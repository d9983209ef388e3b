"""What every live agent of a runtime stands on."""

from collections.abc import Callable

from sidetask.agents.tools.toolset import Toolsets
from sidetask.core.ids import ConversationId, value
from sidetask.observe.base import Observer
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.runtime.house.rules import House
from sidetask.runtime.invocation.states import StateTeller
from sidetask.runtime.live.base import Wiring
from sidetask.runtime.live.family import Families
from sidetask.runtime.models import Models
from sidetask.state.spaces import SharedSpaces
from sidetask.stores.base import Store
from sidetask.tasks.aio.outbox import Outbox


@value(kw_only=True)
class Grounds(Wiring):
    """The parts of a runtime."""

    store: Store
    outbox: Outbox
    models: Models
    house: House
    families: Families
    toolsets: Toolsets
    states: StateTeller
    spaces: SharedSpaces
    observer: Observer | None
    deps: object
    max_auto_turns: int
    forgets: bool
    """What is shut down is gone: the store is this runtime's own, and in memory."""
    make_dispatcher: Callable[[ConversationId], BackgroundAgentDispatcher]

"""What the parts of a handle have in common."""

from collections.abc import Callable, Coroutine
from typing import Any

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn_log import Surroundings
from sidetask.core.ids import ConversationId, TaskId, value
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.driver import Driver
from sidetask.runtime.live.family import Kin
from sidetask.state.state import StateView
from sidetask.tasks.manager import AsyncTaskManager


@value
class Within:
    """What an agent is opened in that is somebody else's."""

    state: StateView
    parent_id: TaskId | None
    """The task that waits for it."""


@value(kw_only=True)
class Wiring:
    """What a live agent is put together from."""

    conversation: Conversation
    driver: Driver
    manager: AsyncTaskManager
    around: Surroundings
    state: StateView
    user: str | None
    invoker: Invoker
    kin: Kin
    start: Callable[..., Coroutine[Any, Any, Any]]
    """Opens an agent, whatever it is."""


class Live:
    """A live agent: the root of its handle's parts."""

    def __init__(self, wiring: Wiring) -> None:
        self._conversation = wiring.conversation
        self._driver = wiring.driver
        self._manager = wiring.manager
        self._manager_handle = wiring.manager.handle()
        self._around = wiring.around
        self._state = wiring.state
        self._invoker = wiring.invoker
        self._kin = wiring.kin
        self._start = wiring.start
        self.user = wiring.user
        """Whose conversation it is."""

    @property
    def conversation_id(self) -> ConversationId:
        return self._conversation.id

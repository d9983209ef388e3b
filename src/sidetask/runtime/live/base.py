"""What the parts of a handle have in common."""

from collections.abc import Callable, Coroutine
from typing import Any

from sidetask.agents.conversation import Conversation
from sidetask.agents.turn.log import Surroundings
from sidetask.core.ids import ConversationId, TaskId, value
from sidetask.orchestration.invoker import Invoker
from sidetask.runtime.driver import Driver
from sidetask.runtime.live.family import Kin
from sidetask.state.state import StateView
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.manager import AsyncTaskManager


@value
class Within:
    """What an agent is opened in that is somebody else's."""

    state: StateView
    parent_id: TaskId | None
    """The task that waits for it."""


@value(kw_only=True)
class Wiring:
    """What the live agents of a runtime have in common."""

    manager: AsyncTaskManager
    around: Surroundings
    invoker: Invoker
    start: Callable[..., Coroutine[Any, Any, Any]]
    """Opens an agent, whatever it is."""


class Live:
    """A live agent: the root of its handle's parts."""

    def __init__(
        self, wiring: Wiring, conversation: Conversation, driver: Driver, kin: Kin
    ) -> None:
        self._on = wiring
        self._conversation = conversation
        self._driver = driver
        self._kin = kin

    @property
    def conversation_id(self) -> ConversationId:
        return self._conversation.id

    @property
    def _tasks(self) -> ManagerHandle:
        """Those of all conversations."""
        return self._on.manager.handle()

"""Turns that nobody asked for: results begin them, up to a number in a row."""

import logging

from sidetask.agents.conversation import Conversation
from sidetask.core.ids import TaskId
from sidetask.tasks.manager import AsyncTaskManager

_log = logging.getLogger(__name__)


class Waking:
    """Whether results wake one conversation."""

    __slots__ = ("_conversation", "_manager", "_most", "_parked", "_row")

    def __init__(self, conversation: Conversation, manager: AsyncTaskManager, most: int) -> None:
        self._conversation = conversation
        self._manager = manager
        self._most = most
        self._parked = False
        self._row = 0
        """How many of them followed each other."""

    def wanted_by(self) -> tuple[TaskId, ...]:
        """The results that ask for a turn of their own."""
        return self._manager.wants_turn(self._conversation.id) + self._conversation.unheard

    def is_due(self) -> bool:
        """Whether they begin one by themselves."""
        if self._parked or not self.wanted_by():
            return False
        if self._row >= self._most:
            _log.warning(
                "%s had %d turns in a row that nobody asked for: further results wait for the"
                " user (max_auto_turns)",
                self._conversation.id,
                self._row,
            )
            self._parked = True
        return not self._parked

    def park(self) -> None:
        """Begin none until the user speaks."""
        self._parked = True

    def user_spoke(self) -> None:
        self._parked = False
        self._row = 0

    def begin(self) -> tuple[TaskId, ...]:
        """One begins; returns its causes."""
        self._row += 1
        return self.wanted_by()

    def take_back(self) -> None:
        """One that began came to nothing, through no fault of its own."""
        self._row = max(0, self._row - 1)

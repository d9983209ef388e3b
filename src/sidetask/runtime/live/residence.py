"""What was opened with one conversation, to be closed in reverse order.

A step is taken from the list when it is done. So one that fails leaves itself and all that was
opened before it for the next try, and nothing is closed twice. Only one closing goes on at a time:
whoever has the residence sees to that.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

Step: TypeAlias = Callable[[Any], Coroutine[Any, Any, object]]
"""Closes something of the residence that it is given. A plain function: it costs nothing to note
what all residences have in common."""
Fate: TypeAlias = Literal["end", "keep", "delete", "drop"]
"""What becomes of a conversation's data when it is let go: kept if it is in a store that outlives
it, and else gone; kept; deleted; or left as it is, for it was never quite opened."""


class Residence:
    """Where one live agent lives."""

    __slots__ = ("_steps", "fate", "user")

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self.fate: Fate = "end"
        self.user: str | None = None
        """Whose conversation it is."""

    @property
    def is_empty(self) -> bool:
        """All of it is closed."""
        return not self._steps

    def abandon(self) -> None:
        """Another process has it: from now on nothing of it is written here."""
        self.fate = "drop"

    def opened(self, close: Step) -> None:
        """Something was opened: `close` lets go of it, before all that was opened earlier."""
        self._steps.append(close)

    def outlast(self, close: Step) -> None:
        """Close this after all that was opened until now."""
        self._steps.insert(0, close)

    async def close(self) -> None:
        """Close everything that is open. Raises what a step raises, and can be tried again."""
        steps = self._steps
        while steps:
            close = steps[-1]
            await close(self)
            steps.remove(close)  # something may have been opened meanwhile

"""The seam of what watches a runtime: it hears every event, and who asked for a turn.

What an observer promises: it never raises and never waits, and the runtime is the same with it
and without. `hear` is called as each event lands, in the code of whoever caused it: a
`RunStarted` in the asyncio task that carries the turn out, the first `TaskStarted` of a task in
the one that runs its body. So what an observer sets as context variables there is what the code
below finds.
"""

from typing import Protocol

from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId


class Observer(Protocol):
    """Watches one runtime."""

    def hear(self, event: Event) -> None:
        """An event lands."""
        ...

    def opened(
        self, conversation_id: ConversationId, agent: str | None, parent_id: TaskId | None
    ) -> None:
        """A conversation begins, with an agent of this name; a task may wait for all of it."""
        ...

    def asked(self) -> object:
        """Somebody asks for a turn: what `admitted` is to be given when it begins."""
        ...

    def admitted(self, conversation_id: ConversationId, asked: object) -> None:
        """The turn of this conversation that begins now was asked for then; None: by nobody."""
        ...

    def closed(self, conversation_id: ConversationId) -> None:
        """Nothing of the conversation runs any more."""
        ...

    def close(self) -> None:
        """Nothing of the runtime runs any more."""
        ...


class Observing(Protocol):
    """How runtimes are watched; the same for any number of them."""

    def observer(self) -> Observer:
        """Make the observer of one runtime."""
        ...

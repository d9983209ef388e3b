"""The seam between the runtime and where conversations are kept.

What every store promises, tested for each by `tests/stores/test_contract.py`:

* `append` takes facts in the order of their `seq` and never waits; `stored` returns when
  everything appended before is safe. A fact is published after it was appended.
* `commit_turn` writes messages and the acknowledgement of delivered results as one: after a
  crash both are there or neither.
* What was read is what was written, in order.
"""

from collections.abc import Sequence
from typing import Protocol

from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message


class Store(Protocol):
    """Keeps conversations: their messages, their facts, what was delivered."""

    def append(self, fact: Event) -> None:
        """Take a fact. Raises when the store can take no more; then it is not published."""
        ...

    async def stored(self) -> None:
        """Return when all facts appended so far are as safe as this store makes them."""
        ...

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
    ) -> None:
        """Append messages to the history and note that these tasks' results are part of it."""
        ...

    async def facts(self, conversation_id: ConversationId, *, after: int = 0) -> Sequence[Event]:
        """The facts that are kept, with a `seq` above `after`, in order."""
        ...

    async def history(self, conversation_id: ConversationId) -> Sequence[Message]:
        """All messages of a conversation; empty for an unknown one."""
        ...

    async def delete(self, conversation_id: ConversationId) -> None:
        """Forget a conversation. Forgetting an unknown one is fine."""
        ...

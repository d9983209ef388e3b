"""A store that forgets at exit."""

from collections import deque
from collections.abc import Sequence

from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import Store

FACTS = 1000
"""How many of the last facts of a conversation are kept."""


class MemoryStore(Store):
    """Keeps all messages, and the last facts, of each conversation in this process."""

    def __init__(self, *, facts: int = FACTS) -> None:
        self._limit = facts
        self._facts: dict[ConversationId, deque[Event]] = {}
        self._messages: dict[ConversationId, list[Message]] = {}

    def append(self, fact: Event) -> None:
        kept = self._facts.get(fact.conversation_id)
        if kept is None:
            kept = self._facts[fact.conversation_id] = deque(maxlen=self._limit)
        kept.append(fact)

    async def stored(self) -> None:
        """Memory is as safe as it gets at once."""

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
    ) -> None:
        self._messages.setdefault(conversation_id, []).extend(messages)

    async def facts(self, conversation_id: ConversationId, *, after: int = 0) -> Sequence[Event]:
        return [fact for fact in self._facts.get(conversation_id, ()) if fact.seq > after]

    async def history(self, conversation_id: ConversationId) -> Sequence[Message]:
        return tuple(self._messages.get(conversation_id, ()))

    async def delete(self, conversation_id: ConversationId) -> None:
        self._facts.pop(conversation_id, None)
        self._messages.pop(conversation_id, None)

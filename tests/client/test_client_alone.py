"""What a client says and refuses where nobody has a conversation open: on a store in memory."""

from typing import TypeVar

import pytest

from sidetask.client import Client
from sidetask.core.errors import ConversationNotFoundError
from sidetask.stores.base import Record
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.stored import ORDERS
from tests.stores.samples import C, conversation

T = TypeVar("T")


class DeletedMeanwhile(MemoryStore):
    """Somebody deletes a conversation when it was found, and before anything is said in it."""

    async def swap(self, record: Record[T], *, expect: str | None) -> Record[T] | None:
        await self.delete(record.conversation_id)
        return await super().swap(record, expect=expect)


async def test_who_speaks_in_what_somebody_deletes_is_told_that_nobody_hears_it() -> None:
    store = DeletedMeanwhile()
    store.save(conversation(C))
    with pytest.raises(ConversationNotFoundError, match=C):
        await Client(store).send(C, "hello?")
    assert await store.find(ORDERS, open=True) == []

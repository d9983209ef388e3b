"""What every store promises. A new store adds one line to `STORES`."""

import pytest

from sidetask.core.events import TaskStarted
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.messages import AssistantMessage, Text, user_message
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore

STORES = [pytest.param(MemoryStore, id="memory")]
C, D = ConversationId("c"), ConversationId("d")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    made: Store = request.param()
    return made


def fact(seq: int, conversation: ConversationId = C) -> TaskStarted:
    return TaskStarted(
        seq=seq,
        at=1.0,
        conversation_id=conversation,
        task_id=TaskId("task-1"),
        call_id=CallId("call-1"),
        name="tool",
        attempt=1,
    )


async def test_facts_come_back_as_they_were_in_order_and_from_where_one_asks(
    store: Store,
) -> None:
    for seq in range(1, 6):
        store.append(fact(seq))
    await store.stored()
    assert list(await store.facts(C)) == [fact(seq) for seq in range(1, 6)]
    assert [event.seq for event in await store.facts(C, after=3)] == [4, 5]
    assert list(await store.facts(C, after=5)) == []


async def test_messages_come_back_as_they_were_in_order(store: Store) -> None:
    first, second = user_message("hi"), AssistantMessage((Text("hello"),))
    await store.commit_turn(C, [first, second], ack=[TaskId("task-1")])
    await store.commit_turn(C, [first])
    await store.commit_turn(C, [])
    assert list(await store.history(C)) == [first, second, first]


async def test_conversations_share_nothing(store: Store) -> None:
    store.append(fact(1, C))
    store.append(fact(1, D))
    await store.commit_turn(C, [user_message("mine")])
    await store.commit_turn(D, [user_message("yours")])
    await store.delete(C)
    await store.stored()
    assert (list(await store.facts(C)), list(await store.history(C))) == ([], [])
    assert list(await store.facts(D)) == [fact(1, D)]
    assert list(await store.history(D)) == [user_message("yours")]


async def test_an_unknown_conversation_is_empty_and_may_be_deleted(store: Store) -> None:
    await store.delete(C)
    assert (list(await store.facts(C)), list(await store.history(C))) == ([], [])


async def test_what_was_read_does_not_change_when_more_is_written(store: Store) -> None:
    store.append(fact(1))
    await store.commit_turn(C, [user_message("one")])
    facts, history = await store.facts(C), await store.history(C)
    store.append(fact(2))
    await store.commit_turn(C, [user_message("two")])
    assert (len(facts), len(history)) == (1, 1)


async def test_the_memory_store_keeps_the_last_facts_only() -> None:
    store = MemoryStore(facts=3)
    for seq in range(1, 10):
        store.append(fact(seq))
    assert [event.seq for event in await store.facts(C)] == [7, 8, 9]

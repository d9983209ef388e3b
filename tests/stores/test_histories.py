"""Histories: what was said comes back, and one process goes on with it."""

import pytest

from sidetask.core.errors import ConversationTakenError
from sidetask.core.ids import TaskId
from sidetask.core.messages import AssistantMessage, Text, user_message
from sidetask.stores.base import Store
from sidetask.tasks.stored import RESULTS
from tests.stores.samples import C, result


async def test_messages_come_back_as_they_were_in_order_and_from_a_place_on(store: Store) -> None:
    first, second = user_message("hi"), AssistantMessage((Text("é \ud800 \0 \N{SNOWMAN}"),))
    await store.commit_turn(C, [first, second], ack=[TaskId("task-1")])
    await store.commit_turn(C, [first])
    await store.commit_turn(C, [])
    assert list(await store.history(C)) == [first, second, first]
    assert list(await store.history(C, start=1)) == [second, first]


async def test_who_believes_in_a_shorter_history_is_refused_and_writes_nothing(
    store: Store,
) -> None:
    await store.commit_turn(C, [user_message("one")], at=0)
    await store.commit_turn(C, [user_message("two"), user_message("three")], at=1)
    store.put(result("task-1"))
    for places in (0, 1, 2):
        with pytest.raises(ConversationTakenError, match="another process has gone on with it"):
            await store.commit_turn(C, [user_message("mine")], ack=[TaskId("task-1")], at=places)
    assert list(await store.history(C)) == [user_message(each) for each in ("one", "two", "three")]
    assert len(await store.find(RESULTS, open=True)) == 1


async def test_a_commit_whose_end_nobody_heard_may_be_done_again(store: Store) -> None:
    said = [user_message("one"), user_message("two")]
    await store.commit_turn(C, said, at=0)
    await store.commit_turn(C, said, at=0)
    assert list(await store.history(C)) == said

"""Histories: what was said comes back, and one process goes on with it."""

import pytest

from sidetask.core.errors import ConversationTakenError
from sidetask.core.ids import TaskId
from sidetask.core.messages import AssistantMessage, Text, user_message
from sidetask.stores.base import Record, Store
from sidetask.stores.members import HOME, NOBODY
from sidetask.tasks.stored import HOMES, RESULTS, Home
from tests.stores.samples import QUESTION, C, D, job, question, result


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
    store.put(question("asked"))
    done, mine = question("asked", "done"), [user_message("mine")]
    for at in (0, 1, 2):
        with pytest.raises(ConversationTakenError, match="another process has gone on with it"):
            await store.commit_turn(C, mine, ack=[TaskId("task-1")], closing=[done], at=at)
        assert await store.last_seq(C) == 0  # opened anew
    assert await store.get(QUESTION, C, "asked") == question("asked")
    assert list(await store.history(C)) == [user_message(each) for each in ("one", "two", "three")]
    assert len(await store.find(RESULTS, open=True)) == 1


async def test_a_commit_whose_end_nobody_heard_may_be_done_again(store: Store) -> None:
    said = [user_message("one"), user_message("two")]
    await store.commit_turn(C, said, at=0)
    await store.commit_turn(C, said, at=0)
    assert list(await store.history(C)) == said


@pytest.mark.parametrize("had_by", ["me", NOBODY, "another", None])
async def test_a_job_of_a_conversation_that_another_process_has_is_that_ones_to_cancel(
    store: Store, had_by: str | None
) -> None:
    if had_by is not None:
        home = Record(kind=HOMES, conversation_id=C, id=HOME, status=had_by, at=0.0, value=Home())
        store.put(home)
    store.queue.enqueue(job("task-1:1"))
    store.queue.enqueue(job("task-2:1", D))
    if had_by == "another":
        with pytest.raises(ConversationTakenError):
            await store.queue.cancel("task-1:1", "enough", had_by=["me", NOBODY])
    else:
        await store.queue.cancel("task-1:1", "enough", had_by=["me", NOBODY])
    found = await store.queue.get("task-1:1")
    assert found is not None
    assert found.status == ("queued" if had_by == "another" else "cancelled")
    other = await store.queue.cancel("task-2:1", "enough", had_by=["me"])
    assert other is not None
    assert other.status == "cancelled"
    await store.queue.cancel("task-1:1", "whoever has it")
    assert await store.queue.cancel("unknown", had_by=["me"]) is None

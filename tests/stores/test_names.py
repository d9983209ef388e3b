"""What bears one name is one thing, in each conversation and of each kind: in every store."""

from dataclasses import replace

import pytest

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import user_message
from sidetask.stores.base import Kind, Store
from tests.stores.conftest import DATABASES
from tests.stores.samples import (
    QUESTION,
    C,
    D,
    Question,
    conversation,
    entry,
    fact,
    question,
    result,
)

OTHER = Kind("other", Question, open=frozenset({"open"}))


async def same_names(store: Store) -> list[tuple[str, str, str]]:
    """Of what there are two, each with the same ids in two conversations."""
    for kind in (QUESTION, OTHER):
        for of in (C, D):
            for id in ("a", "b"):
                store.put(replace(question(id, conversation=of), kind=kind))
    return [
        (kind, each.conversation_id, each.id)
        for kind, records in (
            ("question", await store.find(QUESTION, open=True)),
            ("other", await store.find(OTHER, open=True)),
        )
        for each in records
    ]


async def test_what_is_decided_is_one_and_no_other_of_its_name(store: Store) -> None:
    before = await same_names(store)
    decided = question("a", "approved")
    assert await store.swap(decided, expect="open") is decided
    left = [("question", each.conversation_id, each.id) for each in await store.find(QUESTION)]
    assert left == before[:4]
    assert [each.status for each in await store.find(QUESTION)] == ["approved", *["open"] * 3]
    assert [each.open for each in await store.find(OTHER)] == [True] * 4


async def test_a_page_goes_on_after_one_and_no_other_of_its_name(store: Store) -> None:
    await same_names(store)
    for kind in (QUESTION, OTHER):
        records = list(await store.find(kind))
        for place, each in enumerate(records, 1):
            assert list(await store.find(kind, after=each)) == records[place:]


async def test_what_is_delivered_is_the_result_and_nothing_else_of_its_id(store: Store) -> None:
    store.put(result("task-1"))
    store.put(question("task-1"))
    await store.commit_turn(C, [user_message("told")], ack=[TaskId("task-1")])
    assert await store.get(QUESTION, C, "task-1") == question("task-1")


async def test_a_counter_is_of_one_name_and_one_conversation(store: Store) -> None:
    for n, (of, name) in enumerate([(C, "a"), (C, "b"), (D, "a"), (D, "b")], 1):
        assert await store.count(of, name, n) == n
    assert [await store.count(of, name) for of in (D, C) for name in ("b", "a")] == [4, 3, 2, 1]


async def test_what_is_just_as_old_as_that_stays(store: Store) -> None:
    store.save(conversation(C, at=5.0))
    store.append(fact(1, at=4.9))
    store.append(fact(2, at=5.0))
    store.append(fact(3, at=9.0))
    for id, at in (("before", 4.9), ("then", 5.0)):
        store.put(replace(question(id, "approved"), at=at))
    assert list(await store.vacuum(5.0, dry_run=True)) == list(await store.vacuum(5.0)) == []
    assert [each.seq for each in await store.facts(C)] == [2, 3]
    assert [each.id for each in await store.find(QUESTION)] == ["then"]


@pytest.mark.parametrize("url", DATABASES, indirect=True)
@pytest.mark.parametrize("name", ["", "a\0b"])
async def test_a_database_is_given_nothing_under_a_name_that_it_cannot_keep(
    store: Store, name: str
) -> None:
    with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
        store.save(conversation(C, user=name))
    with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
        await store.commit_turn(ConversationId(name), [user_message("hi")])
    for record in (
        question("q", conversation=ConversationId(name)),
        replace(question("q"), status=name),
    ):
        with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
            store.put(record)
    with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
        store.save_state(C, [entry(name, 1)])
    await store.stored()
    assert list(await store.find(QUESTION)) == list(await store.load_state(C)) == []
    assert list(await store.conversations()) == []

"""What every store promises. A new store adds one line to the fixture `url`."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from sidetask.core.errors import (
    CodecError,
    InvalidInputError,
    StoreClosedError,
)
from sidetask.core.events import TaskSucceeded
from sidetask.core.ids import ConversationId, RunId, TaskId
from sidetask.core.messages import Text, UserMessage, user_message
from sidetask.stores.base import (
    COMPACTIONS,
    RUNS,
    TEXTS,
    Compaction,
    Kind,
    Record,
    Run,
    Store,
    spaces_of,
    title_of,
    told_as,
)
from sidetask.stores.bounds import MAX_ROW
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.stored import RESULTS
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

# -- facts -------------------------------------------------------------------------------------


async def test_facts_come_back_as_they_were_in_order_and_from_where_one_asks(
    store: Store,
) -> None:
    for seq in range(1, 6):
        store.append(fact(seq))
    await store.stored()
    assert list(await store.facts(C)) == [fact(seq) for seq in range(1, 6)]
    assert [event.seq for event in await store.facts(C, after=3)] == [4, 5]
    assert [event.seq for event in await store.facts(C, after=1, limit=2)] == [2, 3]
    assert list(await store.facts(C, after=5)) == []


async def test_a_read_sees_what_was_handed_over_before_it(store: Store) -> None:
    store.append(fact(1))
    assert [event.seq for event in await store.facts(C)] == [1]
    store.append(fact(2))
    assert await store.last_seq(C) == 2
    store.put(question("q"))
    assert await store.get(QUESTION, C, "q") == question("q")


async def test_the_last_seq_is_zero_where_nothing_happened(store: Store) -> None:
    store.append(fact(7, D))
    assert (await store.last_seq(C), await store.last_seq(D)) == (0, 7)


# -- messages ----------------------------------------------------------------------------------


async def test_conversations_share_nothing(store: Store) -> None:
    for each, words in ((C, "mine"), (D, "yours")):
        store.append(fact(1, each))
        store.put(question("q", conversation=each))
        store.save(conversation(each, user="u"))
        store.save_state(each, [entry("key", words)])
        await store.commit_turn(each, [user_message(words)])
        await store.count(each, "usd", 1)
    await store.delete(C)
    await store.stored()
    assert (list(await store.facts(C)), list(await store.history(C))) == ([], [])
    assert (await store.get(QUESTION, C, "q"), await store.count(C, "usd")) == (None, 0)
    assert (await store.conversation(C), list(await store.load_state(C))) == (None, [])
    assert list(await store.facts(D)) == [fact(1, D)]
    assert list(await store.history(D)) == [user_message("yours")]
    assert [each.id for each in await store.conversations(user="u")] == [D]
    assert [each.id for each in await store.find(QUESTION)] == ["q"]
    assert [each.value for each in await store.load_state(D)] == ["yours"]
    assert await store.count(D, "usd") == 1


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


# -- results -----------------------------------------------------------------------------------


async def test_a_result_is_given_until_the_history_has_it(store: Store) -> None:
    for id in ("task-2", "task-10", "task-1"):
        store.put(result(id))
    store.put(result("task-2", D))
    pending = await store.find(RESULTS, conversation_id=C, open=True)
    assert list(pending) == [result("task-2"), result("task-10"), result("task-1")]
    await store.commit_turn(C, [user_message("told")], ack=[TaskId("task-10"), TaskId("task-2")])
    pending = await store.find(RESULTS, conversation_id=C, open=True)
    assert [each.id for each in pending] == ["task-1"]
    assert [each.id for each in await store.find(RESULTS, conversation_id=D, open=True)] == [
        "task-2"
    ]


async def test_a_delivered_result_is_not_given_again_when_its_task_ends_again(
    store: Store,
) -> None:
    store.put(result("task-1"))
    await store.commit_turn(C, [], ack=[TaskId("task-1")])
    store.put(result("task-1"))
    assert list(await store.find(RESULTS, conversation_id=C, open=True)) == []


# -- records -----------------------------------------------------------------------------------


async def test_an_open_record_changes_and_a_closed_one_stays(store: Store) -> None:
    store.put(question("q"))
    store.put(question("q", "approved", decided_by="ana"))
    store.put(question("q", "denied", decided_by="bob"))
    assert await store.get(QUESTION, C, "q") == question("q", "approved", decided_by="ana")


async def test_records_are_found_by_what_they_are_in_the_order_they_came(store: Store) -> None:
    store.save(conversation(C, user="ana"))
    store.save(conversation(D, user="bob"))
    for id, of in (("z", C), ("a", D), ("b", C)):
        store.put(question(id, conversation=of))
    store.put(question("z", "approved"))
    everything = await store.find(QUESTION)
    assert [each.id for each in everything] == ["z", "a", "b"]
    assert [each.id for each in await store.find(QUESTION, open=True)] == ["a", "b"]
    assert [each.id for each in await store.find(QUESTION, open=False)] == ["z"]
    assert [each.id for each in await store.find(QUESTION, user="ana")] == ["z", "b"]
    assert [each.id for each in await store.find(QUESTION, id="a")] == ["a"]
    assert [each.id for each in await store.find(QUESTION, limit=2)] == ["z", "a"]
    assert [each.id for each in await store.find(QUESTION, after=everything[1])] == ["b"]
    assert list(await store.find(RESULTS)) == []
    assert await store.get(QUESTION, D, "z") is None


async def test_of_many_who_decide_one_does_and_the_others_learn_who(
    opened: Callable[[], Store], url: str
) -> None:
    stores = [opened()] if url == "memory:" else [opened(), opened()]
    stores[0].put(question("q"))
    await stores[0].stored()

    async def decide(who: int) -> Record[Any] | None:
        decision = question("q", "approved", decided_by=f"user-{who}")
        return await stores[who % len(stores)].swap(decision, expect="open")

    async with asyncio.TaskGroup() as group:
        deciding = [group.create_task(decide(who)) for who in range(8)]
    stands = await stores[0].get(QUESTION, C, "q")
    assert stands is not None
    assert [task.result() for task in deciding] == [stands] * 8


async def test_a_request_is_claimed_once(store: Store) -> None:
    def run(id: str) -> Record[Run]:
        value = Run(run_id=RunId(id))
        return Record(
            kind=RUNS, conversation_id=C, id="request-1", status="running", at=1.0, value=value
        )

    assert await store.swap(run("run-1"), expect=None) == run("run-1")
    assert await store.swap(run("run-2"), expect=None) == run("run-1")
    store.put(replace(run("run-1"), status="completed"))
    assert await store.swap(run("run-2"), expect="running") == replace(
        run("run-1"), status="completed"
    )


async def test_what_is_not_there_cannot_be_decided(store: Store) -> None:
    assert await store.swap(question("q", "approved"), expect="open") is None
    assert await store.get(QUESTION, C, "q") is None


async def test_whole_texts_and_summaries_are_kept(store: Store) -> None:
    text = Text("\0 \ud800 é" * 10_000)
    store.put(Record(kind=TEXTS, conversation_id=C, id="task-1", status="kept", at=1.0, value=text))
    summary = Compaction(start=0, end=4, summary=user_message("so far: nothing"))
    store.put(
        Record(kind=COMPACTIONS, conversation_id=C, id="1", status="made", at=1.0, value=summary)
    )
    found = await store.get(TEXTS, C, "task-1")
    assert found is not None
    assert found.value == text
    assert [each.value for each in await store.find(COMPACTIONS, conversation_id=C)] == [summary]


async def test_counters_add_up(store: Store) -> None:
    assert await store.count(C, "usd") == 0
    assert await store.count(C, "usd", 0.5) == 0.5
    assert await store.count(C, "usd", 0.25) == 0.75
    assert await store.count(C, "tokens", 10) == 10


# -- state -------------------------------------------------------------------------------------


async def test_state_comes_back_with_versions_and_who_wrote_it(store: Store) -> None:
    written = [
        entry("b", {"x": [1, None]}, 3, origin={"source": "tool", "task_id": "task-1"}),
        entry("a", None, 1),
        entry("gone", None, 4, deleted=True),
        entry("temp:x", 1),
        entry("turn:x", 1),
        entry("derived:x", 1),
    ]
    store.save_state(C, written)
    assert list(await store.load_state(C)) == [written[1], written[0], written[2]]


async def test_app_is_of_all_and_user_of_one_user(store: Store) -> None:
    store.save_state(C, [entry("app:x", 1), entry("user:x", 2), entry("x", 3)], user="ana")
    store.save_state(D, [entry("user:x", 4), entry("x", 5)])

    async def seen(of: ConversationId, user: str | None) -> dict[str, object]:
        return {each.key: each.value for each in await store.load_state(of, user=user)}

    assert await seen(C, "ana") == {"app:x": 1, "user:x": 2, "x": 3}
    assert await seen(D, None) == {"app:x": 1, "user:x": 4, "x": 5}
    assert await seen(ConversationId("e"), "ana") == {"app:x": 1, "user:x": 2}
    assert await seen(ConversationId("e"), "bob") == {"app:x": 1}


async def test_the_higher_version_stands_whoever_comes_first(store: Store) -> None:
    store.save_state(C, [entry("app:x", "new", 2)])
    store.save_state(D, [entry("app:x", "old", 1)])
    store.save_state(D, [replace(entry("app:y", "later", 1), at=2.0)])
    store.save_state(C, [entry("app:y", "earlier", 1)])
    assert [each.value for each in await store.load_state(C)] == ["new", "later"]


async def test_of_two_writes_at_one_time_the_same_stands_whoever_comes_first(store: Store) -> None:
    for number, texts in enumerate((("one", "two"), ("two", "one"), ("é", "z"), ("z", "é"))):
        for text in texts:
            store.save_state(C, [entry(f"app:{number}", text)])
    found = [each.value for each in await store.load_state(C)]
    assert found == ["two", "two", "é", "é"]


async def test_the_state_is_read_by_its_spaces_and_from_where_one_has_read(
    opened: Callable[[], Store],
) -> None:
    store = opened()
    mine, all_of_it, hers = spaces_of(C, "ana")
    assert [told_as(each) for each in (mine, all_of_it, hers)] == [C, "app:", "user:ana"]
    store.save_state(C, [entry("app:a", 1), entry("user:a", 2), entry("a", 3)], user="ana")
    store.save_state(D, [entry("user:a", 4), entry("a", 5)], user="bob")
    first = await store.read_state([hers, mine, all_of_it])
    assert [(space, each.value) for space, each in first.entries] == [
        (mine, 3),
        (all_of_it, 1),
        (hers, 2),
    ]
    store.save_state(D, [entry("app:a", 1), entry("app:b", 6)], user="bob")  # the first is there
    store.save_state(C, [entry("a", None, 2, deleted=True)])
    later = await store.read_state([mine, all_of_it], after=first.mark)
    news = [each.key for _, each in later.entries]
    if store.durable:
        assert news == ["a", "app:b"]
        assert (await store.read_state([mine, all_of_it], after=later.mark)).entries == []
    assert set(news) >= {"a", "app:b"}  # perhaps more
    await store.delete(C)
    store.save_state(C, [entry("a", "again")])
    last = await store.read_state([mine], after=later.mark)
    assert [each.value for _, each in last.entries] == ["again"]


async def test_any_number_of_spaces_is_read_at_once(store: Store) -> None:
    ids = [ConversationId(f"c{number}") for number in range(1200)]
    for each in ids:
        store.save_state(each, [entry("x", each)])
    found = await store.read_state([("conversation", each) for each in ids[5:]])
    assert sorted([str(each.value) for _, each in found.entries]) == sorted(ids[5:])


# -- conversations -----------------------------------------------------------------------------


async def test_conversations_are_listed_by_user_last_touched_first_in_pages(store: Store) -> None:
    for id, at in (("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 3.0), ("E", 3.0)):
        store.save(conversation(id, user="ana", at=at))
    store.save(conversation("x", user="bob", at=9.0))
    first = await store.conversations(user="ana", limit=2)
    assert [each.id for each in first] == ["d", "b"]
    rest = await store.conversations(user="ana", after=first[-1])
    assert [each.id for each in rest] == ["E", "c", "a"]
    assert [each.id for each in await store.conversations(limit=1)] == ["x"]


async def test_a_conversation_is_saved_in_place_of_itself(store: Store) -> None:
    store.save(conversation(C, user="ana", title="Größe"))
    latest = conversation(C, user="ana", title="size", turns=2, at=5.0, status="closed")
    store.save(latest)
    assert await store.conversation(C) == latest
    assert await store.conversation(D) is None


async def test_erasing_a_user_leaves_nothing_of_them_and_all_of_others(store: Store) -> None:
    for id, user in ((C, "ana"), (D, "bob")):
        store.save(conversation(id, user=user))
        store.save_state(id, [entry("user:x", user), entry("app:x", 1)], user=user)
        await store.commit_turn(id, [user_message("hi")])
    assert list(await store.erase("ana")) == [C]
    assert (list(await store.history(C)), await store.conversation(C)) == ([], None)
    assert [each.key for each in await store.load_state(C, user="ana")] == ["app:x"]
    assert [each.key for each in await store.load_state(D, user="bob")] == ["app:x", "user:x"]


async def test_vacuum_takes_what_is_old_and_not_what_waits(store: Store) -> None:
    for id, at in (("old", 1.0), ("waits", 1.0), ("new", 9.0)):
        of = ConversationId(id)
        store.save(conversation(id, at=at))
        for seq in (1, 2, 3):
            store.append(fact(seq, of, at=1.0 if seq < 3 else at))
        store.put(question("done", "approved", of))
        await store.commit_turn(of, [user_message(id)])
    store.put(question("q", conversation=ConversationId("waits")))
    assert list(await store.vacuum(5.0)) == ["old"]
    assert list(await store.history(ConversationId("old"))) == []
    for id in ("waits", "new"):
        of = ConversationId(id)
        assert list(await store.history(of)) == [user_message(id)]
        assert [each.seq for each in await store.facts(of)] == [3]
    assert [each.id for each in await store.find(QUESTION)] == ["q"]


async def test_vacuum_leaves_what_resuming_a_conversation_needs(store: Store) -> None:
    """It is old, and its task waits: its steps, its answers and its counts are still needed."""
    kinds = ("step", "approval", "turn", "compaction", "run")
    put = partial(replace, question("1", "closed"))

    async def left(conversation_id: ConversationId) -> list[str]:
        found = [
            await store.find(Kind(name, Question), conversation_id=conversation_id)
            for name in kinds
        ]
        return [records[0].kind.name for records in found if records]

    for of in (C, D):
        store.save(conversation(of))
        for name in kinds:
            store.put(put(kind=Kind(name, Question), conversation_id=of))
    task = put(kind=Kind("task", Question, open=frozenset({"running"})), status="running")
    store.put(task)
    assert list(await store.vacuum(5.0, conversations=False)) == []
    assert await left(C) == ["step", "approval", "turn", "compaction"]
    assert await left(D) == ["approval", "turn", "compaction"]
    assert list(await store.vacuum(5.0, dry_run=True)) == [D]
    assert await left(D) != []
    assert list(await store.vacuum(5.0)) == [D]
    assert await left(D) == []
    store.put(replace(task, status="done"))
    await store.vacuum(5.0, conversations=False)
    assert await left(C) == ["approval", "turn", "compaction"]


def test_a_title_is_the_first_words_on_one_line() -> None:
    assert title_of(user_message("  hello\n world ")) == "hello world"
    assert title_of(user_message("word " * 100), letters=12) == "word word…"
    assert title_of(UserMessage(())) == ""


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1001])
async def test_a_name_that_some_database_cannot_keep_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError):
        store.save(conversation(name))
    with pytest.raises(InvalidInputError):
        store.put(question(name))
    with pytest.raises(InvalidInputError):
        await store.swap(question(name), expect=None)
    with pytest.raises(InvalidInputError):
        await store.count(C, name, 1)


@pytest.mark.parametrize("url", DATABASES, indirect=True)
async def test_a_bad_hand_over_leaves_the_others_alone(store: Store) -> None:
    bad = TaskSucceeded(
        **{name: getattr(fact(2), name) for name in ("seq", "at", "conversation_id", "name")},
        task_id=TaskId("t"),
        call_id=fact(2).call_id,
        duration=1.0,
        metadata={"x": cast("Any", object())},
    )
    store.append(fact(1))
    with pytest.raises(CodecError):
        store.append(bad)
    store.append(fact(2))
    await store.stored()
    assert [each.seq for each in await store.facts(C)] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_message_that_no_row_can_hold_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInputError, match="letters of JSON are more than a row may hold"):
        await store.commit_turn(C, [user_message("x" * MAX_ROW)])
    assert list(await store.history(C)) == []


@pytest.mark.parametrize("url", DATABASES, indirect=True)
async def test_closing_writes_what_was_handed_over_and_is_fine_twice(
    opened: Callable[[], Store],
) -> None:
    first = opened()
    await first.start()
    await first.start()
    first.append(fact(1))
    await first.close()
    await first.close()
    with pytest.raises(StoreClosedError):
        first.append(fact(2))
    with pytest.raises(StoreClosedError):
        await first.stored()
    with pytest.raises(StoreClosedError):
        await first.history(C)
    assert [each.seq for each in await opened().facts(C)] == [1]


# -- the store that forgets ----------------------------------------------------------------------


async def test_the_memory_store_keeps_the_last_facts_only() -> None:
    store = MemoryStore(facts=3)
    for seq in range(1, 10):
        store.append(fact(seq))
    assert [event.seq for event in await store.facts(C)] == [7, 8, 9]


async def test_the_memory_store_keeps_what_is_open_and_the_last_that_are_closed() -> None:
    store = MemoryStore()
    store.put(question("open"))
    for number in range(10):
        store.put(question(str(number), "approved"))
    assert [each.id for each in await store.find(QUESTION)] == ["open", "8", "9"]


async def test_a_cleared_conversation_has_no_messages_and_all_else(store: Store) -> None:
    message = user_message("hi")
    await store.commit_turn(C, [message])
    store.append(fact(1))
    store.put(result("task-1"))
    store.put(
        Record(
            kind=COMPACTIONS,
            conversation_id=C,
            id="1",
            status="made",
            at=1.0,
            value=Compaction(start=0, end=1, summary=message),
        )
    )
    await store.commit_turn(D, [message])
    await store.clear(C)
    assert list(await store.history(C)) == []
    assert list(await store.find(COMPACTIONS, conversation_id=C)) == []
    assert len(await store.find(RESULTS, conversation_id=C)) == await store.last_seq(C) == 1
    assert list(await store.history(D)) == [message]
    await store.commit_turn(C, [message])
    assert list(await store.history(C)) == [message]

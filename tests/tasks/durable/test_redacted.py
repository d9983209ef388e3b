"""A store that is given other contents: what it hands on, and what its process has nevertheless."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.ids import RunId, TaskId
from sidetask.core.jsons import Json
from sidetask.core.messages import Message, Text, user_message
from sidetask.stores.base import DELIVERED, RUNS, TEXTS, Record, Run, Space, StateRead, Store
from sidetask.stores.memory import MemoryStore
from sidetask.stores.opening import open_store
from sidetask.tasks.durable.cleaning import REMOVED, Redact, remove
from sidetask.tasks.durable.redacted import RedactedStore, _Last, redacted  # pyright: ignore[reportPrivateUsage] - its bound
from sidetask.tasks.stored import ORDERS, STEPS, Order, Step
from tests.stores.samples import C, D, conversation, entry, fact, job, result

SECRET, HUSHED = "4711", "***"


def hush(value: Json, where: str) -> Json:
    return value.replace(SECRET, HUSHED) if isinstance(value, str) else value


@pytest.fixture
def below() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(below: MemoryStore) -> Store:
    return RedactedStore(below, hush)


def text(id: str) -> Record[Text]:
    return Record(
        kind=TEXTS, conversation_id=C, id=id, status="kept", at=1.0, value=Text(f"{id} {SECRET}")
    )


def step(id: str) -> Record[Step]:
    return Record(
        kind=STEPS, conversation_id=C, id=id, status="done", at=1.0, value=Step(value=SECRET)
    )


def run(id: str) -> Record[Run]:
    value = Run(run_id=RunId("run-1"), text=SECRET)
    return Record(kind=RUNS, conversation_id=C, id=id, status="done", at=1.0, value=value)


async def test_what_is_no_content_is_there_as_in_any_store(
    store: Store, below: MemoryStore
) -> None:
    await store.start()
    store.save(conversation(C, user="ana", title=f"on {SECRET}"))
    store.save(conversation(D))
    store.append(fact(1))
    store.append(fact(2))
    assert await store.count(C, "turns", 2) == 2
    assert [each.seq for each in await store.facts(C, after=1)] == [2]
    assert await store.last_seq(C) == 2
    assert {each.id for each in await store.conversations()} == {C, D}
    assert (await below.conversations(user="ana"))[0].title == f"on {HUSHED}"
    await store.commit_turn(C, [user_message(SECRET)], ack=[TaskId("task-1")], at=0)
    assert list(await below.history(C)) == [user_message(HUSHED)]
    await store.clear(C)
    assert await store.history(C) == ()
    assert list(await store.erase("ana")) == [C]
    await store.delete(D)
    assert await store.conversations() == []
    store.save(conversation(D))
    assert list(await store.vacuum(5.0)) == [D]
    await store.stored()
    await store.close()


@pytest.mark.parametrize(
    "name", ["durable", "listen", "on_taken", "conversation", "find", "history", "vacuum"]
)
def test_what_passes_no_content_in_is_the_stores_own(
    store: Store, below: MemoryStore, name: str
) -> None:
    assert getattr(store, name) == getattr(below, name)


async def test_a_result_is_delivered_and_kept_without_its_contents(
    store: Store, below: MemoryStore
) -> None:
    said: Sequence[Message] = [user_message(f"hi {SECRET}")]
    store.put(result("task-1"))
    closing = replace(result("task-2"), status=DELIVERED)
    await store.commit_turn(C, said, ack=[TaskId("task-1")], closing=[closing], at=0)
    found = await below.find(result("").kind)
    assert {(each.id, each.open) for each in found} == {("task-1", False), ("task-2", False)}


@pytest.mark.parametrize("made", [text("a"), step("a")], ids=["a text", "a step"])
async def test_what_this_process_has_cut_or_done_it_finds_as_it_was(
    store: Store, below: MemoryStore, made: Record[Any]
) -> None:
    kind = made.kind
    store.put(made)
    assert await store.get(kind, C, "a") == made
    stored = await below.get(kind, C, "a")
    assert stored is not None
    assert SECRET not in str(stored.value)
    assert await RedactedStore(below, hush).get(kind, C, "a") == stored, "another process"
    assert await store.get(kind, C, "b") is None
    assert await store.get(kind, D, "a") is None
    await below.delete(C)
    assert await store.get(kind, C, "a") is None, "it was forgotten"


async def test_what_is_kept_of_another_kind_is_found_as_it_is_stored(store: Store) -> None:
    store.put(run("a"))
    found = await store.get(RUNS, C, "a")
    assert found is not None
    assert found.value.text == HUSHED


async def test_of_what_it_has_cut_and_done_it_remembers_the_last(tmp_path: Path) -> None:
    below = open_store(f"sqlite:///{tmp_path / 'test.db'}")  # it keeps all
    store = RedactedStore(below, hush)
    for n in range(51):
        store.put(text(f"text-{n}"))
    for n in range(1_001):
        store.put(step(f"step-{n}"))
    texts = [await store.get(TEXTS, C, f"text-{n}") for n in (0, 1, 50)]
    steps = [await store.get(STEPS, C, f"step-{n}") for n in (0, 1, 1_000)]
    for first, *last in (texts, steps):
        assert first is not None
        assert HUSHED in str(first.value)
        assert all(each is not None and SECRET in str(each.value) for each in last)
    await store.close()


def test_what_is_put_again_counts_as_the_last() -> None:
    last = _Last[int](2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        last.put(key, value)
    assert [last.get(key) for key in "abc"] == [3, None, 4]


async def test_a_claim_says_who_has_it_and_stores_no_contents(
    store: Store, below: MemoryStore
) -> None:
    mine = run("a")
    assert await store.swap(mine, expect=None) is mine
    other = await store.swap(run("a"), expect=None)
    assert other is not None
    assert other.value.text == HUSHED
    stored = await below.get(RUNS, C, "a")
    assert stored is not None
    assert stored.value.text == HUSHED


async def test_what_this_process_writes_to_the_state_it_reads(
    store: Store, below: MemoryStore
) -> None:
    mine, theirs = entry("mine", SECRET), entry("theirs", f"not {SECRET}")
    store.save_state(C, [mine], user="ana")
    store.save_state(C, [entry("user:name", SECRET)], user="ana")
    below.save_state(C, [theirs])
    assert [each.value for each in await store.load_state(C, user="ana")] == [
        SECRET,
        f"not {SECRET}",
        SECRET,
    ]
    assert [each.value for each in await below.load_state(C)] == [HUSHED, f"not {SECRET}"]
    read = await store.read_state([("conversation", C), ("user", "ana")])
    assert {(space, each.key): each.value for space, each in read.entries} == {
        (("conversation", C), "mine"): SECRET,
        (("conversation", C), "theirs"): f"not {SECRET}",
        (("user", "ana"), "user:name"): SECRET,
    }


class Noting(MemoryStore):
    """Notes from where on the state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[int] = []

    async def read_state(self, spaces: Collection[Space], *, after: int = 0) -> StateRead:
        self.marks.append(after)
        return await super().read_state(spaces, after=after)


async def test_the_state_is_read_from_where_it_is_asked_for() -> None:
    below = Noting()
    store = RedactedStore(below, hush)
    await store.read_state([("conversation", C)])
    await store.read_state([("conversation", C)], after=7)
    assert below.marks == [0, 7]


async def test_what_another_process_has_written_since_is_read_as_it_is_stored(
    store: Store, below: MemoryStore
) -> None:
    store.save_state(C, [entry("mine", SECRET)])
    below.save_state(C, [entry("mine", "newer", 2)])
    assert [each.value for each in await store.load_state(C)] == ["newer"]


async def test_without_contents_no_state_is_stored(below: MemoryStore) -> None:
    store = RedactedStore(below, remove)
    store.save_state(C, [entry("count", 1)])
    assert list(await below.load_state(C)) == []
    assert list(await store.load_state(C)) == []


async def test_its_jobs_are_for_nobody_else(store: Store, below: MemoryStore) -> None:
    store.queue.enqueue(job())
    assert await below.queue.find() == []
    assert [each.id for each in await store.queue.find()] == ["task-1:1"]
    assert store.members is not below.members


def order(kind: str, status: str = "open") -> Record[Order]:
    value = Order(kind=kind, text=SECRET)
    return Record(kind=ORDERS, conversation_id=C, id=kind, status=status, at=1.0, value=value)


async def test_what_nobody_could_hear_any_more_is_not_sent(
    store: Store, below: MemoryStore
) -> None:
    with pytest.raises(InvalidInputError, match="nobody would get it"):
        store.put(order("send"))
    with pytest.raises(InvalidInputError, match="nobody would get it"):
        await store.swap(order("send"), expect=None)
    assert await below.find(ORDERS) == []
    store.put(order("cancel"))
    store.put(order("send", "done"))
    assert {(each.id, each.value.text) for each in await below.find(ORDERS)} == {
        ("cancel", HUSHED),
        ("send", HUSHED),
    }


@pytest.mark.parametrize(("how", "title"), [(None, REMOVED), (hush, f"on {HUSHED}")])
async def test_without_a_function_of_the_hosts_all_contents_are_removed(
    tmp_path: Path, how: Redact | None, title: str
) -> None:
    lasting = open_store(f"sqlite:///{tmp_path / 'test.db'}")
    store = redacted(lasting, how is not None, how)
    store.save(conversation(C, title=f"on {SECRET}"))
    assert [each.title for each in await lasting.conversations()] == [title]
    await store.close()


def test_a_store_that_keeps_all_or_forgets_all_is_given_as_it_is(
    below: MemoryStore, tmp_path: Path
) -> None:
    lasting = open_store(f"sqlite:///{tmp_path / 'test.db'}")
    assert redacted(lasting, True, None) is lasting
    assert redacted(below, False, None) is below
    for store_content, how in ((False, None), (True, hush)):
        assert isinstance(redacted(lasting, store_content, how), RedactedStore)
        with pytest.raises(ConfigurationError, match="leave engine= out"):
            redacted(lasting, store_content, how, engine=object())
    with pytest.raises(ConfigurationError, match="say one of them"):
        redacted(lasting, False, hush)

"""Any sequence of operations does the same in a file as in memory."""

from collections.abc import Awaitable
from dataclasses import replace
from inspect import isawaitable
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Text, UserMessage
from sidetask.stores.base import ConversationRecord, Record, StateEntry, Store
from sidetask.stores.memory import MemoryStore
from sidetask.stores.queue import NewJob, StoredJob
from sidetask.stores.sql.sqlite import sqlite_store
from sidetask.tasks.stored import RESULTS
from sidetask.testing import VirtualClock
from tests.limits import HANG
from tests.stores.samples import (
    QUESTION,
    Question,
    conversation,
    entry,
    fact,
    job,
    question,
    result,
)

Step: TypeAlias = tuple[str, dict[str, Any]]
"""A method of a store, or a function below, and its arguments."""

ids = st.sampled_from([ConversationId(each) for each in "abc"])
owners = st.sampled_from(["ana", "bob"])
users = st.none() | owners
names = st.sampled_from(["x", "y", "ü"])
times = st.floats(0, 9, allow_nan=False)
words = st.text(max_size=3)
is_open = st.sampled_from([None, True, False])


@st.composite
def questions(draw: st.DrawFn) -> Record[Question]:
    status = draw(st.sampled_from(["open", "approved", "denied"]))
    made = question(draw(names), status, draw(ids), decided_by=draw(words))
    return replace(made, at=draw(times))


@st.composite
def entries(draw: st.DrawFn) -> StateEntry:
    key = draw(st.sampled_from(["", "app:", "user:", "temp:"])) + draw(names)
    made = entry(key, draw(st.none() | st.integers() | words), draw(st.integers(1, 3)))
    return replace(made, at=draw(times))


@st.composite
def conversations(draw: st.DrawFn) -> ConversationRecord:
    title = draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=3))
    return conversation(draw(ids), user=draw(users), at=draw(times), title=title)


keys = st.sampled_from(["a/x", "a/y"])
all_keys = st.just(["a/x", "a/y"])
job_ids = st.sampled_from(["x:1", "y:1", "z:1"])
said = st.dictionaries(names, words, max_size=2)
statuses = st.sampled_from(["queued", "running", "cancelling", "ended", "cancelled", "parked"])


@st.composite
def jobs(draw: st.DrawFn) -> NewJob:
    on_crash = draw(st.sampled_from(["retry", "fail", "ask"]))
    return job(draw(job_ids), draw(ids), key=draw(keys), on_crash=on_crash, data=draw(said))


def step(name: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


results = st.builds(result, names, ids, status=st.sampled_from(["loop", "host"]))
steps = st.one_of(
    step("append_next", of=ids, at=times),
    step("say", of=ids, text=words, ack=st.lists(names)),
    step("put", record=questions()),
    step("put", record=results),
    step("save", conversation=conversations()),
    step("save_state", conversation_id=ids, entries=st.lists(entries(), max_size=3), user=users),
    step("swap", record=questions(), expect=st.sampled_from([None, "open", "approved"])),
    step("count", conversation_id=ids, name=names, amount=st.just(0.5)),
    step("delete", conversation_id=ids),
    step("erase", user=owners),
    step("vacuum", older_than=times),
    step("facts", conversation_id=ids, after=st.integers(0, 5)),
    step("history", conversation_id=ids, start=st.integers(0, 3)),
    step("last_seq", conversation_id=ids),
    step("conversation", conversation_id=ids),
    step("list_conversations", user=users),
    step("list_questions", open=is_open),
    step("find", kind=st.just(RESULTS), conversation_id=st.none() | ids, user=users, open=is_open),
    step("load_state", conversation_id=ids, user=users),
    step("queue.enqueue", job=jobs()),
    step("queue.claim", owner=owners, keys=st.lists(keys), limit=st.integers(0, 3)),
    step(
        "queue.claim", owner=owners, keys=st.just(["a/x", "a/y"]), limit=st.just(2), job_id=job_ids
    ),
    step("queue.finish", job_id=job_ids, owner=owners, result=said),
    step("queue.hand_back", owner=owners, job_ids=st.none() | st.lists(job_ids)),
    step("queue.note", job_id=job_ids, owner=owners, progress=said),
    step("queue.cancel", job_id=job_ids, reason=names),
    step("queue.park", job_id=job_ids, owner=owners, error=names),
    step("queue.retry", job_id=job_ids),
    step("queue.reap", owner=owners, max_claims=st.integers(1, 3)),
    step("queue.get", job_id=job_ids),
    step("queue.place_of", job_id=job_ids),
    step("queue.find", owner=st.none() | owners, conversation_id=st.none() | ids),
    step("queue.find", statuses=st.lists(statuses), limit=st.integers(1, 9)),
)


async def append_next(store: Store, of: ConversationId, at: float) -> None:
    store.append(fact(await store.last_seq(of) + 1, of, at=at))


async def say(store: Store, of: ConversationId, text: str, ack: list[str]) -> None:
    await store.commit_turn(of, [UserMessage((Text(text),))], ack=[TaskId(each) for each in ack])


async def list_conversations(store: Store, user: str | None) -> list[ConversationRecord]:
    found: list[ConversationRecord] = []
    while page := await store.conversations(user=user, after=found[-1] if found else None, limit=2):
        found += page
    return found


async def list_questions(store: Store, open: bool | None) -> list[Record[Question]]:
    found: list[Record[Question]] = []
    after: Record[Question] | None = None
    while page := await store.find(QUESTION, open=open, after=after, limit=2):
        found += page
        after = page[-1]
    return found


async def done(store: Store, step: Step) -> object:
    """Do a step; returns what it answers, in a form that can be compared."""
    name, arguments = step
    match name:
        case "append_next" | "say" | "list_conversations" | "list_questions":
            answer = await globals()[name](store, **arguments)
        case _:
            answer = attrgetter(name)(store)(**arguments)
            answer = await cast("Awaitable[object]", answer) if isawaitable(answer) else answer
    found = list(cast("tuple[Any]", answer)) if isinstance(answer, tuple | list) else answer
    if name.startswith("queue."):
        return without_times(found)
    return sorted(cast("list[Any]", found)) if name in ("erase", "vacuum") else found


def without_times(found: Any) -> Any:
    """Jobs with a word for each time that stands in them."""
    match found:
        case list():
            return [without_times(each) for each in cast("list[Any]", found)]
        case StoredJob(claimed_at=claimed, ended_at=ended):
            was = replace(found, claimed_at=None, ended_at=None)
            return was, claimed is None, ended is None
        case _:
            return found


async def compare(path: Path, steps: list[Step]) -> None:
    model, store = MemoryStore(), sqlite_store(path)
    for each in steps:
        assert await done(store, each) == await done(model, each)
    await store.close()


@pytest.mark.slow
@settings(max_examples=60)
@given(steps=st.lists(steps, min_size=5, max_size=40))
def test_a_file_and_memory_give_the_same_answers(steps: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        VirtualClock(patience=HANG).run(compare(Path(folder) / "test.db", steps))

"""What every queue promises. A new store adds one line to the fixture `url`."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, cast

import pytest

from sidetask.core.errors import CodecError, ConfigurationError, InvalidInputError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.stores.base import Store
from sidetask.stores.memory.queue import MemoryQueue
from sidetask.stores.queue import LOST, NewJob, Queue, StoredJob
from tests.stores.samples import KEY, C, D, a_member, conversation, job, question

ME, OTHER = "worker-1", "worker-2"


@pytest.fixture
def queue(store: Store) -> Queue:
    return store.queue


async def stand(queue: Queue, id: str = "task-1:1") -> StoredJob:
    """The job, which is there."""
    found = await queue.get(id)
    assert found is not None
    return found


async def claimed(queue: Queue, **more: Any) -> StoredJob:
    """A job that is mine."""
    queue.enqueue(job(**more))
    return (await queue.claim(ME, [KEY], limit=1))[0]


def ids(jobs: Sequence[StoredJob]) -> list[str]:
    return [each.id for each in jobs]


# -- enqueue and claim -------------------------------------------------------------------------


async def test_a_job_comes_back_as_it_was(queue: Queue) -> None:
    given = job()
    queue.enqueue(given)
    found = await stand(queue)
    # All fields of a new job, and nothing that has become of it.
    assert found == StoredJob(**{each.name: getattr(given, each.name) for each in fields(NewJob)})
    assert (found.status, found.owner, found.claims, found.result) == ("queued", None, 0, None)
    assert await queue.get("unknown") is None


async def test_a_claim_makes_the_first_jobs_the_owners(queue: Queue) -> None:
    for id in ("b:1", "a:1", "c:1"):
        queue.enqueue(job(id))
    mine = await queue.claim(ME, [KEY], limit=2)
    assert ids(mine) == ["b:1", "a:1"]
    assert [(each.status, each.owner, each.claims) for each in mine] == [("running", ME, 1)] * 2
    assert all(each.claimed_at is not None for each in mine)
    assert list(mine) == [await stand(queue, id) for id in ("b:1", "a:1")]
    assert ids(await queue.claim(OTHER, [KEY], limit=2)) == ["c:1"]
    assert await queue.claim(OTHER, [KEY], limit=2) == []


async def test_only_keys_that_are_named_are_claimed(queue: Queue) -> None:
    queue.enqueue(job("a:1", key="agent/other"))
    queue.enqueue(job("b:1"))
    assert await queue.claim(ME, [], limit=9) == []
    assert await queue.claim(ME, ["agent/unknown"], limit=9) == []
    assert await queue.claim(ME, [KEY], limit=9, job_id="a:1") == []
    assert ids(await queue.claim(ME, [KEY], limit=9)) == ["b:1"]
    assert ids(await queue.claim(ME, [KEY, "agent/other"], limit=9)) == ["a:1"]


async def test_one_job_is_claimed_by_its_id_if_it_is_queued(queue: Queue) -> None:
    for id in ("a:1", "b:1"):
        queue.enqueue(job(id))
    assert ids(await queue.claim(ME, [KEY], limit=1, job_id="b:1")) == ["b:1"]
    assert await queue.claim(OTHER, [KEY], limit=1, job_id="b:1") == []
    assert await queue.claim(OTHER, [KEY], limit=1, job_id="unknown") == []


async def test_each_job_is_claimed_by_exactly_one_of_many(
    opened: Callable[[], Store], url: str
) -> None:
    stores = [opened() for _ in range(1 if url == "memory:" else 4)]
    for number in range(100):
        stores[0].queue.enqueue(job(f"{number}:1"))
    await stores[0].stored()
    got: list[str] = []

    async def work(queue: Queue, owner: str) -> None:
        while found := await queue.claim(owner, [KEY], limit=3):
            assert {each.owner for each in found} == {owner}
            got.extend(ids(found))

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(work(stores[number % len(stores)].queue, f"worker-{number}"))
    assert Counter(got) == Counter(f"{number}:1" for number in range(100))


async def test_a_job_is_enqueued_once_also_when_it_has_ended(queue: Queue) -> None:
    queue.enqueue(job())
    queue.enqueue(job(data={"later": True}))
    assert (await stand(queue)).data == job().data
    await queue.claim(ME, [KEY], limit=1)
    await queue.finish("task-1:1", ME, {"ok": 1})
    queue.enqueue(job())
    assert (await stand(queue)).status == "ended"
    assert await queue.claim(ME, [KEY], limit=9) == []


async def test_what_is_no_job_is_refused_at_once(queue: Queue) -> None:
    with pytest.raises(CodecError):
        queue.enqueue(job(data={"x": cast("Any", object())}))
    with pytest.raises(InvalidInputError, match="the key of a job"):
        queue.enqueue(job(key=""))
    with pytest.raises(InvalidInputError, match="one of fail, retry, ask"):
        queue.enqueue(job(on_crash="never"))
    mine = await claimed(queue)
    with pytest.raises(CodecError):
        queue.note(mine.id, ME, {"x": float("nan")})
    with pytest.raises(CodecError):
        await queue.finish(mine.id, ME, {"x": cast("Any", object())})
    assert await stand(queue) == mine


async def test_what_is_given_and_changed_later_is_kept_as_it_was(queue: Queue) -> None:
    data: dict[str, Any] = {"x": [1]}
    queue.enqueue(job(data=data))
    data["x"].append(2)
    assert (await stand(queue)).data == {"x": [1]}


# -- the owner's words -------------------------------------------------------------------------


async def test_its_owner_ends_a_job_once(queue: Queue) -> None:
    mine = await claimed(queue)
    assert not await queue.finish(mine.id, OTHER, {"by": "other"})
    assert await queue.finish(mine.id, ME, {"by": "me"})
    assert not await queue.finish(mine.id, ME, {"by": "me, again"})
    assert not await queue.finish("unknown", ME, {})
    found = await stand(queue)
    assert (found.status, found.owner, found.result) == ("ended", ME, {"by": "me"})
    assert found.ended_at is not None


async def test_progress_is_its_owners_while_it_works(queue: Queue) -> None:
    mine = await claimed(queue)
    queue.note(mine.id, OTHER, {"fraction": 0.9})
    queue.note(mine.id, ME, {"fraction": 0.1})
    queue.note(mine.id, ME, {"fraction": 0.5})
    queue.note("unknown", ME, {"fraction": 0.5})
    assert (await stand(queue)).progress == {"fraction": 0.5}
    await queue.finish(mine.id, ME, {})
    queue.note(mine.id, ME, {"fraction": 0.6})
    assert (await stand(queue)).progress == {"fraction": 0.5}


async def test_what_is_handed_back_was_never_claimed_and_keeps_its_place(queue: Queue) -> None:
    for id in ("a:1", "b:1", "c:1"):
        queue.enqueue(job(id))
    await queue.claim(ME, [KEY], limit=2)
    queue.note("a:1", ME, {"fraction": 0.5})
    assert await queue.hand_back(OTHER) == 0
    assert await queue.hand_back(ME, ["a:1", "c:1"]) == 1
    again = await stand(queue, "a:1")
    assert (again.status, again.owner, again.claims) == ("queued", None, 0)
    assert (again.claimed_at, again.progress) == (None, None)
    assert not await queue.finish("a:1", ME, {})
    assert ids(await queue.claim(OTHER, [KEY], limit=9)) == ["a:1", "c:1"]
    assert await queue.hand_back(ME) == 1
    assert await queue.hand_back(ME) == 0
    assert (await stand(queue, "b:1")).status == "queued"


async def test_a_parked_job_waits_for_a_person(queue: Queue) -> None:
    mine = await claimed(queue)
    assert not await queue.park(mine.id, OTHER, "why")
    assert await queue.park(mine.id, ME, "its arguments fit no more")
    found = await stand(queue)
    assert (found.status, found.error) == ("parked", "its arguments fit no more")
    assert await queue.claim(ME, [KEY], limit=1) == []
    assert not await queue.finish(mine.id, ME, {})
    assert not await queue.park(mine.id, ME, "again")
    back = await queue.retry(mine.id)
    assert back is not None
    assert back == await stand(queue)
    assert (back.status, back.error, back.claims, back.owner) == ("queued", None, 0, None)
    assert await queue.retry(mine.id) == back
    assert await queue.retry("unknown") is None


# -- cancel ------------------------------------------------------------------------------------


async def test_a_cancelled_job_is_never_claimed(queue: Queue) -> None:
    queue.enqueue(job())
    gone = await queue.cancel("task-1:1", "not needed")
    assert gone is not None
    assert gone == await stand(queue)
    assert (gone.status, gone.error) == ("cancelled", "not needed")
    assert gone.ended_at is not None
    assert await queue.claim(ME, [KEY], limit=1) == []
    assert await queue.claim(ME, [KEY], limit=1, job_id=gone.id) == []
    assert await queue.cancel("task-1:1", "again") == gone
    assert await queue.retry("task-1:1") == gone
    assert await queue.cancel("unknown") is None


async def test_a_running_job_is_asked_to_end_and_its_owner_says_how_it_did(queue: Queue) -> None:
    mine = await claimed(queue)
    asked = await queue.cancel(mine.id, "stop")
    assert asked is not None
    assert (asked.status, asked.owner, asked.error) == ("cancelling", ME, "stop")
    assert await queue.cancel(mine.id, "stop!") == asked
    queue.note(mine.id, ME, {"note": "cleaning up"})
    assert not await queue.finish(mine.id, OTHER, {})
    assert await queue.finish(mine.id, ME, {"type": "Cancelled"})
    found = await stand(queue)
    assert (found.status, found.result) == ("ended", {"type": "Cancelled"})
    assert await queue.cancel(mine.id) == found


@pytest.mark.parametrize("how", ["hand_back", "park", "reap"])
async def test_what_was_to_be_cancelled_is_when_its_owner_is_done_with_it(
    queue: Queue, how: str
) -> None:
    mine = await claimed(queue)
    await queue.cancel(mine.id, "stop")
    match how:
        case "hand_back":
            assert await queue.hand_back(ME) == 1
        case "park":
            assert await queue.park(mine.id, ME, "broken")
        case _:
            assert ids(await queue.reap(ME)) == [mine.id]
    found = await stand(queue)
    assert (found.status, found.error, found.result) == ("cancelled", "stop", None)
    assert not await queue.finish(mine.id, ME, {})


async def test_a_parked_job_may_be_cancelled(queue: Queue) -> None:
    mine = await claimed(queue)
    await queue.park(mine.id, ME, "broken")
    gone = await queue.cancel(mine.id, "not needed")
    assert gone is not None
    assert (gone.status, gone.error) == ("cancelled", "not needed")


# -- reap --------------------------------------------------------------------------------------


async def test_a_dead_owners_jobs_become_what_their_on_crash_says(queue: Queue) -> None:
    for word in ("retry", "fail", "ask"):
        queue.enqueue(job(f"{word}:1", on_crash=word))
    queue.enqueue(job("theirs:1"))
    await queue.claim(ME, [KEY], limit=3)
    await queue.claim(OTHER, [KEY], limit=1)
    done = await queue.reap(ME)
    assert [(each.id, each.status, each.result) for each in done] == [
        ("retry:1", "queued", None),
        ("fail:1", "ended", LOST),
        ("ask:1", "ended", LOST),
    ]
    assert list(done) == [await stand(queue, each.id) for each in done]
    assert (await stand(queue, "theirs:1")).status == "running"
    for each in done:
        assert not await queue.finish(each.id, ME, {"late": True})
    assert await queue.reap(ME) == []


async def test_a_job_that_kills_its_owners_is_parked(queue: Queue) -> None:
    queue.enqueue(job())
    for turn in range(3):
        assert [each.claims for each in await queue.claim(ME, [KEY], limit=1)] == [turn + 1]
        await queue.hand_back(ME)  # which is no death
        await queue.claim(f"worker-{turn}", [KEY], limit=1)
        await queue.reap(f"worker-{turn}", max_claims=3)
    done = await stand(queue)
    assert (done.status, done.error) == ("parked", "claimed 3 times by workers that died")
    await queue.retry(done.id)
    assert [each.claims for each in await queue.claim(ME, [KEY], limit=1)] == [1]


# -- looking -----------------------------------------------------------------------------------


async def test_jobs_are_found_by_what_they_are_in_the_order_they_came(queue: Queue) -> None:
    for id, of in (("z:1", C), ("a:1", D), ("b:1", C), ("a:2", D)):
        queue.enqueue(job(id, of))
    await queue.claim(ME, [KEY], limit=2)
    assert ids(await queue.find()) == ["z:1", "a:1", "b:1", "a:2"]
    assert ids(await queue.find(limit=2)) == ["z:1", "a:1"]
    assert ids(await queue.find(conversation_id=C)) == ["z:1", "b:1"]
    assert ids(await queue.find(task_id=TaskId("a"))) == ["a:1", "a:2"]
    assert ids(await queue.find(owner=ME)) == ["z:1", "a:1"]
    assert ids(await queue.find(statuses=["queued", "parked"])) == ["b:1", "a:2"]
    assert ids(await queue.find(owner=ME, conversation_id=D, statuses=["running"])) == ["a:1"]
    assert ids(await queue.find(keys=["other", KEY], limit=1)) == ["z:1"]
    assert list(await queue.find(keys=["other"])) == []
    assert list(await queue.find(owner=OTHER)) == []


async def test_a_queued_job_has_a_place(queue: Queue) -> None:
    for id in ("a:1", "b:1", "c:1"):
        queue.enqueue(job(id, key=id))
    assert [await queue.place_of(id) for id in ("a:1", "b:1", "c:1")] == [0, 1, 2]
    await queue.claim(ME, ["b:1"], limit=1)
    assert [await queue.place_of(id) for id in ("a:1", "b:1", "c:1")] == [0, None, 1]
    await queue.hand_back(ME)
    assert [await queue.place_of(id) for id in ("b:1", "c:1", "unknown")] == [1, 2, None]


# -- with their conversation -------------------------------------------------------------------


async def test_a_conversation_takes_its_jobs_along(store: Store) -> None:
    for id, user in ((C, "ana"), (D, "bob")):
        store.save(conversation(id, user=user))
        store.queue.enqueue(job(f"{id}:1", id))
    await store.queue.claim(ME, [KEY], limit=1)
    await store.delete(C)
    assert await store.queue.get("c:1") is None
    assert not await store.queue.finish("c:1", ME, {})
    assert ids(await store.queue.find()) == ["d:1"]
    await store.erase("bob")
    assert list(await store.queue.find()) == []


async def test_vacuum_takes_jobs_that_are_over_and_not_what_somebody_waits_for(
    store: Store,
) -> None:
    queue = store.queue
    for id, at in (("old", 1.0), ("waits", 1.0), ("new", 9e9)):
        store.save(conversation(id, at=at))
        for task in (f"{id}-done", f"{id}-asked"):
            queue.enqueue(job(f"{task}:1", ConversationId(id)))
    queue.enqueue(job("parked:1", ConversationId("waits")))
    for each in await queue.claim(ME, [KEY], limit=9):
        done = queue.park if each.id == "parked:1" else queue.finish
        assert await done(each.id, ME, cast("Any", "why" if done == queue.park else {}))
    store.put(question("new-asked", conversation=ConversationId("new")))
    assert list(await store.vacuum(8e9)) == ["old"]
    assert ids(await queue.find()) == ["new-asked:1", "parked:1"]


async def test_a_queue_in_memory_keeps_what_is_not_over_and_the_last_that_is() -> None:
    queue = MemoryQueue(kept=2)
    for number in range(5):
        queue.enqueue(job(f"{number}:1"))
    for each in await queue.claim(ME, [KEY], limit=4):
        await queue.finish(each.id, ME, {})
    assert ids(await queue.find()) == ["2:1", "3:1", "4:1"]


async def test_who_shares_a_queue_in_memory_hears_of_every_change() -> None:
    queue, heard = MemoryQueue(), list[str | None]()
    end = queue.listen(heard.append)
    queue.enqueue(job())
    assert heard == []  # in the loop, and not inside of who has changed it
    await asyncio.sleep(0)
    assert heard == ["task-1:1"]
    end()
    await queue.cancel("task-1:1")
    await asyncio.sleep(0)
    assert heard == ["task-1:1"]


# -- members -----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
async def test_a_store_that_cannot_tell_who_lives_says_so(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="'postgresql://"):
        await store.members.join(a_member(ME))
    assert list(await store.members.living()) == []

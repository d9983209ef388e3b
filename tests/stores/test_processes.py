"""Several processes on one database; and one that is killed."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from time import monotonic

import pytest

from sidetask.core.ids import ConversationId
from sidetask.core.messages import user_message
from sidetask.stores.base import Store, follow
from sidetask.stores.bounds import MAX_NAME
from sidetask.tasks.stored import RESULTS
from tests.limits import HANG
from tests.stores.conftest import DATABASES
from tests.stores.samples import KEY, QUESTION, C, D, entry, fact, job, question

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("url", DATABASES, indirect=True)]


@pytest.fixture
def anyio_backend() -> str:
    """Other processes have no virtual clock."""
    return "asyncio"


@asynccontextmanager
async def running(url: str, *command: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.stores.writer", url, *command, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(HANG):
        return (await process.stdout.readline()).decode().strip()


async def lines(process: Process) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(HANG):
        return (await process.stdout.read()).decode().split("\n")[:-1]


async def test_what_one_process_appends_another_reads_once_and_in_order(
    url: str, opened: Callable[[], Store]
) -> None:
    store = opened()
    await store.start()
    seen: list[int] = []
    async with asyncio.timeout(HANG), follow(store, C) as facts, running(url, "append"):
        async for found in facts:
            seen.append(found.seq)
            if found.seq == 200:
                break
    assert seen == list(range(1, 201))


async def test_a_follower_hears_within_a_second(url: str, opened: Callable[[], Store]) -> None:
    store = opened()
    await store.start()
    took: list[float] = []
    async with running(url, "hear") as process:
        assert await line(process) == "ready"
        for seq in range(1, 6):
            store.append(fact(seq))
            await store.stored()
            began = monotonic()
            assert await line(process) == str(seq)
            took.append(monotonic() - began)
    assert min(took) < 1  # a machine that stalls does so once


async def test_a_listener_is_told_of_others_and_not_of_itself(
    url: str, opened: Callable[[], Store]
) -> None:
    mine, other = opened(), opened()
    heard: list[ConversationId | None] = []
    news = asyncio.Event()

    def hear(which: ConversationId | None) -> None:
        heard.append(which)
        news.set()

    async def next_news() -> None:
        async with asyncio.timeout(HANG):
            await news.wait()
        news.clear()

    await mine.start()
    await other.start()
    end = mine.listen(hear)
    await next_news()
    assert heard == [None]  # what was before it listened
    also: list[ConversationId | None] = []
    end_also = mine.listen(also.append)
    assert also == [None]
    mine.append(fact(1))
    await mine.stored()
    other.put(question("q", conversation=D))
    await next_news()
    assert heard == also == [None, D]
    end_also()
    end()
    other.append(fact(1, D))
    await other.stored()
    again = mine.listen(hear)
    await next_news()
    assert heard == [None, D, None]
    again()


async def test_the_longest_name_of_four_byte_letters_is_told_to_others(
    opened: Callable[[], Store],
) -> None:
    mine, other = opened(), opened()
    await mine.start()
    await other.start()
    heard: set[ConversationId | None] = set()
    news = asyncio.Event()

    def hear(which: ConversationId | None) -> None:
        heard.add(which)
        news.set()

    end = mine.listen(hear)
    names = [ConversationId("\N{OWL}" * MAX_NAME), ConversationId("short")]
    async with asyncio.timeout(HANG):
        await news.wait()  # from now on it is told of each
        for each in names:
            other.append(fact(1, each))
        await other.stored()
        while not {None, *names} <= heard:
            news.clear()
            await news.wait()
    end()


class News:
    """What two listeners hear: one of jobs, and one of conversations."""

    def __init__(self, store: Store) -> None:
        self._heard: list[tuple[str, str | None]] = []
        self._more = asyncio.Event()
        self.ends = [
            store.queue.listen(lambda which: self._hear("job", which)),
            store.listen(lambda which: self._hear("conversation", which)),
        ]

    def _hear(self, sort: str, which: str | None) -> None:
        self._heard.append((sort, which))
        self._more.set()

    async def are(self, *expected: tuple[str, str | None]) -> None:
        async with asyncio.timeout(HANG):
            while len(self._heard) < len(expected):
                self._more.clear()
                await self._more.wait()
        assert sorted(self._heard, key=str) == sorted(expected, key=str)
        self._heard.clear()


async def test_news_of_jobs_and_of_conversations_go_to_those_who_want_them(
    url: str, opened: Callable[[], Store]
) -> None:
    mine, other = opened(), opened()
    await mine.start()
    news = News(mine)
    first = ("conversation", None), ("job", None), ("conversation", None)
    await news.are(*first)  # what was before they listened; the second one joins in
    mine.queue.enqueue(job())
    await mine.stored()
    await other.queue.claim("w", [KEY], limit=1)
    await news.are(("job", "task-1:1"))
    other.queue.note("task-1:1", "w", {"fraction": 0.5})
    await other.stored()
    await news.are(("job", "task-1:1"))
    other.put(question("q"))
    await other.stored()
    await news.are(("conversation", C))
    other.save_state(C, [entry("app:x", 1)])
    await other.stored()
    await news.are(("conversation", "app:"))
    assert await other.queue.claim("w", [KEY], limit=1) == []
    await other.queue.retry("task-1:1")
    assert not await other.queue.finish("task-1:1", "nobody", {})
    await other.queue.finish("task-1:1", "w", {})  # all that changed nothing was not told
    await news.are(("job", "task-1:1"))
    await other.delete(C)
    await news.are(("conversation", None), ("job", None))
    for end in news.ends:
        end()


async def test_a_killed_process_has_enqueued_what_it_wrote_beside_it_and_nothing_else(
    url: str, opened: Callable[[], Store]
) -> None:
    async with running(url, "enqueue") as process:
        while await line(process) != "50":
            pass
        process.kill()
    store = opened()
    questions = await store.find(QUESTION, limit=100_000)
    jobs = await store.queue.find(limit=100_000)
    assert [each.id for each in jobs] == [f"{each.id}:1" for each in questions]
    assert len(jobs) >= 50


async def test_of_two_processes_that_decide_one_does(url: str, opened: Callable[[], Store]) -> None:
    store = opened()
    for number in range(50):
        store.put(question(f"q{number}"))
    await store.stored()
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(running(url, "decide", who)) for who in ("ana", "bob")
        ]
        ana, bob = [await lines(process) for process in both]
    assert [sorted(pair) for pair in zip(ana, bob, strict=True)] == [["mine", "theirs"]] * 50
    decided = await store.find(QUESTION, open=False)
    assert [each.value.decided_by for each in decided] == [
        "ana" if word == "mine" else "bob" for word in ana
    ]


@pytest.mark.parametrize("number", range(3))
async def test_what_was_stored_survives_a_kill_and_no_turn_is_half_written(
    url: str, opened: Callable[[], Store], number: int
) -> None:
    facts = turns = 0
    for _ in range(3):  # the next process goes on where this one is killed
        until = facts + Random(number).randrange(20, 60)
        async with running(url, "turns") as process:
            while facts < until:
                facts, turns = heard(await line(process), facts, turns)
            process.kill()
            for said in await lines(process):
                facts, turns = heard(said, facts, turns)
        store = opened()
        kept = [each.seq for each in await store.facts(C)]
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) in (facts, facts + 1)
        history = list(await store.history(C))
        assert history == [user_message(f"{1 + at // 2}") for at in range(len(history))]
        assert len(history) in (2 * turns, 2 * turns + 2)
        # A result waits if, and only if, its turn is not part of the history.
        waiting = [each.id for each in await store.find(RESULTS, open=True, limit=1000)]
        assert waiting == [f"task-{each}" for each in range(len(history) // 2 + 1, len(kept) + 1)]
        facts, turns = len(kept), len(history) // 2
        await store.close()


def heard(said: str, facts: int, turns: int) -> tuple[int, int]:
    """What is known to be stored after a line of the writer's."""
    match said.split():
        case ["fact", number]:
            return int(number), turns
        case ["turn", number]:
            return facts, int(number)
        case _:  # cut off by the kill
            return facts, turns

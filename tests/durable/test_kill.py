"""A program is killed at any moment, again and again, and its successor goes on."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sidetask.client import Client
from sidetask.core.messages import NotificationMessage
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import RESULTS, TASKS
from tests.durable.limits import HANG
from tests.durable.program import STEPS, TASK_COUNT, C

pytestmark = pytest.mark.durable

KILLS = int(os.environ.get("SIDETASK_KILLS", "5"))
"""How often a program is killed; `make soak` says 100."""


async def life(url: str, log: Path, engine: str, *, killed_after: float | None) -> bool:
    """Run the program; True if it came to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.durable.program",
        url,
        str(log),
        engine,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(HANG):
        assert await process.stdout.readline() == b"ready\n"
    try:
        async with asyncio.timeout(HANG if killed_after is None else killed_after):
            said = await process.stdout.read()
    except TimeoutError:
        with suppress(ProcessLookupError):  # it may just have ended
            process.kill()
        said = await process.stdout.read()
    await process.wait()
    return said == b"done\n"


def read(log: Path) -> tuple[set[tuple[str, str]], Counter[str]]:
    """The steps that finished, and how often was paid for each task."""
    finished: set[tuple[str, str]] = set()
    paid: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        match line.split():
            case ["finished", task_id, number]:
                finished.add((task_id, number))
            case ["began", task_id, number]:
                assert (task_id, number) not in finished, "a finished step ran again"
            case [_, task_id]:
                paid[task_id] += 1
            case _:
                raise AssertionError(line)
    assert set(paid.values()) <= {1}, "what must not run twice ran twice"
    return finished, paid


async def check(url: str, log: Path) -> Counter[str]:
    """All promises, after the program has come to its end. Returns how the tasks ended."""
    store = open_store(url)
    rows = [row.value for row in await store.find(TASKS, conversation_id=C, limit=1000)]
    assert sorted(row.call_ids[0] for row in rows) == sorted(
        [f"call-{number}" for number in range(TASK_COUNT)]
    )
    assert [row.id for row in rows if row.status not in ("succeeded", "failed")] == []
    assert list(await store.find(RESULTS, conversation_id=C, open=True)) == []
    told = [
        item
        for message in await store.history(C)
        if isinstance(message, NotificationMessage)
        for item in message.items
    ]
    assert sorted(item.task_id for item in told) == sorted(row.id for row in rows), "each once"
    await store.close()
    finished, paid = read(log)
    by_id = {row.id: row for row in rows}
    for item in told:
        row = by_id[item.task_id]
        assert item.status == row.status
        if row.name == "work":
            assert row.status == "succeeded"
            assert {(row.id, str(number)) for number in range(STEPS)} <= finished
        elif row.status == "failed":
            assert "outcome is unknown" in item.content
        else:
            assert paid[row.id] == 1
    return Counter(row.status for row in rows)


@pytest.mark.parametrize(("engine", "longest"), [("stored", 0.15), ("dbos", 0.8)])
async def test_every_task_ends_once_however_often_the_program_is_killed(
    new_url: Callable[[], str], tmp_path: Path, engine: str, longest: float
) -> None:
    dice = random.Random(os.environ.get("SIDETASK_DICE", "1"))
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        url, log = new_url(), tmp_path / f"{rounds}.log"
        while kills < KILLS:
            if await life(url, log, engine, killed_after=dice.uniform(0, longest)):
                break
            kills += 1
        assert await life(url, log, engine, killed_after=None)
        print(f"round {rounds}, {kills} kills: {await check(url, log)}")


async def test_a_conversation_whose_process_was_killed_in_a_turn_goes_on(
    new_url: Callable[[], str], tmp_path: Path
) -> None:
    url, log = new_url(), tmp_path / "log"
    lives = [await conversation(url, log, "first")]
    async with Client(url) as client:  # another process, which has none of its code
        [asked] = await client.approvals(status="open")
        assert (asked.tool, asked.conversation_id) == ("send", "mine")
    lives += [await conversation(url, log, life) for life in ("second", "third")]
    assert [code for code, _ in lives] == [-signal.SIGKILL, 0, 0]
    told = lives[1][1]
    assert [line.split()[1] for line in told if line.startswith("answer")] == [
        "report",
        "pay",
        "send",
        "die",
    ]
    assert "Not answered: the process ended during the call" in told[3]
    assert all("Its result will follow by itself" in line for line in told[:3])
    assert sorted(line.split()[1:3] for line in told if line.startswith("told")) == [
        ["pay", "failed"],
        ["report", "succeeded"],
        ["send", "succeeded"],
    ]
    assert lives[2][1] == told, "nothing is told again"
    done = log.read_text().splitlines()
    assert sorted(line for line in done if line.startswith("began")) == [
        "began read",
        "began write",
    ]
    assert len({line for line in done if line.startswith("key")}) == 1
    assert sum(line.startswith("paid") for line in done) == 1
    assert sum(line.startswith("sent") for line in done) == 1


async def conversation(url: str, log: Path, life: str) -> tuple[int | None, list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.durable.agent_program", url, str(log), life),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANG):
        said, _ = await process.communicate()
    return process.returncode, said.decode().splitlines()

"""Branches that are child tasks, with steps of their own, on each engine and database."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.durable.limits import HANG

pytestmark = pytest.mark.durable


async def live(url: str, engine: str, log: Path, life: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.durable.branching", url, engine, str(log), life),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANG):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("engine", ["stored", "dbos"])
async def test_parallel_branches_go_on_where_each_of_them_was(
    new_url: Callable[[], str], tmp_path: Path, engine: str
) -> None:
    url, log = new_url(), tmp_path / "log"
    assert await live(url, engine, log, "first") == (-signal.SIGKILL, "")
    told = (0, "succeeded one-ends, two-ends, three-ends\n")
    assert await live(url, engine, log, "second") == told
    assert await live(url, engine, log, "third") == told, "nothing is told or done again"
    lines = log.read_text().splitlines()
    ways = ("one", "two", "three")
    did = [f"did {way}-{what}" for way in ways for what in ("begins", "ends")]
    assert sorted(line for line in lines if line.startswith("did")) == sorted(
        [*did, "did first", "did meanwhile"]
    )
    keys = [line for line in lines if line.startswith("key")]
    assert (len(keys), len(set(keys))) == (6, 3), "a retried branch has the key that it had"

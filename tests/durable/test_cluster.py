"""The program of the page about clusters, with a worker, on a Postgres."""

import asyncio
import sys
from pathlib import Path

import pytest

from sidetask.client import Client, Ended
from tests.durable.limits import HANG
from tests.durable.test_workers import complaints
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres]

FOLDER = Path(__file__).parents[2] / "docs_src" / "cluster"
SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()")


async def start(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def test_what_runs_on_a_laptop_runs_on_workers_by_its_url_alone(server: str) -> None:
    url = new_database(server)
    worker = await start(*SIDETASK, "worker", "--app", "program:runtime", "--store", url)
    assert worker.stdout is not None
    async with asyncio.timeout(HANG):
        greeting = (await worker.stdout.readline()).decode()
        assert "clerk/report" in greeting
        program = await start(sys.executable, "program.py", url)
        out, err = await program.communicate()
    assert (program.returncode, err.decode()) == (0, "")
    *where, july, june, may = out.decode().splitlines()
    assert [line.endswith(" on a worker") for line in where] == [True] * 3
    assert [july, june, may] == ["July: 40 sold", "June: 40 sold", "May: 30 sold"]
    async with Client(url) as client:
        [found] = await client.workers()
        assert (found.member.pid, found.running) == (worker.pid, 0)
        for task in await client.tasks(status=None):
            why = await client.why(task.id)
            assert isinstance(why, Ended)
            assert why.is_taken
    worker.terminate()
    async with asyncio.timeout(HANG):
        out, err = await worker.communicate()
    assert (worker.returncode, complaints(err)) == (0, "")
    assert "left: 3 succeeded" in out.decode()

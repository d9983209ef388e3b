"""A worker that stops for a while, and comes back to a world that takes it for dead."""

import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.durable import worker_app as app
from tests.durable.limits import AGES
from tests.durable.test_workers import Program, Stage
from tests.durable.waiting import until
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres]


@pytest.fixture
async def stage(server: str, tmp_path: Path) -> AsyncGenerator[Stage]:
    stage = Stage(new_database(server), tmp_path / "log")
    yield stage
    for process in stage.programs:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    await stage.store.close()


def cut_off(stage: Stage, worker: Program) -> None:
    """Its machine is off the net: the server ends its connections."""
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    [place] = [
        place
        for place, id in rows(stage, "SELECT place, id FROM sidetask.members")
        if f"-{worker.process.pid}-" in id
    ]
    with psycopg.connect(stage.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND objid = %s",
            (place,),
        )


def rows(stage: Stage, sql: str) -> list[tuple[int, str]]:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    with psycopg.connect(stage.url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


async def test_a_worker_that_was_taken_for_dead_ends_nothing_and_stops(stage: Stage) -> None:
    zombie = await stage.worker("--concurrency", "20", HELD="step 0,pay")
    again = [stage.enqueue(app.work, f"work-{n}", number=n) for n in range(4)]
    once = [stage.enqueue(app.pay, f"pay-{n}", number=n) for n in range(4)]
    await stage.until(4, "paid")
    await stage.until(4, "began")
    zombie.send(signal.SIGSTOP)
    had_done = done_by(stage, zombie)
    cut_off(stage, zombie)
    survivor = await stage.worker("--concurrency", "20")
    ends = [await stage.over(job) for job in [*again, *once]]
    assert [job.owner for job in ends[:4]] == [survivor.greeting.split()[1].rstrip(":")] * 4
    assert [job.result for job in ends[4:]] == [{"lost": True}] * 4
    zombie.send(signal.SIGCONT)
    code, _, err = await zombie.ends()
    assert (code, "start it again" in err) == (1, True)
    assert [await stage.store.queue.get(job) for job in [*again, *once]] == ends
    assert done_by(stage, zombie) == had_done
    assert len(stage.check_nothing_twice()) == 4


def done_by(stage: Stage, worker: Program) -> list[list[str]]:
    return [words for _, who, words in stage.lines() if who == worker.process.pid]


async def test_a_third_signal_ends_a_worker_whose_database_answers_nothing(stage: Stage) -> None:
    worker = await stage.worker()
    stage.enqueue(app.wait, "stays", seconds=AGES)
    await stage.until(1, "waits")
    found = rows(stage, "SELECT pid, '' FROM pg_stat_activity WHERE application_name = 'sidetask'")
    for pid, _ in found:
        os.kill(pid, signal.SIGSTOP)
    try:
        worker.send(signal.SIGTERM)
        await worker.says("draining:")  # two that come at once are one
        worker.send(signal.SIGTERM)
        await until(lambda: not catches(worker, signal.SIGTERM))
        worker.send(signal.SIGTERM)
        code, *_ = await worker.ends()
        assert code == -signal.SIGTERM
    finally:
        for pid, _ in found:
            os.kill(pid, signal.SIGCONT)


def catches(worker: Program, signum: signal.Signals) -> bool:
    """Whether a signal is the program's own to carry out, and not the system's."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (signum - 1) & 1)

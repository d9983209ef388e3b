"""What a task waits for, in words; and the commands that look after work."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidetask.cli.kept.telling import lines_of
from sidetask.client import (
    Asking,
    AtHome,
    ClosedGate,
    Ended,
    Held,
    Home,
    Parked,
    Queued,
    Running,
    Standing,
    Stopping,
    Untold,
    Why,
    Worker,
)
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import TaskPolicy
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import Order, task_record
from sidetask.tasks.values import Progress
from tests.cli.test_cli_main import Capture, ran
from tests.client.rows import KEY, NOW, C, T, a_job, a_member, a_task, an_approval

RUNNING = a_task()
HOME = Home()
ALL: dict[str, Any] = {"task": RUNNING, "home": HOME}
WORKER = Worker(member=a_member(), running=0)
BUSY = Worker(member=a_member("worker-2"), running=1)
DRAINING = Worker(member=a_member("worker-3", draining=True), running=0)


def told(why: Why) -> str:
    return "\n".join(lines_of(why, NOW))


def queued(*workers: Worker, **more: Any) -> Queued:
    known: dict[str, Any] = {
        "task": RUNNING,
        "home": HOME,
        "key": KEY,
        "since": NOW,
        "place": 0,
        **more,
    }
    return Queued(workers=workers, **known)


def running(**more: Any) -> Running:
    known: dict[str, Any] = {
        "task": RUNNING,
        "home": HOME,
        "since": NOW,
        "claims": 1,
        "owner": "worker-1",
    }
    known |= {"member": a_member(), **more}
    return Running(**known)


def at_home(**more: Any) -> AtHome:
    known: dict[str, Any] = {**ALL, "gates": (), **more}
    return AtHome(**known)


SAID: list[tuple[Why, tuple[str, ...]]] = [
    (
        Ended(task=a_task(TaskStatus.FAILED, error="no paper"), home=HOME, is_taken=False),
        ("task-1 report: failed at", ": no paper\n", "its result waits to be taken"),
    ),
    (
        Asking(task=RUNNING, home=HOME, approvals=(an_approval(),)),
        (
            "waits for a person\napproval-1 asks since",
            ": it costs money",
            "report(month='May')",
            "sidetask approve approval-1",
        ),
    ),
    (
        Asking(task=RUNNING, home=HOME, approvals=()),
        ("is answered, and has not gone on yet", "'chat-1' is resumed"),
    ),
    (
        Held(
            task=a_task(TaskStatus.QUEUED, policy=TaskPolicy(cap=2)), home=HOME, running=2, gates=()
        ),
        ("queued where its conversation is open", "at most 2 run at once", "and 2 run"),
    ),
    (
        Held(task=RUNNING, home=HOME, running=1, gates=()),
        ("no cap of its own", "it goes on when 'chat-1' is resumed"),
    ),
    (
        at_home(
            task=a_task(progress=Progress(None, "page 3")),
            home=Home(member=a_member("home-1"), standing=Standing.OPEN),
            gates=(ClosedGate(key="0123456789", opens_at=NOW),),
        ),
        (
            ": page 3\n",
            "is open in home-1 (pid 7 on h)",
            "the API key 01234567 is parked until",
        ),
    ),
    (queued(), ("the next one", "no living worker knows clerk/report: start one", "is resumed")),
    (queued(WORKER, place=2), ("2 before it", "1 worker, with room for it")),
    (queued(BUSY, claims=1), ("1 worker, busy", "a process has died of it; after 3")),
    (queued(claims=2), ("2 processes have died of it",)),
    (queued(BUSY, BUSY), ("2 workers, all of them busy",)),
    (queued(BUSY, WORKER, DRAINING), ("2 workers, 1 busy",)),
    (queued(DRAINING), ("1 worker, all of which are draining",)),
    (queued(WORKER, others=("worker-1",)), ("1 of them have another release of the tool",)),
    (
        running(note="half", claims=2, questions=("go on?",)),
        (
            "running on worker worker-1 (pid 7 on h) since",
            ": half\n",
            "it was begun 2 times",
            "asks: 'go on?'",
        ),
    ),
    (at_home(home=Home(standing=Standing.NOWHERE)), ("open nowhere: a worker that has its agent",)),
    (at_home(home=Home(standing=Standing.STUCK)), ("workers have died of its conversation",)),
    (at_home(home=Home(standing=Standing.BELOW)), ("part of another one",)),
    (running(member=None), ("running on worker-1 since", "lives no more")),
    (
        Stopping(
            task=RUNNING,
            home=HOME,
            since=NOW,
            claims=1,
            owner="w",
            member=None,
            reason="not needed",
        ),
        ("being stopped on w (not needed)", "gets 5 s to clean up"),
    ),
    (
        Parked(task=RUNNING, home=HOME, error="3 have died", claims=3),
        ("parked: 3 have died", "sidetask retry task-1", "sidetask cancel task-1"),
    ),
    (
        Untold(task=RUNNING, home=HOME, since=NOW, ordered=Order(kind="cancel", by="ana")),
        ("its worker was done at", "not told yet", "ana has asked for its end"),
    ),
]


@pytest.mark.parametrize(("why", "parts"), SAID)
def test_what_a_task_waits_for_is_told_in_plain_lines(why: Why, parts: tuple[str, ...]) -> None:
    text = told(why)
    assert [part for part in parts if part not in text] == [], text
    assert text.startswith("task-1 report: ")


def test_a_time_long_ago_has_its_date() -> None:
    assert "1970-01-" in lines_of(running(), NOW + 100_000)[0]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One with a parked task and one that runs at home."""
    url = f"sqlite:///{tmp_path / 'test.db'}"

    async def fill() -> None:
        store = open_store(url)
        store.queue.enqueue(a_job())
        store.put(task_record(a_task(job="task-1:1")))
        store.put(task_record(a_task(id="task-2", name="\x1b[31mred")))
        await store.stored()
        await store.queue.claim("w", [KEY], limit=1)
        await store.queue.park("task-1:1", "w", "claimed 3 times by workers that died")
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("SIDETASK_STORE", url)
    return url


def test_what_is_parked_is_found_explained_and_put_back(store: str, capsys: Capture) -> None:
    assert ran("tasks") == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        [T, "running", "parked"],
        ["task-2", "running", "home"],
    ]
    assert ran("tasks", "--parked", "-c", C) == 0
    assert capsys.readouterr().out.startswith("task-1  claimed 3 times by workers that died ")
    assert ran("tasks", "--parked", "--json", "--store", store) == 0
    assert json.loads(capsys.readouterr().out)["task"]["id"] == T
    assert ran("why", T) == 0
    assert "  to let workers try again: sidetask retry task-1\n" in capsys.readouterr().out
    assert ran("why", T, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["claims"]) == ("parked", 1)
    assert ran("retry", T) == 0
    assert ran("retry", T) == 2
    assert "task-1 is not parked: its job is queued" in capsys.readouterr().err
    assert ran("why", T) == 0
    assert "no living worker knows clerk/report" in capsys.readouterr().out


def test_what_cannot_be_told_is_said_so(store: str, capsys: Capture) -> None:
    assert ran("why", "task-0") == 2
    assert "no task 'task-0'" in capsys.readouterr().err
    assert ran("retry", "task-2") == 2
    assert "no worker's to carry out" in capsys.readouterr().err
    assert ran("why", "task-2") == 0
    assert capsys.readouterr().out.startswith("task-2 red: running where its conversation is open")
    assert ran("workers") == 0
    assert capsys.readouterr().out == ""

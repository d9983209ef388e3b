"""What must hold of a round when it is over, however often its processes were killed."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sidetask.core.events import TaskEnded
from sidetask.core.ids import ConversationId
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    Notification,
    NotificationMessage,
    ToolMessage,
)
from sidetask.stores.base import Store
from sidetask.tasks.stored import APPROVALS, RESULTS, TASKS
from sidetask.tasks.values import Decision, TaskSnapshot
from tests.durable.soak.app import KINDS, calls
from tests.runtime.harness import assert_valid

ALL = 1000
Line: TypeAlias = tuple[float, int, list[str]]
"""When, in which process, what: the round, and what was done."""
Zombies: TypeAlias = Mapping[int, float]
"""Processes that were frozen until others had taken over, and since when."""


def is_denied(number: object) -> bool:
    """How a person decides, whoever asks and however often."""
    return int(str(number)) % 3 == 0


@dataclass
class Verdict:
    """What was found of a round."""

    violations: list[str] = field(default_factory=list[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    asked: int = 0

    def expect(self, holds: bool, what: object) -> None:
        if not holds:
            self.violations.append(str(what))


async def judge(store: Store, run: str, lines: Sequence[Line], zombies: Zombies) -> Verdict:
    """Look for whatever a round has lost, or done twice."""
    verdict, key = Verdict(), ConversationId(run)
    await check_store(store, key, verdict)
    history = await store.history(key)
    rows = [row.value for row in await store.find(TASKS, conversation_id=key, limit=ALL)]
    tasks = {str(row.call_ids[0]): row for row in rows if row.parent_id is None}
    told = check_history(history, tasks, run, verdict)
    paid = check_log(lines, zombies, verdict)
    for task in tasks.values():
        if task.id in told:
            check_end(task, told[task.id], paid, verdict)
    approvals = [row.value for row in await store.find(APPROVALS, conversation_id=key, limit=ALL)]
    verdict.asked = len(approvals)
    verdict.expect(
        all(each.decision is not Decision.OPEN for each in approvals), "an approval is open"
    )
    return verdict


async def check_store(store: Store, key: ConversationId, verdict: Verdict) -> None:
    """Nothing is open, and each task has ended once."""
    jobs = await store.queue.find(
        conversation_id=key, statuses=["queued", "running", "cancelling", "parked"]
    )
    verdict.expect(not jobs, f"jobs are open: {[(job.id, job.status) for job in jobs]}")
    tasks = await store.find(TASKS, conversation_id=key, open=True)
    verdict.expect(not tasks, f"tasks are open: {[(row.id, row.status) for row in tasks]}")
    results = await store.find(RESULTS, conversation_id=key, open=True)
    verdict.expect(not results, f"results wait: {[(row.id, row.status) for row in results]}")
    facts = await store.facts(key)
    seqs = [fact.seq for fact in facts]
    verdict.expect(seqs == list(range(1, len(seqs) + 1)), "facts have gaps")
    ends = Counter(fact.task_id for fact in facts if isinstance(fact, TaskEnded))
    verdict.expect(set(ends.values()) <= {1}, f"ended twice: {ends}")


def check_history(
    history: Sequence[Message], tasks: Mapping[str, TaskSnapshot], run: str, verdict: Verdict
) -> Mapping[str, Notification]:
    """Each call is answered once, and each late result told once. Returns what was told."""
    try:
        assert_valid(history)
    except AssertionError as error:
        verdict.expect(False, f"history: {error}")
    asked = [
        call
        for message in history
        if isinstance(message, AssistantMessage)
        for call in message.calls
    ]
    verdict.expect(len(asked) == len(KINDS), f"{len(asked)} calls")
    verdict.expect([call.name for call in asked] == [call.name for call in calls(run)], "calls")
    told: dict[str, Notification] = {}
    for message in history:
        for item in message.items if isinstance(message, NotificationMessage) else ():
            verdict.expect(item.task_id not in told, f"told twice: {item}")
            told[item.task_id] = item
            verdict.ends[f"{item.name} {item.status}"] += 1
    for message in history:
        for result in message.results if isinstance(message, ToolMessage) else ():
            task = tasks.get(result.call_id)
            if task is None:  # the process ended before its task was stored, and this was told
                verdict.ends[f"{result.name} never began"] += 1
                verdict.expect(result.is_error and bool(result.content), f"in silence: {result}")
            else:
                verdict.expect(task.id in told, f"never told: {task.id} {task.name}")
    return told


def check_log(lines: Sequence[Line], zombies: Zombies, verdict: Verdict) -> Counter[str]:
    """No finished step ran again, and nothing that must not run twice did. One of the `zombies` may
    be in the middle of a step; and when it ends that, another process may have looked already
    whether it is done."""
    finished: set[tuple[str, ...]] = set()
    paid: Counter[str] = Counter()
    for at, pid, (_, *words) in lines:
        match words:
            case ["finished", *_] if at > zombies.get(pid, at):
                verdict.ends["step that a zombie ended"] += 1
            case ["began", *place] if tuple(place) in finished:
                if pid in zombies:
                    verdict.ends["step of a zombie"] += 1
                else:
                    verdict.expect(False, f"{place} ran again in {pid}")
            case ["finished", *place]:
                finished.add(tuple(place))
            case ["paid", _, number]:
                paid[number] += 1
            case _:
                pass
    verdict.expect(set(paid.values()) <= {1}, f"paid twice: {paid}")
    return paid


def check_end(
    task: TaskSnapshot, told: Notification, paid: Mapping[str, int], verdict: Verdict
) -> None:
    """It ended as its tool does, or as its policy says of a crash."""
    number = str(json.loads(task.arguments)["number"])
    allowed = {
        "work": ("succeeded", f"worked {number}"),
        "pay": ("succeeded", f"paid {number}"),
        "confirm": ("denied", "") if is_denied(number) else ("succeeded", f"confirmed {number}"),
        "family": ("succeeded", f"grown {number}"),
        "fail": ("failed", f"no luck with {number}"),
    }[task.name]
    verdict.expect(told.status == task.status, f"{task.id} is {task.status}, told {told.status}")
    if task.name == "pay" and task.status == "failed":
        verdict.ends["pay unknown"] += 1
        verdict.expect("outcome is unknown" in told.content, f"{task.id}: {told.content}")
        return
    good = told.status == allowed[0] and allowed[1] in told.content
    verdict.expect(good, f"{task.name} {number} {told.status}: {told.content[:200]}")
    if task.name == "pay":
        verdict.expect(paid[number] == 1, f"paid {paid[number]} times: {number}")


async def check_state(store: Store, run: str, ends: Counter[str], verdict: Verdict) -> None:
    """What tasks have written is there."""
    entries = await store.load_state(ConversationId(run), user=None)
    written = [entry.key for entry in entries if entry.key.startswith("worked ")]
    verdict.expect(len(written) == ends["work succeeded"], f"state: {written}")

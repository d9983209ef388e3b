"""What the commands do and print that look after work: what it waits for, who does it."""

import json as jsons
from time import time

from sidetask.cli.kept.showing import Wanted, print_rows, when, with_client
from sidetask.cli.kept.telling import lines_of
from sidetask.cli.view.render import cleaned, count, shortened
from sidetask.client import Client, Parked, Worker
from sidetask.core.codec import value_to_json
from sidetask.stores.queue import StoredJob
from sidetask.tasks.values import TaskSnapshot

LINE = 400
"""Letters of a line that are shown."""


def list_tasks(wanted: Wanted) -> int:
    """Print the tasks, and where they are; returns the exit code, as all of these do."""

    async def show(client: Client) -> None:
        found = await client.tasks(
            conversation_id=wanted.conversation,
            user=wanted.user,
            status=None if wanted.all else "open",
        )
        jobs = await client.jobs(() if wanted.as_json else found)
        rows = [
            (
                each.id,
                str(each.status),
                _place(each, jobs.get(each.id)),
                when(each.created_at),
                each.name,
                each.arguments,
            )
            for each in found
        ]
        none = "tasks" if wanted.all else "open tasks"
        print_rows(TaskSnapshot, found, rows, none, as_json=wanted.as_json)

    return with_client(wanted.store, show)


def list_parked(wanted: Wanted) -> int:
    """Print the tasks that are parked, and why."""

    async def show(client: Client) -> None:
        found = await client.parked(conversation_id=wanted.conversation, user=wanted.user)
        rows = [
            (
                each.task.id,
                each.error,
                when(each.task.created_at),
                each.task.name,
                each.task.arguments,
            )
            for each in found
        ]
        print_rows(Parked, found, rows, "parked tasks", as_json=wanted.as_json)

    return with_client(wanted.store, show)


def why(store: str, task: str, *, as_json: bool) -> int:
    """Print what a task waits for."""

    async def show(client: Client) -> None:
        found = await client.why(task)
        if as_json:
            data = {"state": type(found).__name__.lower(), **value_to_json(type(found), found)}
            print(jsons.dumps(data, ensure_ascii=False))
            return
        lines = lines_of(found, time())
        first, *more = [shortened(cleaned(line), LINE) for line in lines]
        print(first)
        for line in more:
            print(f"  {line}")

    return with_client(store, show)


def retry(store: str, task: str) -> int:
    """Let workers try a parked task again."""

    async def order(client: Client) -> None:
        await client.retry(task)
        print(f"{task} is in the queue again")

    return with_client(store, order)


def list_workers(store: str, *, as_json: bool) -> int:
    """Print the workers that live."""

    async def show(client: Client) -> None:
        found = await client.workers()
        rows = [
            (
                each.member.id,
                each.member.host,
                f"pid {each.member.pid}",
                f"since {when(each.member.started_at)}",
                f"{each.running} of {each.member.concurrency}",
                "draining" if each.member.draining else "ready",
                count(len(each.member.tools), "tool"),
                each.member.version,
            )
            for each in found
        ]
        print_rows(Worker, found, rows, "living workers", as_json=as_json)

    return with_client(store, show)


def _place(task: TaskSnapshot, job: StoredJob | None) -> str:
    """Where a task is: in the queue, on a worker, or where its conversation is open."""
    if task.finished_at is not None:
        return ""
    if job is None:
        return "home"
    match job.status:
        case "running" | "cancelling":
            return f"on {job.owner}"
        case "queued" | "parked":
            return job.status
        case "ended" | "cancelled":
            return "home"

"""What the commands about a store do and print."""

import asyncio
import json as jsons
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from getpass import getuser
from time import localtime, strftime
from typing import TypeVar

from sidetask.cli.kept.place import to_look_into
from sidetask.cli.view.render import cleaned, count, shortened
from sidetask.cli.view.screen import complain
from sidetask.client import Client
from sidetask.core.codec import value_to_json
from sidetask.stores.base import ConversationRecord
from sidetask.tasks.values import Approval

T = TypeVar("T")

WIDTH = 60
"""Letters of a cell that are shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is listed, and how."""

    store: str
    conversation: str | None = None
    user: str | None = None
    all: bool = False
    as_json: bool = False


def list_conversations(wanted: Wanted) -> int:
    """Print the conversations; returns the exit code, as all of these do."""

    async def show(client: Client) -> None:
        found = await client.conversations(user=wanted.user)
        rows = [
            (each.id, each.agent, count(each.turns, "turn"), when(each.updated_at), each.title)
            for each in found
        ]
        print_rows(ConversationRecord, found, rows, "conversations", as_json=wanted.as_json)

    return with_client(wanted.store, show)


def list_approvals(wanted: Wanted) -> int:
    """Print the questions."""

    async def show(client: Client) -> None:
        asked = await client.approvals(
            conversation_id=wanted.conversation,
            user=wanted.user,
            status=None if wanted.all else "open",
        )
        found = [each.value for each in asked]
        rows = [
            (each.id, str(each.decision), when(each.created_at), each.summary, each.reason)
            for each in found
        ]
        none = "approvals" if wanted.all else "open approvals"
        print_rows(Approval, found, rows, none, as_json=wanted.as_json)

    return with_client(wanted.store, show)


def approve(store: str, approval: str, by: str | None, note: str | None) -> int:
    """Say yes."""

    async def decide(client: Client) -> None:
        decided = await client.approve(approval, by=by or getuser(), note=note)
        print(f"{approval} approved by {decided.value.decided_by}")

    return with_client(store, decide)


def deny(store: str, approval: str, by: str | None, reason: str | None) -> int:
    """Say no."""

    async def decide(client: Client) -> None:
        decided = await client.deny(approval, reason, by=by or getuser())
        print(f"{approval} denied by {decided.value.decided_by}")

    return with_client(store, decide)


def cancel(store: str, task: str, by: str | None, reason: str) -> int:
    """Ask for the end of a task."""

    async def order(client: Client) -> None:
        await client.cancel(task, reason, by=by or getuser())
        print(f"asked for the end of {task}: `sidetask why {task}` tells how far it is")

    return with_client(store, order)


def with_client(store: str, work: Callable[[Client], Awaitable[None]]) -> int:
    """Do something with a client of the store, and return the exit code."""

    async def run() -> None:
        async with Client(to_look_into(store)) as client:
            await work(client)

    asyncio.run(run())
    return 0


def print_rows(
    kind: type[T], found: Sequence[T], rows: Sequence[tuple[str, ...]], what: str, *, as_json: bool
) -> None:
    """Print what was found: as rows in columns, or one JSON object a line. `what` it is, people are
    told where there is none."""
    if as_json:
        for each in found:
            print(jsons.dumps(value_to_json(kind, each), ensure_ascii=False))
        return
    if not rows:
        complain(f"no {what}")
    shown = [[shortened(cleaned(cell), WIDTH) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def when(at: float) -> str:
    """A time, to the minute."""
    return strftime("%Y-%m-%d %H:%M", localtime(at))

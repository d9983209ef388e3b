"""Tools on the real event loop: real files, processes and sockets know no virtual clock."""

import asyncio
from typing import cast

import pytest

from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.tasks.context import RunContext, TaskHost

Notes = asyncio.Queue[tuple[float | None, str]]


class ListeningHost:
    """The part of a task's host that these tools use."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def progress(self, fraction: float | None, note: str) -> None:
        self._notes.put_nowait((fraction, note))

    def is_approved(self, kind: str, digest: str) -> bool:
        return False


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def notes() -> Notes:
    """The progress that the tool has told."""
    return asyncio.Queue()


@pytest.fixture
def ctx(notes: Notes) -> RunContext[object]:
    return RunContext(
        cast(TaskHost, ListeningHost(notes)),
        deps=None,
        conversation_id=ConversationId("c"),
        task_id=TaskId("task-1"),
        call_id=CallId("call-1"),
    )

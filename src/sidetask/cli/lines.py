"""A chat without a terminal: lines in, each a turn, and what became of them out.

The end of the input, or `/quit`, is not the end: what still runs is waited for, and late results
are told.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

from sidetask.agents.agent import AgentConfig
from sidetask.cli.apps import is_driven
from sidetask.cli.kept.place import NOWHERE, Place
from sidetask.cli.session import ENDS, See, Session, signals
from sidetask.cli.view import render
from sidetask.cli.view.screen import Screen, complain
from sidetask.cli.view.trace import show_lanes, traced
from sidetask.cli.view.transcript import Transcript
from sidetask.core.codec import event_to_json
from sidetask.core.events import Event, Lagged, RunCompleted, RunFailed
from sidetask.runtime.runtime import Runtime
from sidetask.tasks.aio.clock import Clock, SystemClock
from sidetask.tasks.values import TaskSnapshot

CLOCK = SystemClock()
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a chat without a terminal is held."""

    approve: bool = False
    """Say yes to every question; otherwise no."""
    as_json: bool = False
    """Print events, not text."""
    answers_only: bool = False
    """Of the text, print the replies alone."""
    trace: bool = False
    """At the end, draw the turns and tasks along the time."""
    timeout: float | None = None
    """Seconds that all of it may take."""
    place: Place = NOWHERE
    """Where it is kept."""


async def hold(
    agent: AgentConfig, lines: AsyncIterable[str], manner: Manner, *, clock: Clock = CLOCK
) -> int:
    """Say every line in a turn of its own, wait until all is done, and return the exit code.

    Raises:
        BrokenPipeError: Whoever read the output is gone.
    """
    conversation_id, url = await manner.place.find(), manner.place.url
    async with (
        Runtime(store=url, clock=clock, on_approval="host") as runtime,
        runtime.open(agent, conversation_id=conversation_id) as chat,
    ):
        driven, kept = is_driven(agent), url is not None
        session = Session(
            chat, runtime, driven=driven, approve=manner.approve, clock=clock, kept=kept
        )
        with signals({each: session.leaver(each) for each in (signal.SIGINT, *ENDS)}):
            view = _viewer(manner, session)
            see, told = traced(view, manner.trace)
            code = await session.run(
                _say(session, lines),
                see=see,
                see_below=view,
                leaving=partial(_stopped, clock),
                timeout=manner.timeout,
            )
    show_lanes(told)
    return code or int(session.failed)


async def _say(session: Session, lines: AsyncIterable[str]) -> int:
    async for line in lines:
        if line.strip() == "/quit":  # as it was written for a terminal
            break
        if line.strip() and not line.lstrip().startswith("#"):
            await _turn(session, line)
    await _settle(session)
    return 0


async def _turn(session: Session, line: str) -> None:
    try:
        await session.chat.ask(line)
    except Exception:  # noqa: BLE001 - the one boundary: the turn's last event tells its fault
        session.failed = True


async def _settle(session: Session) -> None:
    """Wait until nothing runs, also when a question in the background was the last thing."""
    while True:
        await session.chat.wait_for_idle()
        if not session.decide():
            return


def _stopped(clock: Clock, tasks: list[TaskSnapshot]) -> None:
    for line in render.stopping(tasks, clock.now()):
        complain(line.plain)


# -- output ----------------------------------------------------------------------------------


def _viewer(manner: Manner, session: Session) -> See:
    if manner.as_json:
        return _print_json
    if manner.answers_only:
        return _print_answer
    transcript, screen = (
        Transcript(details=session.details, asker=session.asker),
        Screen(styled=False),
    )
    return lambda event: screen.show(*transcript.lines(event))


def _print_json(event: Event | Lagged) -> None:
    match event:
        case Lagged(missed):
            print(json.dumps({"kind": "lagged", "missed": missed}), flush=True)
        case _:
            print(json.dumps(event_to_json(event)), flush=True)


def _print_answer(event: Event | Lagged) -> None:
    match event:
        case RunCompleted(text=text) if text:
            print(render.cleaned(text), flush=True)
        case RunFailed(error=error, error_type=kind):
            complain(f"the turn failed: {kind}: {error}")
        case _:
            pass


# -- input -----------------------------------------------------------------------------------


class Lines:
    """The lines of a file descriptor, read when they are asked for.

    A thread reads, as not every descriptor can be watched. It holds no lock of `sys.stdin`,
    so that the interpreter can end while it still waits.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while b"\n" not in self._rest and not self._ended:
            chunk = await self._chunk()
            self._ended = not chunk
            self._rest += chunk
        if not self._rest:
            raise StopAsyncIteration
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8-sig", "replace").rstrip("\r")

    async def _chunk(self) -> bytes:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        def tell(data: bytes) -> None:
            if not answer.done():
                answer.set_result(data)

        def read() -> None:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError:  # closed, or a directory
                data = b""
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, data)

        threading.Thread(target=read, name="sidetask-input", daemon=True).start()
        return await answer


class OneLine:
    """A single line."""

    def __init__(self, line: str) -> None:
        self._lines = [line]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self._lines:
            raise StopAsyncIteration
        return self._lines.pop()


def standard_input() -> Lines:
    """The lines of standard input."""
    return Lines(sys.stdin.fileno())

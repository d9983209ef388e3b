"""A worker as a program: what it says, what it answers, and what signals do to it."""

import asyncio
import signal
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from sidetask.cli.view.render import count
from sidetask.cli.view.screen import complain
from sidetask.cli.worker.finding import find_runtime
from sidetask.core.errors import SidetaskError, StoreUnavailableError
from sidetask.stores.opening.urls import shown
from sidetask.worker import Worker
from sidetask.worker.counters import as_text
from sidetask.worker.health import Answer, HealthServer, Page

LISTED = 12
"""Tools that the start line names."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Once: drain. Twice: at once. A third time: as the process is."""
PATIENCE = 2.0
"""Seconds in which an event loop does something else, unless it is stuck."""
AGAIN = 1
"""The exit code that asks for another start."""
LOST = (
    "the connection to the database broke, and with it this worker's lock: other workers may have"
    " its calls. What ran was stopped, and nothing of it was written; start it again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for."""

    app: str
    store: str | None = None
    concurrency: int = 20
    conversations: int = 100
    grace: float = 30.0
    health_port: int | None = None
    host: str = "127.0.0.1"
    token: str | None = None


async def serve(wanted: Wanted, root: Path) -> int:
    """Work until it is told to stop; returns the exit code.

    Raises:
        SidetaskError: It cannot begin, and could not at any time. Says why.
    """
    try:
        return await _serve(wanted, root)
    except StoreUnavailableError as error:  # whoever starts it does so again
        complain(f"{error.why}; start the worker again when the database is there")
        return AGAIN


async def _serve(wanted: Wanted, root: Path) -> int:
    runtime = await find_runtime(wanted.app, wanted.store, root)
    async with runtime:
        worker = Worker(
            runtime,
            concurrency=wanted.concurrency,
            grace=wanted.grace,
            conversations=wanted.conversations,
        )
        loop, health = asyncio.get_running_loop(), None
        if wanted.health_port is not None:
            health = HealthServer(
                pages(worker, loop), host=wanted.host, port=wanted.health_port, token=wanted.token
            )
        try:
            for each in SIGNALS:
                with suppress(NotImplementedError):  # no signals in this loop: Windows
                    loop.add_signal_handler(each, partial(_stop, worker, wanted))
            place = "a store of its own" if runtime.place is None else shown(runtime.place)
            await worker.run(partial(_greet, worker, wanted, place, health))
        finally:
            if health is not None:
                health.close()
    if worker.lost:
        complain(LOST)
        return AGAIN
    ends = [f"{number} {end}" for end, number in worker.counters.ends.items() if number]
    print(f"left: {', '.join(ends) or 'nothing was to be done'}", flush=True)
    return 0


def _greet(worker: Worker, wanted: Wanted, place: str, health: HealthServer | None) -> None:
    assert worker.member is not None
    keys = list(worker.tools)
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    print(
        f"worker {worker.member.id}: {place}, {wanted.concurrency} at once,"
        f" {count(len(keys), 'tool')}: {' '.join(keys[:LISTED])}{more}",
        flush=True,
    )
    if health is not None:
        print(f"health: {health.url}/healthz /readyz /metrics", flush=True)


def _stop(worker: Worker, wanted: Wanted) -> None:
    if worker.is_draining:  # a database that answers nothing holds up the best of ends
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)  # the next one is carried out by the system
    now = worker.gauges
    if now.ready:
        print(
            f"draining: {now.running} at work get up to {wanted.grace:g} s; a second signal ends"
            " it at once",
            flush=True,
        )
    worker.drain()


# -- what it answers, in threads of their own ---------------------------------------------------


def pages(worker: Worker, loop: asyncio.AbstractEventLoop) -> dict[str, Page]:
    """What can be asked."""

    def alive() -> Answer:
        turned = Event()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return 503, "the event loop has ended\n"
        if turned.wait(PATIENCE):
            return 200, "ok\n"
        return 503, f"the event loop has been stuck for {PATIENCE:g} s: a tool blocks it\n"

    def ready() -> Answer:
        if worker.lost:
            return 503, "the lock is lost\n"
        if worker.gauges.ready:
            return 200, "ok\n"
        return 503, "draining\n" if worker.is_draining else "not a member yet\n"

    def metrics() -> Answer:
        name = "" if worker.member is None else worker.member.id
        return 200, as_text(worker.counters, worker.gauges, name, _queued(worker, loop))

    return {"/healthz": alive, "/readyz": ready, "/metrics": metrics}


def _queued(worker: Worker, loop: asyncio.AbstractEventLoop) -> int | None:
    """How many jobs wait for it, as far as that is to be had now."""
    try:
        asked = asyncio.run_coroutine_threadsafe(worker.queued(), loop)
    except RuntimeError:
        return None
    try:
        return asked.result(PATIENCE)
    except (TooLate, SidetaskError):
        asked.cancel()
        return None

"""Conversations without a home, on a Postgres: workers, as programs, carry them on."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator

import pytest

from sidetask.client import Client
from sidetask.core.events import AssistantMessageCommitted, RunStarted
from sidetask.stores.base import Store
from sidetask.stores.members import HOME, NOBODY
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import HOMES
from tests.durable.adoption_app import NAME, make
from tests.durable.limits import HANG
from tests.durable.test_workers import complaints
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres]

SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()")
WORKER = (*SIDETASK, "worker", "--app", "tests.durable.adoption_app:make", "--store")


class Stage:
    """A database, and programs on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store: Store = open_store(url)
        self.client = Client(self.store)
        self.programs: list[asyncio.subprocess.Process] = []

    async def start(self, *command: str, **env: str) -> asyncio.subprocess.Process:
        """Start a program, and wait for its first line."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **env},
        )
        self.programs.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(HANG):
            if not await process.stdout.readline():
                raise AssertionError((await process.communicate())[1].decode())
        return process

    async def worker(self, **env: str) -> asyncio.subprocess.Process:
        return await self.start(*WORKER, self.url, **env)

    async def begin(self) -> int:
        """A conversation that nobody has open; returns where its events end."""
        async with make(self.url) as runtime:
            chat = await runtime.open("clerk", conversation_id=NAME)
            await chat.ask("Hi.")
            await chat.disconnect()
        return await self.store.last_seq(chat.conversation_id)

    async def ask(self, text: str, after: int) -> None:
        """Say something, and wait until a turn has begun."""
        await self.client.send(NAME, text)
        async with asyncio.timeout(HANG), self.client.events(NAME, after=after) as events:
            async for event in events:
                if isinstance(event, RunStarted):
                    return

    async def hear(self, text: str, after: int = 0) -> float:
        """Wait until the model has said this; returns when."""
        async with asyncio.timeout(HANG), self.client.events(NAME, after=after) as events:
            async for event in events:
                if isinstance(event, AssistantMessageCommitted) and event.message.text == text:
                    return time.time()
        raise AssertionError


@pytest.fixture
async def stage(server: str) -> AsyncGenerator[Stage]:
    stage = Stage(new_database(server))
    await stage.store.start()
    yield stage
    for process in stage.programs:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    await stage.store.close()


async def test_a_client_and_workers_are_a_whole_system(stage: Stage) -> None:
    await stage.client.begin("clerk", user="u42", conversation_id=NAME)
    seq = 0
    workers = [await stage.worker(), await stage.worker()]
    began = time.time()
    await stage.client.send(NAME, "Well?")
    took = await stage.hear("You said: Well?", seq) - began
    print(f"\nanswered {took:.2f} s after it was said to nobody")
    assert took <= 2.0
    began = time.time()
    await stage.client.send(NAME, "And?")
    print(f"answered {await stage.hear('You said: And?', seq) - began:.2f} s after it was said")
    await stage.client.send(NAME, "Pay.")
    await stage.hear("It is under way.", seq)
    async with asyncio.timeout(HANG):
        while True:
            home = await stage.store.get(HOMES, (await stage.client.conversation(NAME)).id, HOME)
            if home is not None and home.status == NOBODY:
                break
            await asyncio.sleep(0.05)
    [asked] = await stage.client.approvals()
    began = time.time()
    await asked.approve(by="ana")
    took = await stage.hear("Told: paid 5", seq) - began
    print(f"told {took:.2f} s after it was approved")
    assert took <= 2.0
    for each in workers:
        each.terminate()
        _, err = await each.communicate()
        assert (each.returncode, complaints(err)) == (0, "")


async def test_a_turn_goes_on_when_the_worker_that_had_it_is_killed(stage: Stage) -> None:
    seq = await stage.begin()
    victim = await stage.worker(STALL="1")
    await stage.ask("Well?", seq)
    await stage.worker()
    await asyncio.sleep(0.5)
    victim.kill()
    began = time.time()
    took = await stage.hear("You said: Well?", seq) - began
    print(f"\ngone on with {took:.2f} s after kill -9")
    assert took <= 2.0


async def test_what_a_killed_home_waited_for_is_told_by_a_worker(stage: Stage) -> None:
    await stage.worker()
    home = await stage.start(sys.executable, "-m", "tests.durable.adoption_app", stage.url)
    home.kill()
    await home.wait()
    began = time.time()
    took = await stage.hear("Told: seven") - began
    print(f"\ntold {took:.2f} s after its home was killed, with {1.0} s of work to do")
    assert took <= 3.0


async def test_a_process_that_resumes_it_gets_it_from_the_worker_in_mid_turn(stage: Stage) -> None:
    seq = await stage.begin()
    worker = await stage.worker(STALL="1")
    await stage.ask("Well?", seq)
    began = time.time()
    async with make(stage.url) as runtime, runtime.resume(NAME) as chat:
        print(f"\ntaken over in {time.time() - began:.2f} s")
        await stage.hear("You said: Well?", seq)
        assert (await chat.ask("Here?")).text == "You said: Here?"
    worker.terminate()
    _, err = await worker.communicate()
    assert (worker.returncode, complaints(err)) == (0, "")

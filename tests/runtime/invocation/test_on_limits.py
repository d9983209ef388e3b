"""Listeners: their order, their limits, their faults, and how they end."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from sidetask import Agent, Event, Runtime
from sidetask.core.errors import AgentNotStartedError, ConfigurationError, InvalidInputError
from sidetask.core.events import (
    ListenerFailed,
    TextDelta,
)
from sidetask.runtime.invocation import (
    ConversationContext,
    ListenerControl,
)
from sidetask.runtime.invocation.face import PATIENCE
from sidetask.tasks.aio.streams import BOUND
from sidetask.testing import ScriptedModel, flood, reply
from tests.runtime.harness import settle
from tests.runtime.invocation.harness import Stage, numbered, staged

# -- order and limits --------------------------------------------------------------------------


async def test_a_sequential_listener_handles_in_order_however_long_each_takes() -> None:
    texts: list[str] = []
    chance = random.Random(7)

    async def slow(event: Event) -> None:
        await asyncio.sleep(chance.random())
        assert isinstance(event, TextDelta)
        texts.append(event.text)

    async with staged() as stage:
        listener = stage.runtime.on("text_delta", slow)
        await stage.emit(numbered(100))
        await listener.drain()
        assert texts == [f"{n} " for n in range(100)]


class Crowd:
    """A handler that notes how many of it run at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.done: list[str] = []
        self.chance = random.Random(3)

    async def __call__(self, event: Event) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.chance.random())
        self.now -= 1
        self.done.append(event.id)


async def test_a_concurrent_listener_keeps_its_limit_and_misses_nothing() -> None:
    crowd = Crowd()
    async with staged() as stage:
        listener = stage.runtime.on("text_delta", crowd, order="concurrent", concurrency_limit=2)
        await stage.emit(numbered(50))
        await listener.drain()
        assert crowd.most == 2
        assert sorted(crowd.done) == sorted(e.id for e in stage.events if e.kind == "text_delta")


async def test_a_limit_can_be_raised_while_it_listens() -> None:
    crowd = Crowd()
    async with staged() as stage:
        listener = stage.runtime.on("text_delta", crowd, order="concurrent", concurrency_limit=1)
        await stage.emit(numbered(20))
        assert crowd.most == 1
        listener.control.concurrency_limit = 4
        await listener.drain()
        assert (crowd.most, len(crowd.done)) == (4, 20)


def four(event: Event, context: object, control: object, more: object) -> None:
    """Takes too much."""


BAD: list[tuple[Callable[[Runtime], Any], str]] = [
    (lambda runtime: runtime.on("any", print, concurrency_limit=0), "at least 1"),
    (lambda runtime: runtime.on("any", print, timeout=0), "timeout"),
    (lambda runtime: runtime.on("any", print, order=cast(Any, "shuffled")), "shuffled"),
    (lambda runtime: runtime.on("weather", print), "weather"),
    (lambda runtime: runtime.on([], print), "name a kind"),
    (lambda runtime: runtime.on("any", cast(Any, lambda: None)), "handler"),
    (lambda runtime: runtime.on("any", cast(Any, four)), "handler"),
]


@pytest.mark.parametrize(("listen", "why"), BAD)
async def test_what_makes_no_sense_is_refused(listen: Callable[[Runtime], Any], why: str) -> None:
    async with staged() as stage:
        with pytest.raises(ConfigurationError, match=why):
            listen(stage.runtime)


async def test_a_limit_of_none_is_refused_while_it_listens_and_the_old_one_stands() -> None:
    async with staged() as stage:
        control = stage.runtime.on("any", print, concurrency_limit=3).control
        with pytest.raises(ConfigurationError, match="at least 1"):
            control.concurrency_limit = 0
        assert control.concurrency_limit == 3


async def test_a_closed_runtime_takes_no_listener() -> None:
    runtime = Runtime()
    await runtime.close()
    with pytest.raises(AgentNotStartedError):
        runtime.on("any", print)


# -- faults --------------------------------------------------------------------------


async def listening(stage: Stage) -> list[ListenerFailed]:
    found: list[ListenerFailed] = []
    stage.runtime.on("listener_failed", cast(Any, found.append))
    await settle()
    return found


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_that_raises_is_reported_and_hears_the_next_event(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fragile(event: Event) -> None:
        heard.append(str(event.kind))
        if event.kind == "model_started":
            raise LookupError("no such page")

    async def later(event: Event) -> None:
        fragile(event)

    async with staged() as stage:
        failures = await listening(stage)
        listener = stage.runtime.on(
            ["run_started", "model_started", "run_completed"], later if is_async else fragile
        )
        run = stage.emit("Hello.", conversation_id="c")
        await run
        await listener.drain()
        await settle()
        assert heard == ["run_started", "model_started", "run_completed"]
        [failure] = failures
        started = next(event for event in stage.of(run) if event.kind == "model_started")
        assert failure.event_id == started.id
        assert (failure.error, failure.error_type) == ("no such page", "LookupError")
        assert (failure.run_id, failure.conversation_id) == (run.run_id, "c")
        assert "no such page" in caplog.text


async def test_a_failure_after_the_end_of_its_conversation_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def late(event: Event) -> None:
        await asyncio.sleep(1)
        raise LookupError("too late")

    async with staged() as stage:
        failures = await listening(stage)
        listener = stage.runtime.on("run_completed", late)
        run = stage.emit("Hello.")
        await run
        await listener.drain()
        assert "too late" in caplog.text
        assert failures == []
        assert stage.events[-1] == stage.of(run)[-1]


async def test_listeners_that_fail_at_each_others_failures_do_not_feed_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: Event) -> None:
        raise LookupError("always")

    async with staged() as stage:
        for _ in range(2):
            stage.runtime.on("any", fail)
        run = stage.emit("Hello.", conversation_id="c")
        await run
        await settle()
        failures = [event for event in stage.events if event.kind == "listener_failed"]
        assert len(failures) == 2 * (len(stage.of(run)) - len(failures))


async def test_a_timeout_cancels_the_handler_that_is_late_and_no_other() -> None:
    done: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(10 if event.kind == "model_started" else 1)
        done.append(str(event.kind))

    async with staged() as stage:
        failures = await listening(stage)
        kinds = ["run_started", "model_started", "run_completed"]
        listener = stage.runtime.on(kinds, slow, timeout=5)
        patient = stage.runtime.on("model_started", slow)
        await stage.emit("Hello.", conversation_id="c")
        await listener.drain()
        await patient.drain()
        await settle()
        assert sorted(done) == ["model_started", "run_completed", "run_started"]
        [failure] = failures
        assert (failure.error, failure.error_type) == ("not done within 5 s", "TimeoutError")


async def test_a_handler_in_which_something_was_cancelled_has_failed_and_no_more() -> None:
    heard: list[str] = []

    async def odd(event: Event) -> None:
        heard.append(str(event.kind))
        raise asyncio.CancelledError

    async with staged() as stage:
        failures = await listening(stage)
        listener = stage.runtime.on(["run_started", "run_completed"], odd)
        await stage.emit("Hello.", conversation_id="c")
        await listener.drain()
        await settle()
        assert heard == ["run_started", "run_completed"]
        assert [failure.error_type for failure in failures] == ["CancelledError"] * 2


# -- ends --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["sequential", "concurrent"])
@pytest.mark.parametrize("how", ["cancel", "abort"])
async def test_an_idle_listener_ends_at_once(how: str, order: Any) -> None:
    async with staged() as stage:
        listener = stage.runtime.on("any", print, order=order)
        await settle()
        assert not listener.is_finished
        listener.control.cancel() if how == "cancel" else listener.abort()
        assert listener.is_finished
        await listener.drain()
        await stage.emit("Hello.")


async def test_a_cancelled_listener_finishes_what_it_handles_and_takes_no_more() -> None:
    done: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(1)
        done.append(str(event.kind))

    async with staged() as stage:
        listener = stage.runtime.on("any", slow)
        await stage.emit("Hello.")
        listener.control.cancel()
        assert not listener.is_finished
        await listener.drain()
        assert listener.is_finished
        assert done == ["run_started"]


@pytest.mark.parametrize("order", ["sequential", "concurrent"])
async def test_an_aborted_listener_cancels_what_it_handles(order: Any) -> None:
    ends: list[str] = []

    async def slow(event: Event) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with staged() as stage:
        listener = stage.runtime.on("run_started", slow, order=order)
        await stage.emit("Hello.")
        listener.abort()
        await listener.drain()
        assert listener.is_finished
        assert ends == ["cancelled"]
        assert "listener_failed" not in [event.kind for event in stage.events]


async def test_a_handler_may_cancel_its_own_listener() -> None:
    heard: list[Event] = []

    def once(event: Event, context: ConversationContext, control: ListenerControl) -> None:
        heard.append(event)
        control.cancel()

    async with staged() as stage:
        listener = stage.runtime.on("any", once)
        await stage.emit("Hello.")
        await listener.drain()
        assert listener.is_finished
        assert heard == stage.events[:1]


async def test_a_handler_cannot_drain_itself() -> None:
    found: list[Exception] = []
    async with staged() as stage:

        async def drain(event: Event) -> None:
            try:
                await listener.drain()
            except InvalidInputError as error:
                found.append(error)

        listener = stage.runtime.on("run_completed", drain)
        await stage.emit("Hello.")
        await listener.drain()
        assert len(found) == 1


async def test_drain_waits_for_what_was_told_before_and_not_for_what_comes() -> None:
    go = asyncio.Event()
    heard: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(1)
        heard.append(str(event.kind))

    async with staged() as stage:
        listener = stage.runtime.on(["run_started", "run_completed"], slow)
        run = stage.emit(reply(go, "Hello."))
        await settle()
        await listener.drain()
        assert heard == ["run_started"]
        go.set()
        await run
        await listener.drain()
        assert heard == ["run_started", "run_completed"]


async def test_a_slow_listener_is_told_how_much_it_missed_and_hears_each_end() -> None:
    heard: list[Event] = []
    begun = asyncio.Event()
    go = asyncio.Event()

    async def slow(event: Event) -> None:
        heard.append(event)
        begun.set()
        await go.wait()

    async with staged() as stage:
        listener = stage.runtime.on("any", slow)
        run = stage.emit(reply("First.", begun, flood(5 * BOUND)))
        await run
        go.set()
        await listener.drain()
        assert listener.control.missed > 2 * BOUND
        assert listener.control.missed + len(heard) == len(stage.events)
        assert heard[-1].kind == "run_completed"


# -- the end of the runtime ---------------------------------------------------------------------


async def test_handlers_that_hang_share_one_patience_at_the_end() -> None:
    async def hang(event: Event) -> None:
        await asyncio.get_running_loop().create_future()

    runtime = Runtime()
    for _ in range(10):
        runtime.on("run_completed", hang)
    async with runtime.open(Agent(ScriptedModel("fine"))) as chat:
        await chat.ask("hi")
    began = asyncio.get_running_loop().time()
    await runtime.close()
    assert asyncio.get_running_loop().time() - began < 2 * PATIENCE


async def test_a_handler_may_close_the_runtime_that_it_listens_to() -> None:
    closed = asyncio.Event()

    async def close(event: Event) -> None:
        await runtime.close()
        closed.set()

    runtime = Runtime()
    listener = runtime.on("run_completed", close)
    chat = await runtime.open(Agent(ScriptedModel("fine")))
    await chat.ask("hi")
    await asyncio.wait_for(closed.wait(), 1)
    await asyncio.sleep(0)
    assert listener.is_finished

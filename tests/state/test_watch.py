"""Reading changes one by one, and waiting for one."""

# pyright: reportPrivateUsage=false

import asyncio
import gc
from threading import Thread
from typing import Any, cast

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    InvalidInputError,
    StateClosedError,
    StateTimeoutError,
)
from sidetask.core.jsons import Json
from sidetask.state.provenance import Change
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State, StateView
from sidetask.state.watch import Watch
from tests.limits import HANG
from tests.state.test_derived import total


def told(watch: Watch) -> list[tuple[str, Json]]:
    """What a watch has to read now."""
    return [(change.key, change.new) for change in iter(watch.ready, None)]


# -- watch -------------------------------------------------------------------------------------


async def test_a_watch_tells_every_change_of_its_key_from_now_on_in_order() -> None:
    state = State(now=lambda: 3.0)
    state.set("a", 0)
    seen: list[Change] = []
    with state.watch("a") as watch:
        state.set("a", 1, source="llm")
        state.set("b", 1)
        state.set("a", 1)
        state.delete("a")
        async for change in watch:
            seen.append(change)
            if change.deleted:
                break
    assert [(c.key, c.old, c.new, c.version) for c in seen] == [
        ("a", 0, 1, 2),
        ("a", 1, 1, 3),
        ("a", 1, None, 4),
    ]
    assert (seen[0].provenance.source, seen[0].provenance.at) == ("llm", 3.0)


def test_a_watch_may_be_of_a_family_of_keys_or_of_all() -> None:
    state = State(SharedSpaces(), user="ann")
    reviews, all_ = state.watch("review:"), state.watch()
    state.update({"review:a": 1, "reviews": 2, "app:b": 3, "user:c": 4})
    assert told(reviews) == [("review:a", 1)]
    assert told(all_) == [("review:a", 1), ("reviews", 2), ("app:b", 3), ("user:c", 4)]


def test_a_slow_watcher_is_told_exactly_how_many_changes_it_missed() -> None:
    state = State()
    slow, quick = state.watch("a", size=3), state.watch("a", size=10)
    for number in range(8):
        state.set("a", number)
    first = slow.ready()
    assert first is not None
    assert (first.new, first.missed, slow.missed) == (5, 5, 5)
    assert told(slow) == [("a", 6), ("a", 7)]
    state.set("a", 8)
    last = slow.ready()
    assert last is not None
    assert (last.new, last.missed, slow.missed) == (8, 0, 5)
    assert [number for _, number in told(quick)] == list(range(9))
    assert quick.missed == 0


def test_a_watch_by_default_keeps_1024_changes() -> None:
    state = State()
    watch = state.watch()
    for number in range(1030):
        state.set("a", number)
    first = watch.ready()
    assert first is not None
    assert (first.new, first.missed) == (6, 6)


async def test_a_watch_that_waits_ends_when_it_is_closed_and_when_the_state_is() -> None:
    for shared in (False, True):
        state = State()
        watch = state.watch("a")
        seen: list[Json] = []

        async def read(watch: Watch = watch, seen: list[Json] = seen) -> None:
            async for change in watch:
                seen.append(change.new)

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        state.set("a", 1)
        await asyncio.sleep(1)
        state.set("a", 2)
        (state if shared else watch).close()
        await asyncio.wait({reader}, timeout=1)
        assert (reader.done(), seen) == (True, [1, 2])
        state.set("a", 3)
        assert told(watch) == []


async def test_a_watch_that_waits_is_woken_by_the_write() -> None:
    state = State()
    watch = state.watch("a")
    for number in range(3):
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert not reading.done()
        state.set("a", number)
        async with asyncio.timeout(1):
            assert (await reading).new == number


async def test_a_change_that_comes_between_looking_and_sleeping_is_read() -> None:
    class Meddled:
        """A source whose lock somebody else takes first, the second time: to write."""

        lock: Any = None
        takes = 0

        def __enter__(self) -> None:
            self.takes += 1
            if self.takes == 2:
                watch._queue.hear(change, [])

        def __exit__(self, *_: object) -> None: ...
        def listen(self, wanted: str, listener: object) -> None: ...
        def mute(self, wanted: str, listener: object) -> None: ...

    noting = State()
    noting.set("a", 1)
    (change,) = noting.journal
    source = Meddled()
    source.lock = source
    watch = Watch(source, "a")
    async with asyncio.timeout(1):
        assert await anext(watch) is change
    assert source.takes > 2


async def test_readings_that_are_given_up_leave_nothing_behind() -> None:
    watch = State().watch("a")
    for _ in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(watch)
    assert len(watch._queue.bell._sleepers) == 1


def test_a_watch_that_is_dropped_leaves_nothing_behind() -> None:
    state = State()
    watches = [state.watch("a"), state.watch("b:"), state.watch()]
    del watches
    gc.collect()
    assert state._hub._listening == {}
    assert not state._hub.own._by_key
    assert not state._hub.own._by_prefix


def test_a_closed_state_can_be_read_and_not_watched() -> None:
    state = State(spaces := SharedSpaces())
    state.set("a", 1)
    watch = state.watch("app:a")
    state.close()
    state.close()
    assert (state["a"], spaces.app._by_key) == (1, {})
    with pytest.raises(StateClosedError):
        state.watch("a")
    watch.close()


# -- wait_for ----------------------------------------------------------------------------------


async def test_waiting_for_a_key_that_is_there_returns_at_once() -> None:
    state = State()
    state.set("a", None)
    assert await state.wait_for("a", timeout=0) is None


async def test_waiting_for_a_key_ends_when_it_comes() -> None:
    state = State()
    state.derive("sum", ["a", "b"], total)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(state.wait_for(key)) for key in ("a", "sum")]
        await asyncio.sleep(1)
        state.set("c", 1)
        await asyncio.sleep(1)
        assert not any(each.done() for each in waiting)
        state.update({"a": 1, "b": 2})
    assert [each.result() for each in waiting] == [1, 3]


async def test_waiting_for_a_guard_gives_its_value() -> None:
    state = State()

    def enough(state: StateView) -> list[str]:
        return state.keys() if len(state.keys()) > 2 else []

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(state.wait_for(enough))
        for key in ("a", "app:b", "c"):
            await asyncio.sleep(1)
            state.set(key, 1)
    assert waiting.result() == ["a", "c", "app:b"]


async def test_waiting_too_long_is_a_typed_error_and_leaves_nothing() -> None:
    state = State()
    with pytest.raises(StateTimeoutError, match="the key 'a' did not come within 5 s") as caught:
        await state.wait_for("a", timeout=5)
    assert (caught.value.seconds, isinstance(caught.value, TimeoutError)) == (5, True)
    with pytest.raises(StateTimeoutError, match="guard"):
        await state.wait_for(lambda _: False, timeout=1)
    assert state._hub._listening == {}


async def test_what_a_guard_raises_reaches_whoever_waits() -> None:
    def guard(state: StateView) -> bool:
        raise TimeoutError("my own")

    with pytest.raises(TimeoutError, match="my own"):
        await State().wait_for(guard, timeout=5)


async def test_waiting_for_no_key_is_refused() -> None:
    for key in ("", "a:"):
        with pytest.raises(InvalidInputError):
            await State().wait_for(key)


async def test_a_guard_is_an_ordinary_function() -> None:
    async def ready(state: StateView) -> bool:
        raise AssertionError

    state = State()
    for none in (ready, 5):
        with pytest.raises(ConfigurationError, match="a guard is an ordinary function, not"):
            await state.wait_for(cast(Any, none))
    with pytest.raises(ConfigurationError, match="the guard returned a coroutine"):
        await state.wait_for(lambda state: ready(state))  # noqa: PLW0108 - hides what it is
    assert state._hub._listening == {}


async def test_waiting_ends_with_the_state() -> None:
    state = State()
    waiting = asyncio.create_task(state.wait_for("a"))
    await asyncio.sleep(0)
    state.close()
    with pytest.raises(StateClosedError):
        await waiting


# -- threads -----------------------------------------------------------------------------------


async def test_a_write_from_another_thread_wakes_watchers_and_waiters() -> None:
    state = State()

    async def read(watch: Watch) -> list[Json]:
        return [change.new async for change in watch]

    async with asyncio.TaskGroup() as group:
        watch = state.watch("a")
        reading = group.create_task(read(watch))
        waiting = group.create_task(state.wait_for("b"))
        await asyncio.sleep(0)
        await asyncio.to_thread(state.set, "a", 1)
        await asyncio.to_thread(state.set, "b", 2)
        watch.close()
    assert (reading.result(), waiting.result()) == ([1], 2)


def test_a_wake_up_from_another_thread_goes_through_the_loop() -> None:
    state = State()

    async def wait() -> tuple[Json, Json]:
        reading = asyncio.ensure_future(anext(state.watch("a")))
        await asyncio.sleep(0)
        version = await asyncio.to_thread(state.set, "a", "new")
        async with asyncio.timeout(HANG):
            return (await reading).new, version

    assert asyncio.run(wait(), debug=True) == ("new", 1)  # which minds a step from elsewhere


async def test_many_threads_write_and_no_change_is_lost_or_out_of_order() -> None:
    state, numbers = State(), range(200)
    watch = state.watch("n:", size=10_000)

    def write(name: str) -> None:
        for number in numbers:
            state.set(f"n:{name}", number)

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(asyncio.to_thread(write, name))
    seen = told(watch)
    assert (len(seen), watch.missed) == (800, 0)
    for name in "abcd":
        assert [value for key, value in seen if key == f"n:{name}"] == list(numbers)


def test_a_write_after_the_end_of_a_waiting_loop_disturbs_nobody() -> None:
    state = State()

    async def wait() -> None:
        waiting = asyncio.create_task(state.wait_for("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        watch = state.watch("a")
        watch._queue.bell.arm()
        watches.append(watch)

    watches: list[Watch] = []
    asyncio.run(wait())
    thread = Thread(target=state.set, args=("a", 1))
    thread.start()
    thread.join()
    assert told(watches[0]) == [("a", 1)]

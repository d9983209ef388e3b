"""The state over several runtimes on one database: what one writes all see, and see the same."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, cast

import pytest

from sidetask import Agent, AgentHandle, Event, Runtime
from sidetask.core.errors import StoreUnavailableError
from sidetask.core.events import EventKind, StateChanged
from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.states import KeptBoard, restore
from sidetask.state.provenance import Change, Origin
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.state.watch import Watch, crossed_above
from sidetask.stores.base import StateEntry, Store, spaces_of
from sidetask.testing import ScriptedModel, VirtualClock, running_runtime
from tests.limits import HANG
from tests.stores.conftest import DATABASES
from tests.stores.samples import entry
from tests.stores.waiting import backend_for, until

pytestmark = pytest.mark.parametrize("url", DATABASES, indirect=True)


@pytest.fixture
def anyio_backend(url: str, clock: VirtualClock) -> object:
    return backend_for(url, clock)


def whole(chat: AgentHandle) -> State:
    """The state as its owner has it."""
    return cast(State, chat.state)


def ready(watch: Watch) -> list[Change]:
    """All changes that there are now."""
    found: list[Change] = []
    while (change := watch.ready()) is not None:
        found.append(change)
    return found


def double(number: int) -> int:
    return 2 * number


class Reads:
    """Counts how often a runtime's store is read for its state, and how much is found."""

    def __init__(self, runtime: Runtime) -> None:
        self.store: Any = cast(Any, runtime)._store
        self.times = 0
        self.entries = 0
        self._read = self.store.read_state
        self.store.read_state = self

    async def __call__(self, *args: Any, **more: Any) -> Any:
        found = await self._read(*args, **more)
        self.times += 1
        self.entries += len(found.entries)
        return found


@asynccontextmanager
async def runtimes(url: str, number: int = 2) -> AsyncGenerator[list[Runtime]]:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(running_runtime(store=url)) for _ in range(number)
        ]
        yield opened
        for chat in [chat for runtime in opened for chat in runtime.live_agents]:
            await chat.shutdown()


@asynccontextmanager
async def hearing(runtime: Runtime) -> AsyncGenerator[None]:
    """It hears of others all the time: whoever of its own begins to listen reads nothing for it,
    as the first one does when the server listens to it, whenever that is."""
    begun = asyncio.Event()
    store: Store = cast(Any, runtime)._store
    end = store.listen(lambda _: begun.set())
    async with asyncio.timeout(HANG):
        await begun.wait()
    yield
    end()


@asynccontextmanager
async def chats(
    url: str, number: int = 2, *, user: str = "ana"
) -> AsyncGenerator[list[AgentHandle]]:
    """A conversation of one user in each of some processes that know of each other."""
    async with runtimes(url, number) as opened:
        found = [await each.open(Agent(ScriptedModel()), user=user) for each in opened]
        await asyncio.sleep(0.5)  # all listen
        yield found


async def test_what_one_process_writes_another_that_is_open_sees(url: str) -> None:
    async with chats(url) as (one, two):
        one.state.as_writer(Origin(source="agent", resolver="review")).set("app:a", [1])
        one.state.set("user:u", "ana's")
        await until(lambda: "app:a" in two.state and "user:u" in two.state)
        told = two.state.provenance("app:a")
        assert told == one.state.provenance("app:a")
        assert told is not None
        assert (told.source, told.resolver, told.version) == ("agent", "review", 1)
        two.state.modify("app:a", lambda value: [*cast("list[Any]", value), 2])
        await until(lambda: one.state["app:a"] == [1, 2])
        assert one.state.version("app:a") == 2
        one.state.delete("app:a")
        await until(lambda: "app:a" not in two.state)
        assert two.state.set("app:a", "again") == 4  # above the grave


async def test_what_another_process_wrote_is_a_change_here_told_once_and_in_its_name(
    url: str,
) -> None:
    async with runtimes(url) as (first_runtime, runtime):
        one = await first_runtime.open(Agent(ScriptedModel()))
        two = await runtime.open(Agent(ScriptedModel()))
        fired: list[object] = []
        events: list[StateChanged] = []

        def hear(event: Event) -> None:
            if isinstance(event, StateChanged):
                events.append(event)

        runtime.on(EventKind.STATE_CHANGED, hear)
        await asyncio.sleep(0.5)
        whole(two).derive("twice", "app:n", double)
        two.state.when(crossed_above("app:n", 5), lambda change: fired.append(change.new))
        watch = two.state.watch("app:")
        one.state.as_writer(Origin(source="tool", task_id="task-9")).set("app:n", 3)
        await until(lambda: "app:n" in two.state)
        one.state.set("app:n", 9)
        await until(lambda: two.state["app:n"] == 9)
        await until(lambda: len([each for each in events if each.key == "app:n"]) == 2)
        await asyncio.sleep(1)
        assert fired == [9]
        assert two.state["twice"] == 18
        first, second = ready(watch)
        assert (first.old, first.new, first.created, first.version) == (None, 3, True, 1)
        assert (first.provenance.source, first.provenance.task_id) == ("tool", "task-9")
        assert (second.old, second.new, second.version) == (3, 9, 2)
        told = [(each.key, each.version, each.source, each.task_id) for each in events]
        assert [each for each in told if each[0] == "app:n"] == [
            ("app:n", 1, "tool", "task-9"),
            ("app:n", 2, "host", None),
        ]


async def test_an_echo_of_ones_own_write_is_no_change(url: str) -> None:
    async with chats(url) as (one, two):
        mine = one.state.watch("app:")
        for number in range(5):
            one.state.set("app:mine", number)
            two.state.set("app:theirs", number)
            await until(lambda n=number: one.state.get("app:theirs") == n)  # type: ignore[misc]
        await asyncio.sleep(1)
        heard = list(ready(mine))
        assert [each.new for each in heard if each.key == "app:mine"] == list(range(5))
        assert [each.new for each in heard if each.key == "app:theirs"] == list(range(5))


async def test_a_conversation_that_is_open_hears_of_what_is_written_to_its_state_elsewhere(
    url: str, opened: Callable[[], Store]
) -> None:
    """As a worker does that carries one of its calls out."""
    async with runtimes(url, 1) as [runtime]:
        chat = await runtime.open(Agent(ScriptedModel()), conversation_id="mine", user="ana")
        chat.state.set("draft", "by the home")
        whole(chat).derive("length", "draft", len)
        await cast(Any, runtime)._store.stored()
        store = opened()
        await store.start()
        worker = State(SharedSpaces(), user="ana", now=chat.state.now)
        entries = await store.load_state(ConversationId("mine"), user="ana")
        restore(entries, worker.own, SharedSpaces(), "ana")
        assert worker["draft"] == "by the home"
        KeptBoard(worker.own, store, ConversationId("mine"), "ana").listen()
        writer = worker.as_writer(Origin(source="tool", task_id="task-1", attempt=2))
        writer.set("draft", "by the worker")
        writer.set("found", 1)
        await until(lambda: "found" in chat.state)
        assert (chat.state["draft"], chat.state["length"]) == ("by the worker", 13)
        told = chat.state.provenance("draft")
        assert told is not None
        assert (told.task_id, told.attempt, told.version) == ("task-1", 2, 2)
        assert [change.new for change in whole(chat).journal][-3:] == ["by the worker", 1, 13]
        writer.delete("found")
        await until(lambda: "found" not in chat.state)


async def test_of_two_writes_on_one_version_all_take_the_same(url: str) -> None:
    async with chats(url, 3) as three:
        for number, chat in enumerate(three):
            chat.state.set("app:x", f"by {number}")  # none has heard of another
        await asyncio.sleep(1)
        await until(lambda: len({str(each.state["app:x"]) for each in three}) == 1)
        one, two, _ = three
        for number in range(4):
            one.state.set("app:y", number)
        two.state.set("app:y", "on an older version")
        await until(lambda: [each.state.get("app:y") for each in three] == [3] * 3)


async def test_a_burst_of_hints_is_one_reading_of_what_is_new(url: str) -> None:
    async with runtimes(url) as (first, second), hearing(second):
        one = await first.open(Agent(ScriptedModel()))
        one.state.update({f"app:{number}": number for number in range(300)})
        await cast(Any, first)._store.stored()
        two = await second.open(Agent(ScriptedModel()))
        await asyncio.sleep(1)
        assert len(two.state.keys("app:")) == 300
        reads = Reads(second)
        for number in range(50):
            one.state.set("app:7", -number)
            one.state.set("app:8", -number)
        await until(lambda: two.state["app:8"] == -49)
        await asyncio.sleep(1)
        assert reads.times <= 3
        assert reads.entries <= 6


async def test_one_process_alone_reads_nothing_after_opening(url: str) -> None:
    async with runtimes(url, 1) as [runtime], hearing(runtime):
        chat = await runtime.open(Agent(ScriptedModel("hi")), user="ana")
        await asyncio.sleep(1)
        reads = Reads(runtime)
        chat.state.update({"a": 1, "app:a": 2, "user:a": 3})
        await chat.ask("hello")
        await asyncio.sleep(2)
        assert reads.times == 0


async def test_an_open_conversation_hears_what_another_finds_when_it_is_opened(url: str) -> None:
    async with runtimes(url) as (first, second):
        one = await first.open(Agent(ScriptedModel()))
        watched = one.state.watch("app:")
        two = await second.open(Agent(ScriptedModel()))
        two.state.set("app:late", 1)
        await cast(Any, second)._store.stored()
        three = await first.open(Agent(ScriptedModel()))  # reads it before the hint is there
        assert three.state["app:late"] == 1
        assert one.state["app:late"] == 1
        await asyncio.sleep(1)
        assert [each.key for each in ready(watched)] == ["app:late"]


async def test_who_left_reads_no_more_and_who_comes_back_finds_all(url: str) -> None:
    async with runtimes(url) as (first, second):
        one = await first.open(Agent(ScriptedModel()))
        two = await second.open(Agent(ScriptedModel()), conversation_id="two")
        await two.disconnect()
        await asyncio.sleep(0.5)
        reads = Reads(second)
        one.state.set("app:x", 1)
        one.state.set("app:gone", 1)
        one.state.delete("app:gone")
        await asyncio.sleep(1)
        assert reads.times == 0
        again = await second.open(Agent(ScriptedModel()), conversation_id="two")
        assert (again.state["app:x"], "app:gone" in again.state) == (1, False)
        one.state.set("app:x", 2)
        await until(lambda: again.state["app:x"] == 2)


def seen(chat: AgentHandle) -> dict[str, tuple[object, object]]:
    state = chat.state
    return {key: (state[key], state.provenance(key)) for key in sorted(state.keys())}


def values(chat: AgentHandle) -> dict[str, object]:
    return {key: value for key, (value, _) in seen(chat).items()}


def kept(entries: Any) -> dict[str, object]:
    return {each.key: each.value for _, each in entries if not each.deleted}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
async def test_after_silence_all_have_what_the_store_has(
    url: str, opened: Callable[[], Store], number: int
) -> None:
    chance = Random(number)
    keys = ["app:a", "app:b", "user:a", "user:b"]

    async def write(chat: AgentHandle, who: int) -> None:
        for turn in range(30):
            key, said = chance.choice(keys), f"{who}.{turn}"
            match chance.randrange(4):
                case 0:
                    chat.state.delete(key)
                case 1:
                    await asyncio.to_thread(chat.state.set, key, said)
                case 2:
                    other = chance.choice(keys)
                    chat.state.update({key: said}, delete=[other] if other != key else [])
                case _:
                    chat.state.set(key, said)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0, 0.01, 0.1, 0.3]))

    async with chats(url, chance.choice([2, 3])) as found:
        async with asyncio.TaskGroup() as group:
            for who, chat in enumerate(found):
                group.create_task(write(chat, who))
        store = opened()
        read = await store.read_state(spaces_of("nobody", "ana"))
        async with asyncio.timeout(HANG):
            while any(values(chat) != kept(read.entries) for chat in found):
                await asyncio.sleep(0.5)
                read = await store.read_state(spaces_of("nobody", "ana"))
        await asyncio.sleep(1)  # and so it stays
        read = await store.read_state(spaces_of("nobody", "ana"))
        first, *others = [seen(chat) for chat in found]
        for other in others:
            assert other == first
        assert kept(read.entries) == values(found[0])
        versions = {each.key: each.version for _, each in read.entries if not each.deleted}
        assert {key: found[0].state.version(key) for key in versions} == versions


async def test_a_deletion_that_is_not_handed_over_yet_is_not_undone_by_a_reading(
    url: str, opened: Callable[[], Store]
) -> None:
    store = opened()
    state = State()
    board = KeptBoard(state.own, store, ConversationId("c"), take=state.take)
    board.listen()
    state.set("x", 1)
    state.delete("y")
    with board.reading():
        was = StateEntry(key="x", value=1, version=1, at=state.now())
        state.delete("x")  # after the reading has begun
        board.take([was])
        assert "x" not in state
    state.set("x", 2)
    assert [each.value for each in await store.load_state(ConversationId("c"))] == [2]


async def test_what_a_store_does_not_take_while_it_is_away_is_handed_over_later(
    url: str, opened: Callable[[], Store]
) -> None:
    store: Any = opened()
    state = State()
    board = KeptBoard(state.own, store, ConversationId("c"), take=state.take)
    board.listen()
    state.set("gone", 1)
    save = store.save_state

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("it is away", "wait")

    store.save_state = away
    state.set("x", 1)
    state.delete("gone")
    store.save_state = save
    board.take([StateEntry(key="gone", value=1, version=1, at=state.now())])
    assert "gone" not in state
    state.set("y", 1)
    found = await store.load_state(ConversationId("c"))
    assert [(each.key, each.deleted) for each in found] == [
        ("gone", True),
        ("x", False),
        ("y", False),
    ]


async def test_a_write_elsewhere_is_not_hidden_by_ones_own(
    url: str, opened: Callable[[], Store]
) -> None:
    mine, other = opened(), opened()
    await mine.start()
    await other.start()
    heard: list[ConversationId | None] = []
    end = mine.listen(heard.append)
    await until(lambda: heard == [None])
    other.save_state(ConversationId("c"), [entry("x", 1)])
    await other.stored()
    mine.save_state(ConversationId("c"), [entry("y", 1)])  # before it was looked for
    await mine.stored()
    await until(lambda: heard == [None, "c"])
    end()

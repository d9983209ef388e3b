"""Agents beside everything: the cap, the queue, the ends, and what is left of them."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    TaskFailedError,
    TooManyTasksError,
    UnknownAgentError,
)
from sidetask.core.lifecycle import TaskStatus
from sidetask.orchestration import BackgroundAgentDispatcher, as_agent
from sidetask.state import Change, StateView, failed, resolved
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Fleet, Held, fleet, settle


async def crash(input: object) -> str:
    raise ExceptionGroup("several", [KeyError("a"), OSError("b")])


async def give_a_set(input: object) -> object:
    return {1, 2}


# -- how runs end --------------------------------------------------------------------------


async def test_a_result_stands_in_the_state_before_anybody_hears_of_the_end(
    clock: VirtualClock,
) -> None:
    async with fleet(clock) as f:
        seen: list[object] = []
        f.told = lambda event: seen.append((event.kind, f.keys("a")))
        f.state.set("a:error", "of old")
        handle = f.agents.dispatch("a", as_agent(give_back), input={"deep": [1, None]})
        assert f.keys("a") == {"status": "queued"}
        assert await handle == {"deep": [1, None]}
        done = {"status": "succeeded", "result": {"deep": [1, None]}}
        assert f.keys("a") == done
        assert seen[-1] == ("task_succeeded", done)
        assert f.agents.available_permits == 2


async def give_back(input: object) -> object:
    return input


async def test_an_error_leaves_its_text_its_type_and_its_details(clock: VirtualClock) -> None:
    async def fail(input: object) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            outer = ValueError("no luck")
            outer.add_note("try again on Monday")
            raise outer from error

    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", as_agent(fail))
        with pytest.raises(TaskFailedError, match="ValueError: no luck"):
            await handle
        assert f.keys("a") == {"status": "failed", "error": "no luck"}
        told = f.origin("a:error")
        assert (told.error_type, told.source, told.resolver) == ("ValueError", "agent", "a")
        assert told.error_details == {
            "cause": "KeyError: 'inner'",
            "notes": ["try again on Monday"],
        }
        assert f.agents.available_permits == 1


@pytest.mark.parametrize(
    ("agent", "kind"),
    [(crash, "ExceptionGroup"), (give_a_set, "StateValueError")],
    ids=["a group of errors", "a result that is no JSON"],
)
async def test_what_goes_wrong_in_any_way_is_a_failed_run(
    clock: VirtualClock, agent: object, kind: str
) -> None:
    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("a", as_agent(agent))  # type: ignore[arg-type]
        resolution = await handle.wait()
        assert resolution.status is TaskStatus.FAILED
        assert failed(f.state, "a")
        assert f.origin("a:error").error_type == kind
        assert set(f.keys("a")) == {"status", "error"}
        assert f.agents.available_permits == 1


async def test_a_run_that_takes_too_long_is_timed_out_and_counts_as_failed(
    clock: VirtualClock,
) -> None:
    async with fleet(clock) as f:
        handle = f.agents.dispatch("a", Held(), timeout=5)
        assert (await handle.wait()).status is TaskStatus.TIMED_OUT
        assert f.keys("a") == {"status": "timed_out", "error": "The call timed out after 5 s."}
        assert f.origin("a:error").error_type == "TaskTimedOut"
        assert failed(f.state, "a")


async def test_plain_writes_of_a_run_are_seen_at_once_and_say_whose_they_are(
    clock: VirtualClock,
) -> None:
    async def write(input: object, state: StateView) -> None:
        state.set("draft", input)
        await asyncio.sleep(10)
        state.set("draft", "final", source="llm")

    async with fleet(clock) as f:
        handle = f.agents.dispatch("writer", as_agent(write), input="first")
        await settle()
        assert f.state["draft"] == "first"
        told = f.origin("draft")
        assert (told.source, told.resolver) == ("agent", "writer")
        assert (told.task_id, told.attempt, told.run_id) == (
            handle.id,
            1,
            f.origin("writer:status").run_id,
        )
        assert told.input_digest == f.origin("writer:status").input_digest is not None
        f.state.set("draft", "mine")  # provenance belongs to the write, not to the key
        assert f.origin("draft").task_id is None
        await handle
        assert f.origin("draft").source == "llm"


# -- the cap and the queue --------------------------------------------------------------------


async def test_at_most_the_cap_runs_first_come_first_served(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 2) as f:
        handles = [f.agents.dispatch(f"r{i}", held, input=i) for i in range(5)]
        assert (f.agents.available_permits, f.agents.active_count) == (0, 5)
        await settle()
        assert sorted(map(str, held.begun)) == ["0", "1"]
        assert [f.agents.status(f"r{i}") for i in range(3)] == ["running", "running", "queued"]
        assert f.agents.is_running("r1")
        assert not f.agents.is_running("r2")
        assert f.agents.cancel("r2", "not needed")
        held.let_go(1)
        await settle()
        assert held.begun[2:] == [3]
        held.let_go(0)
        await settle()
        held.let_go(3)
        held.let_go(4)
        await asyncio.wait({asyncio.ensure_future(handle.wait()) for handle in handles})
        assert held.begun[2:] == [3, 4]
        assert held.most == 2
        assert (f.agents.available_permits, f.agents.active_count) == (2, 0)
        assert f.keys("r2") == {"status": "cancelled"}
        assert f.kinds("r2") == ["queued", "cancelled"]
        assert f.agents.status("r2") is TaskStatus.CANCELLED
        assert f.agents.status("r9") is None
        assert not f.agents.cancel("r2")


async def test_two_dispatchers_of_one_manager_have_a_cap_each(clock: VirtualClock) -> None:
    first, second = Held(), Held()
    async with fleet(clock, 1) as f:
        async with BackgroundAgentDispatcher(2, tasks=f.manager) as other:
            for i in range(3):
                f.agents.dispatch(f"a{i}", first, input=i)
                other.dispatch(f"b{i}", second, input=i)
            await settle()
            assert (first.begun, sorted(map(str, second.begun))) == ([0], ["0", "1"])
            other.cancel_all()
        f.agents.cancel_all()


async def test_a_full_queue_refuses_and_nothing_has_changed(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=2) as f:
        f.state.set("late:result", "of old")
        for i in range(3):
            f.agents.dispatch(f"r{i}", held, input=i)
        with pytest.raises(TooManyTasksError, match="the limit is 2"):
            f.agents.dispatch("late", held, input="x")
        assert f.keys("late") == {"result": "of old"}
        held.let_go(0)
        await settle()
        f.agents.dispatch("late", held, input="x")
        assert f.agents.active_count == 3


async def test_a_full_queue_may_drop_the_run_that_has_waited_longest(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=1, on_full="drop_oldest") as f:
        f.agents.dispatch("a", held, input="a")
        dropped = f.agents.dispatch("b", held, input="b")
        f.agents.dispatch("c", held, input="c")  # in the tick of the others: `a` is about to run
        resolution = await dropped.wait()
        assert resolution.status is TaskStatus.CANCELLED
        assert "queue was full" in resolution.content
        await settle()
        assert held.begun == ["a"]
        assert f.agents.status("c") is TaskStatus.QUEUED


async def test_with_no_queue_at_all_only_what_can_run_is_taken(clock: VirtualClock) -> None:
    async with fleet(clock, 1, max_queue=0, on_full="drop_oldest") as f:
        f.agents.dispatch("a", Held())
        with pytest.raises(TooManyTasksError):
            f.agents.dispatch("b", Held())


async def test_submit_waits_for_room_in_the_order_of_asking(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=1) as f:
        f.agents.dispatch("r0", held, input=0)
        f.agents.dispatch("r1", held, input=1)
        asked: list[asyncio.Future[TaskHandle]] = []
        for i in range(2, 6):
            asked.append(asyncio.ensure_future(f.agents.submit(f"r{i}", held, input=i)))
            await settle()
        assert not any(each.done() for each in asked)
        asked[1].cancel()  # who gives up hands on what he waited for
        for i in (0, 1, 2):
            held.let_go(i)
            await settle()
        assert held.begun == [0, 1, 2, 4]
        assert [each.done() for each in asked] == [True, True, True, True]
        assert asked[1].cancelled()
        assert f.agents.status("r3") is None


async def test_nobody_who_asks_later_gets_the_room_of_who_waits(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=0) as f:
        first = f.agents.dispatch("first", held, input="first")
        waits = asyncio.ensure_future(f.agents.submit("waits", held, input="waits"))
        await settle()
        late: list[asyncio.Future[TaskHandle]] = []
        f.agents.on_end = lambda _: late.append(
            asyncio.ensure_future(f.agents.submit("late", held, input="late"))
        )
        held.let_go("first")
        await first
        await settle()
        assert (waits.done(), late[0].done()) == (True, False)
        f.agents.on_end = None
        late[0].cancel()


async def test_submit_waits_only_for_what_it_needs(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1, max_queue=0) as f:
        f.agents.dispatch("a", held)
        with pytest.raises(InvalidInputError):
            await f.agents.submit("", held)
    async with fleet(clock, 1, max_queue=0, on_duplicate="join") as f:
        handle = f.agents.dispatch("a", held)
        assert (await f.agents.submit("a", held)).id == handle.id
    async with fleet(clock, 1, max_queue=0, on_duplicate="reject") as f:
        f.agents.dispatch("a", held)
        with pytest.raises(DuplicateTaskError):
            await f.agents.submit("a", held)
    async with fleet(clock, 1, max_queue=1) as f:
        f.agents.dispatch("a", held, input="a")
        replaced = f.agents.dispatch("b", held, input="old")
        await f.agents.submit("b", held, input="new")
        assert replaced.status is TaskStatus.CANCELLED


async def test_who_waits_for_room_when_it_closes_is_refused(clock: VirtualClock) -> None:
    async with fleet(clock, 1, max_queue=0) as f:
        f.agents.dispatch("a", Held())
        asked = asyncio.ensure_future(f.agents.submit("b", Held()))
        await settle()
        await f.agents.close(cancel=True)
        with pytest.raises(ManagerClosedError, match="dispatcher is closed"):
            await asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_concurrent": 0},
        {"max_concurrent": 1, "max_queue": -1},
        {"max_concurrent": 1, "on_full": "explode"},
        {"max_concurrent": 1, "on_duplicate": "explode"},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        BackgroundAgentDispatcher(**wrong)  # type: ignore[arg-type]


def test_more_at_once_than_the_manager_lets_run_is_refused() -> None:
    manager = AsyncTaskManager(limits=Limits(conversation=3))
    with pytest.raises(ConfigurationError, match="only 3 tasks of a conversation"):
        BackgroundAgentDispatcher(4, tasks=manager)


async def test_bad_input_is_refused_and_costs_nobody_anything(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        held = Held()
        f.agents.dispatch("a", held)
        for name in ("", "app", "a:"):
            with pytest.raises(InvalidInputError, match="a run cannot be named"):
                f.agents.dispatch(name, held)
        with pytest.raises(InvalidInputError, match="the input of 'a' is not JSON"):
            f.agents.dispatch("a", held, input={1, 2})  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="is no agent: as_agent"):
            f.agents.dispatch("a", give_back)  # type: ignore[arg-type]
        with pytest.raises(UnknownAgentError, match="'nobody'"):
            f.agents.dispatch("a", "nobody")
        fork = f.state.fork()
        fork.discard()
        with pytest.raises(Exception, match="discarded"):
            f.agents.dispatch("a", held, fork)
        await settle()
        assert f.agents.status("a") is TaskStatus.RUNNING
        assert f.agents.active_count == 1


# -- ends of the dispatcher --------------------------------------------------------------------


async def test_closing_takes_no_more_and_waits_for_all_and_twice_is_fine(
    clock: VirtualClock,
) -> None:
    held = Held()
    async with fleet(clock, 1) as f:
        f.agents.dispatch("a", held, input="a")
        f.agents.dispatch("b", held, input="b")
        closing = [asyncio.ensure_future(f.agents.close()) for _ in range(2)]
        await settle()
        with pytest.raises(ManagerClosedError):
            f.agents.dispatch("c", held)
        held.let_go("a")
        await settle()
        assert not closing[0].done()
        held.let_go("b")
        await asyncio.wait(closing)
        assert resolved(f.state, "a")
        assert resolved(f.state, "b")
        await f.agents.close()


async def test_a_run_that_closes_its_own_dispatcher_is_told_so(clock: VirtualClock) -> None:
    async with fleet(clock) as f:

        async def closing(input: object) -> None:
            await f.agents.close()

        await f.agents.dispatch("a", as_agent(closing)).wait()
        assert f.origin("a:error").error_type == "InvalidInputError"
        assert f.agents.dispatch("b", Held()).cancel()


async def test_a_close_that_is_cancelled_stops_all_first(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        f.agents.dispatch("a", Held())
        f.agents.dispatch("b", Held(stubborn=True))
        closing = asyncio.ensure_future(f.agents.close())
        await settle()
        closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled()
        assert f.agents.active_count == 0
        assert f.keys("a") == {"status": "cancelled"}


async def test_leaving_the_block_by_an_error_stops_what_runs(clock: VirtualClock) -> None:
    alone = BackgroundAgentDispatcher(1)

    async def leave() -> None:
        async with alone:
            alone.dispatch("a", Held())
            await settle()
            raise KeyError

    with pytest.raises(KeyError):
        await leave()
    assert alone.state["a:status"] == "cancelled"
    assert alone.active_count == 0


async def test_a_manager_that_closes_ends_the_runs_of_its_dispatchers(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:
        f.agents.dispatch("a", Held())
        await settle()
        await f.manager.handle().close()
        assert f.keys("a") == {"status": "cancelled"}
        with pytest.raises(ManagerClosedError):
            f.agents.dispatch("b", Held())
        assert f.agents.active_count == 0
        assert f.keys("b") == {}


async def test_an_action_of_the_state_may_dispatch_again(clock: VirtualClock) -> None:
    tries: list[int] = []

    async def flaky(input: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("down")
        return "up"

    async with fleet(clock, 1, on_duplicate="reject") as f:
        agent = as_agent(flaky)

        def again(change: Change) -> None:
            f.agents.dispatch("probe", agent)

        f.state.when(lambda change: change.key == "probe:error" and not change.deleted, again)
        f.agents.dispatch("probe", agent)
        assert await f.state.wait_for("probe:result") == "up"
        assert len(tries) == 3
        assert f.keys("probe") == {"status": "succeeded", "result": "up"}


async def test_many_dispatches_leave_no_residue(clock: VirtualClock) -> None:
    async def nothing(input: object) -> object:
        return input

    agent = as_agent(nothing)

    def size(f: Fleet) -> tuple[int, ...]:
        inside: Any = f.manager
        agents: Any = f.agents
        return (
            len(inside._parts.ledger.records._all),
            len(inside._parts.permits._caps),
            len(agents.invoker.runs),
            len(agents._named),
            len(f.state.keys()),
            len(f.manager.executors),
        )

    async with fleet(clock, 5) as f:
        sizes: list[tuple[int, ...]] = []
        for _ in range(4):
            for i in range(120):
                await f.agents.submit(f"r{i % 10}", agent, input=i)
            while f.agents.active_count:
                await settle()
            sizes.append(size(f))
        assert sizes[0] == sizes[-1]

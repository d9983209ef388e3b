"""Many agents for the length of a block: results, failures, costs, and a budget."""

import asyncio

import pytest

from sidetask.core.budget import Budget, ambient_meter
from sidetask.core.errors import ConfigurationError, DuplicateTaskError, ManagerClosedError
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.usage import Usage
from sidetask.orchestration import as_agent, batch
from sidetask.state import State, StateView
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Held, fleet, settle
from tests.tasks.harness import timers


async def spend(input: Json) -> Json:
    """Spend so many dollars, and as many seconds."""
    assert isinstance(input, int)
    await asyncio.sleep(input)
    meter = ambient_meter.get()
    assert meter is not None
    assert meter.spent_out() is None  # what runs never hears of the batch's budget
    meter.spend(Usage(requests=1, usd=input), steps=1)
    if input == 13:
        raise ValueError("unlucky")
    return f"cost {input}"


SPENDER = as_agent(spend)


async def give_back(input: Json) -> Json:
    return input


async def test_results_come_as_they_end_with_what_each_has_cost() -> None:
    async with batch(cap=2) as b:
        for seconds in (4, 1, 2):
            b.dispatch(SPENDER, input=seconds, name=f"spend:{seconds}")
        order = [(done.name, done.value, done.cost) async for done in b.as_completed()]
        assert order == [
            ("spend:1", "cost 1", 1.0),
            ("spend:2", "cost 2", 2.0),
            ("spend:4", "cost 4", 4.0),
        ]
        assert [done.name async for done in b.as_completed()] == ["spend:1", "spend:2", "spend:4"]
    assert (b.usage.usd, b.usage.requests) == (7.0, 3)
    assert b.state["spend:2:result"] == "cost 2"
    assert b.failed == []


async def test_a_failure_is_an_item_and_not_an_exception(clock: VirtualClock) -> None:
    async with fleet(clock) as f, batch(cap=5, tasks=f.manager, state=f.state) as b:
        b.dispatch(SPENDER, input=13)
        b.dispatch(SPENDER, input=1)
        b.dispatch(Held(), name="slow", timeout=2)
        items = {done.name: done async for done in b.as_completed()}
        assert items["spend"].status is TaskStatus.FAILED
        assert (items["spend"].error, items["spend"].duration) == ("ValueError: unlucky", 13.0)
        assert isinstance(items["spend"].exception, ValueError)
        assert items["spend"].cost == 13
        assert items["spend-2"].value == "cost 1"
        assert items["slow"].status is TaskStatus.TIMED_OUT
        assert {item.name for item in b.failed} == {"spend", "slow"}
        assert len(b.results) == 3


async def test_at_the_end_of_the_budget_what_runs_goes_on_and_what_waits_is_cancelled() -> None:
    async with batch(cap=2, budget=Budget(usd=3)) as b:
        for seconds in (1, 2, 5, 6, 7):
            b.dispatch(SPENDER, input=seconds, name=f"spend:{seconds}")
        items = {done.name: done async for done in b.as_completed()}
        late = b.dispatch(SPENDER, input=1, name="late")
        assert (await late.wait()).status is TaskStatus.CANCELLED
    statuses = {name: str(item.status) for name, item in items.items()}
    assert statuses == {
        "spend:1": "succeeded",
        "spend:2": "succeeded",  # with this one the budget is spent: 3 of 3 USD
        "spend:5": "succeeded",
        "spend:6": "cancelled",
        "spend:7": "cancelled",
    }
    assert items["spend:7"].error is not None
    assert "budget is spent (3 of 3 USD)" in items["spend:7"].error
    assert [item.name for item in b.failed] == ["spend:6", "spend:7", "late"]
    assert b.state["spend:6:status"] == "cancelled"
    assert b.usage.usd == 8


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(steps=2), "2 of 2 steps"),
        (Budget(tool_calls=2), "2 of 2 tool calls"),
        (Budget(tokens=20), "20 of 20 tokens"),
    ],
    ids=["steps", "tool calls", "tokens"],
)
async def test_every_limit_of_a_budget_holds(budget: Budget, told: str) -> None:
    async def work(input: Json) -> None:
        meter = ambient_meter.get()
        assert meter is not None
        meter.spend(Usage(requests=1, input_tokens=7, output_tokens=3), steps=1, tool_calls=1)

    async with batch(cap=1, budget=budget) as b:
        for _ in range(3):
            b.dispatch(as_agent(work))
    assert [str(item.status) for item in b.results] == ["succeeded", "succeeded", "cancelled"]
    assert told in str(b.results[2].error)


async def test_a_batch_that_was_left_leaves_no_timer() -> None:
    async with batch(cap=1, budget=Budget(seconds=60)) as b:
        b.dispatch(as_agent(give_back))
        assert timers() > 0
    assert timers() == 0


async def test_a_budget_of_seconds_ends_by_itself() -> None:
    held = Held()
    async with batch(cap=1, budget=Budget(seconds=60)) as b:
        first = b.dispatch(held, input="first")
        second = b.dispatch(held, input="second")
        resolution = await second.wait()
        assert "60 of 60 seconds" in resolution.content
        assert first.status is TaskStatus.RUNNING
        held.let_go("first", "in the end")
    assert [item.value for item in b.results] == [None, "in the end"]


async def test_what_a_batch_spends_its_surroundings_spend_too() -> None:
    async def outer(input: Json) -> Json:
        async with batch(cap=1) as inner:
            inner.dispatch(SPENDER, input=2)
        return inner.usage.usd

    async with batch(cap=1) as b:
        b.dispatch(as_agent(outer))
    assert b.results[0].value == 2
    assert (b.usage.usd, b.results[0].cost) == (2, 2)


async def test_leaving_the_block_waits_for_all() -> None:
    async with batch(cap=1) as b:
        b.dispatch(SPENDER, input=50)
        b.dispatch(SPENDER, input=50)
    assert len(b.results) == 2
    with pytest.raises(ManagerClosedError):
        b.dispatch(SPENDER, input=1)


async def test_an_exception_in_the_block_stops_all_and_goes_on() -> None:
    held, b = Held(), batch(cap=1)

    async def leave() -> None:
        async with b:
            b.dispatch(held, input=1)
            b.dispatch(held, input=2)
            await settle()
            raise KeyError

    with pytest.raises(KeyError):
        await leave()
    assert held.begun == [1]
    assert [str(item.status) for item in b.results] == ["cancelled", "cancelled"]
    assert b.active_count == 0


async def test_cancelling_whoever_holds_the_block_stops_all() -> None:
    held = Held()
    states: list[State | StateView] = []

    async def hold() -> None:
        async with batch(cap=1) as b:
            states.append(b.state)
            b.dispatch(held)
            async for _ in b.as_completed():
                pass

    holding = asyncio.ensure_future(hold())
    await settle()
    holding.cancel()
    await asyncio.wait({holding})
    assert holding.cancelled()
    assert states[0]["held:status"] == "cancelled"


async def test_names_are_made_and_one_that_is_alive_is_refused() -> None:
    held = Held()
    async with batch(cap=3) as b:
        names = [b.dispatch(held, input=i).snapshot().name for i in range(2)]
        assert names == ["held", "held-2"]
        with pytest.raises(DuplicateTaskError):
            b.dispatch(held, name="held-2")
        held.let_go(0)
        held.let_go(1)


async def test_a_name_that_is_made_is_none_that_was_given() -> None:
    async with batch(cap=3) as b:
        await b.dispatch(as_agent(give_back), input="mine", name="give_back-2")
        made = [b.dispatch(as_agent(give_back), input=i).snapshot().name for i in range(2)]
    assert made == ["give_back", "give_back-3"]
    first, *others = [str(item.value) for item in b.results]
    assert (first, sorted(others)) == ("mine", ["0", "1"])  # those two end together
    assert b.state["give_back-2:result"] == "mine"


async def test_outside_of_its_block_a_batch_starts_nothing() -> None:
    b = batch(cap=1, budget=Budget(seconds=1))
    with pytest.raises(ConfigurationError, match=r"async with batch\(\.\.\.\) as b"):
        b.dispatch(Held())
    async with b:
        pass
    with pytest.raises(ManagerClosedError):
        b.dispatch(Held())
    assert (b.results, b.state.snapshot()) == ([], {})


async def test_a_batch_of_nothing_has_nothing_to_tell() -> None:
    async with batch(cap=2, budget=Budget(usd=1, seconds=1)) as b:
        assert [item async for item in b.as_completed()] == []
    assert (b.results, b.failed, b.usage, b.active_count) == ([], [], Usage(), 0)


async def test_a_batch_inside_a_run_is_its_children_within_the_batchs_own_cap(
    clock: VirtualClock,
) -> None:
    held = Held()

    async def outer(input: Json, state: StateView) -> Json:
        async with batch(cap=2, state=state) as b:
            for i in range(3):
                b.dispatch(held, input=i)
        return len(b.results)

    async with fleet(clock, 1) as f:  # its one permit is taken by who waits for the batch
        handle = f.agents.dispatch("outer", as_agent(outer))
        await settle()
        assert sorted(map(str, held.begun)) == ["0", "1"]
        running = f.manager.handle().list_running()
        assert [task.parent_id for task in running] == [None, handle.id, handle.id, handle.id]
        for i in range(3):
            held.let_go(i)
        assert await handle == 3
        assert held.most == 2
        assert f.keys("held-3") == {"status": "succeeded", "result": "done"}


async def test_stopping_the_run_around_a_batch_stops_the_batch(clock: VirtualClock) -> None:
    async def outer(input: Json, state: StateView) -> None:
        async with batch(cap=1, state=state) as b:
            b.dispatch(Held())
            b.dispatch(Held())

    async with fleet(clock, 1) as f:
        handle = f.agents.dispatch("outer", as_agent(outer))
        await settle()
        handle.cancel()
        await handle.wait()
        assert not f.manager.handle().list_running()
        assert f.keys("held") == f.keys("held-2") == {"status": "cancelled"}

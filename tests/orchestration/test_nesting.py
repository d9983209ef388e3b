"""Ways to invoke inside each other: flows, dispatchers, batches, pipelines, resolvers, budgets."""

import asyncio

import pytest

from sidetask.core.budget import Budget, ambient_meter
from sidetask.core.jsons import Json
from sidetask.core.usage import Usage
from sidetask.orchestration import Resolver, as_agent, batch, call, sequence
from sidetask.orchestration.flow import Flow
from sidetask.orchestration.flows.plan import OnEnter, Step
from sidetask.orchestration.guards.words import resolved
from sidetask.state import State, StateView
from sidetask.tasks.values import Resolution
from sidetask.testing import VirtualClock
from tests.orchestration.fleet import Held, fleet, settle
from tests.orchestration.flows.governed import governing, stage


async def test_a_flow_dispatches_a_batch_of_pipelines_whose_resolvers_share_a_run() -> None:
    fetched: list[int] = []

    async def fetch(state: StateView) -> str:
        fetched.append(len(fetched))
        await asyncio.sleep(5)
        return "rates"

    rates = Resolver.fetch("rates", fetch, dedupe=True)

    async def ask(input: Json, state: StateView) -> Json:
        return f"{input}: {await rates(common)}"

    async def survey(input: Json, state: StateView) -> Json:
        async with batch(cap=2, state=state) as b:
            for city in ("rome", "oslo", "bern"):
                b.dispatch(sequence(as_agent(ask)), input=city, name=f"city:{city}")
        return [item.value for item in b.results]

    common = State()
    step = Step(
        "look", on_enter=[OnEnter(as_agent(survey), mode="dispatch")], done=resolved("survey")
    )
    async with governing(Flow("order", steps=[step]), common):
        told = await common.wait_for("survey:result", timeout=60)
        assert isinstance(told, list)
        assert sorted(map(str, told)) == ["bern: rates", "oslo: rates", "rome: rates"]
        assert common["city:oslo:result"] == "oslo: rates"
        assert len(fetched) == 2  # two at once share one; the third asks when that is over
        await settle()
        assert stage(common, "look") == "done"


async def test_the_end_of_a_flow_stops_all_that_stands_below_it() -> None:
    held = Held()
    common = State()

    async def survey(input: Json, state: StateView) -> None:
        async with batch(cap=1, state=state) as b:
            b.dispatch(sequence(held), name="one")
            b.dispatch(sequence(held), name="two")

    step = Step("look", on_enter=[OnEnter(as_agent(survey), mode="dispatch")])
    async with governing(Flow("order", steps=[step]), common):
        await settle()
        assert len(held.begun) == 1
    told = {name: common[f"{name}:status"] for name in ("survey", "one", "two")}
    assert told == dict.fromkeys(("survey", "one", "two"), "cancelled")
    assert held.begun == [None]


async def spend(input: Json) -> None:
    """Spend a dollar."""
    meter = ambient_meter.get()
    assert meter is not None
    meter.spend(Usage(usd=1.0))


async def test_each_batch_of_a_family_keeps_its_own_budget_and_pays_to_those_above() -> None:
    async def inner(input: Json, state: StateView) -> Json:
        async with batch(cap=1, budget=Budget(usd=2), state=state) as b:
            for i in range(4):
                b.dispatch(as_agent(spend), name=f"{input}:{i}")
        return [str(item.status) for item in b.results].count("succeeded")

    async with batch(cap=1, budget=Budget(usd=3)) as outer:
        for i in range(3):
            outer.dispatch(as_agent(inner), input=f"family-{i}", name=f"inner-{i}")
        ends = {item.name: item.value async for item in outer.as_completed()}
    assert ends == {"inner-0": 2, "inner-1": 2, "inner-2": None}  # 2, 4: more than 3 is spent
    assert outer.usage.usd == 4


async def test_a_call_inside_a_dispatched_run_needs_no_permit(clock: VirtualClock) -> None:
    async def nested(input: Json, state: StateView) -> Json:
        depth = input if isinstance(input, int) else 0
        if not depth:
            return "bottom"
        return await call(f"depth-{depth}", as_agent(nested), state, input=depth - 1)

    async with fleet(clock, 1) as f:
        assert await f.agents.dispatch("top", as_agent(nested), input=3) == "bottom"
        assert f.keys("depth-1") == {"status": "succeeded", "result": "bottom"}


async def test_a_state_that_is_closed_ends_its_watchers_and_not_its_runs(
    clock: VirtualClock,
) -> None:
    held = Held()
    async with fleet(clock, 1) as f:
        f.agents.dispatch("a", held)
        await settle()
        changes: list[str] = []

        async def watch() -> None:
            async for change in f.state.watch("a:"):
                changes.append(change.key)

        watching = asyncio.ensure_future(watch())
        await settle()
        fork = f.state.fork()
        fork.set("kept", 1)
        f.state.close()
        await asyncio.wait({watching})
        held.let_go()
        await settle()
        assert changes == []
        fork.commit()
        assert f.state.snapshot() == {"a:status": "succeeded", "a:result": "done", "kept": 1}


# -- who waits for what queues behind it ---------------------------------------------------------


async def test_a_run_that_awaits_a_dispatch_of_its_own_dispatcher_lends_it_its_permit(
    clock: VirtualClock,
) -> None:
    async with fleet(clock, 1) as f:
        at_work: list[str] = []

        async def nested(input: Json) -> Json:
            depth = input if isinstance(input, int) else 0
            at_work.append(f"{depth} begins")
            if depth:
                told = await f.agents.dispatch(
                    f"depth-{depth - 1}", as_agent(nested), input=depth - 1
                )
                assert f.agents.available_permits == 0
            else:
                told = "bottom"
            at_work.append(f"{depth} ends")
            return told

        top = f.agents.dispatch("top", as_agent(nested), input=2)
        other = f.agents.dispatch("other", as_agent(nested), input=1)
        assert await top == await other == "bottom"
        begun = [f"{i} begins" for i in (2, 1, 0)] + [f"{i} ends" for i in (0, 1, 2)]
        assert at_work == [*begun, "1 begins", "0 begins", "0 ends", "1 ends"]
        assert f.agents.available_permits == 1


async def test_what_is_awaited_together_goes_on_the_permit_one_after_the_other(
    clock: VirtualClock,
) -> None:
    held = Held()
    async with fleet(clock, 1) as f:

        async def outer(input: Json) -> list[Json]:
            handles = [f.agents.dispatch(f"inner-{i}", held, input=i) for i in range(3)]
            async with asyncio.TaskGroup() as group:
                ends = [group.create_task(handle.wait()) for handle in handles]
            return [end.result().value for end in ends]

        handle = f.agents.dispatch("outer", as_agent(outer))
        for i in range(3):
            await settle()
            assert (len(held.begun), f.agents.available_permits) == (i + 1, 0)
            held.let_go(held.begun[-1])
        assert await handle == ["done", "done", "done"]
        assert held.most == 1


async def test_under_a_call_the_permit_is_that_of_who_called(clock: VirtualClock) -> None:
    async with fleet(clock, 1) as f:

        async def middle(input: Json) -> Json:
            return await f.agents.dispatch("inner", as_agent(bottom))

        async def outer(input: Json, state: StateView) -> Json:
            return await call("middle", as_agent(middle), state)

        async def bottom(input: Json) -> Json:
            return "bottom"

        assert await f.agents.dispatch("outer", as_agent(outer)) == "bottom"


@pytest.mark.parametrize("first", ["outer", "inner"])
async def test_who_gives_up_waiting_goes_on_beside_what_has_its_permit(
    clock: VirtualClock, first: str
) -> None:
    held = Held()
    async with fleet(clock, 1) as f:

        async def outer(input: Json) -> Json:
            inner = f.agents.dispatch("inner", held, input="inner")
            try:
                async with asyncio.timeout(5):
                    await inner
            except TimeoutError:
                return await held.gate("outer")
            return None

        handle = f.agents.dispatch("outer", as_agent(outer))
        queued = f.agents.dispatch("queued", held, input="queued")
        await asyncio.sleep(6)
        assert (f.agents.is_running("outer"), f.agents.is_running("inner")) == (True, True)
        held.let_go(first)
        await settle()
        assert not f.agents.is_running("queued")  # the other one has the permit
        held.let_go("inner" if first == "outer" else "outer")
        await settle()
        assert f.agents.is_running("queued")
        assert await handle == "done"
        queued.cancel()


async def test_a_permit_that_is_lent_comes_back_from_whoever_ends_last(
    clock: VirtualClock,
) -> None:
    held = Held()
    waits: list[asyncio.Task[Resolution]] = []
    async with fleet(clock, 1) as f:

        async def leaves(input: Json) -> None:
            inner = f.agents.dispatch("inner", held, input="inner")
            waits.append(asyncio.create_task(inner.wait()))
            await asyncio.sleep(1)

        await f.agents.dispatch("outer", as_agent(leaves))
        assert (f.agents.is_running("inner"), f.agents.available_permits) == (True, 0)
        held.let_go("inner")
        assert (await waits[0]).value == "done"
        assert f.agents.available_permits == 1


async def test_stopping_who_lends_gives_every_permit_back(clock: VirtualClock) -> None:
    held = Held()
    async with fleet(clock, 1) as f:

        async def outer(input: Json) -> Json:
            return await f.agents.dispatch("inner", held)

        f.agents.dispatch("outer", as_agent(outer))
        await settle()
        f.agents.cancel("outer")
        await settle()
        assert f.agents.is_running("inner")
        assert f.agents.available_permits == 0
        f.agents.cancel("inner")
        await settle()
        assert f.agents.available_permits == 1

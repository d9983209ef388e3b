"""Agents whose background calls a worker carries out."""

import pytest

from sidetask import Agent, Runtime, background, tool
from sidetask.core.errors import ConfigurationError
from sidetask.core.messages import NotificationMessage
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.values import Completed
from sidetask.testing import ScriptedModel, VirtualClock, call
from tests.tasks.harness import settle
from tests.tasks.remote.town import AGENT, Hand, Town

ran: list[str] = []


@tool(route=background())
async def forge(iron: int) -> str:
    """Forge."""
    ran.append("forge")
    return f"{iron} forged at home"


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    ran.clear()
    return Town(clock)


def smith(*script: object, tools: tuple[object, ...] = (forge,)) -> Agent:
    return Agent(ScriptedModel(*script), name=AGENT, tools=tools)  # type: ignore[arg-type]


def runtime(town: Town, **settings: object) -> Runtime:
    return Runtime(store=town.store.view(), clock=town.clock, **settings)  # type: ignore[arg-type]


async def finish(worker: Hand) -> None:
    await settle()  # until it has begun
    job = await worker.claim()
    await worker.finish(job, Completed("done", f"forged by {worker.id}"))


async def test_a_model_hears_of_what_a_worker_has_done(town: Town) -> None:
    worker = town.worker("w1", "forge")
    async with runtime(town) as home:
        chat = await home.open(smith(call("forge", iron=3), "it is being forged", "it is done"))
        assert (await chat.ask("forge it")).text == "it is being forged"
        await finish(worker)
        await chat.wait_for_idle()
        assert chat.history()[-1].text == "it is done"  # type: ignore[union-attr]
        [told] = [each for each in chat.history() if isinstance(each, NotificationMessage)]
        assert "forged by w1" in str(told)
    assert ran == []


async def test_where_no_worker_lives_it_is_done_at_home(town: Town) -> None:
    async with runtime(town) as home:
        chat = await home.open(smith(call("forge", iron=3), "soon", "it is done"))
        await chat.ask("forge it")
        await chat.wait_for_idle()
    assert ran == ["forge"]


async def test_an_agent_as_a_tool_works_at_home(town: Town) -> None:
    town.worker("w1", "helper", "forge")
    helper = Agent(ScriptedModel("helped"), name="helper")
    tools = (helper.as_tool(route=background(), description="Help."),)
    async with runtime(town) as home:
        chat = await home.open(smith(call("helper", input="go"), "soon", "done", tools=tools))
        await chat.ask("get help")
        await chat.wait_for_idle()
    assert await town.jobs() == []


async def test_disconnecting_leaves_jobs_to_whoever_resumes(town: Town) -> None:
    worker = town.worker("w1", "forge")
    async with runtime(town) as home:
        chat = await home.open(smith(call("forge", iron=3), "soon"), conversation_id="c9")
        await chat.ask("forge it")
        await chat.disconnect()
    [job] = await town.jobs()
    assert job.status == "queued"
    async with runtime(town, agents=[smith("it is done")]) as home:
        chat = await home.resume("c9")
        await finish(worker)
        await chat.wait_for_idle()
        assert chat.history()[-1].text == "it is done"  # type: ignore[union-attr]
    assert ran == []


async def test_shutting_down_cancels_what_is_out(town: Town) -> None:
    town.worker("w1", "forge")
    async with runtime(town) as home:
        chat = await home.open(smith(call("forge", iron=3), "soon"))
        await chat.ask("forge it")
        await chat.shutdown()
    assert [job.status for job in await town.jobs()] == ["cancelled"]


async def test_a_home_is_a_member_from_its_first_conversation_to_its_close(town: Town) -> None:
    async with runtime(town) as home:
        assert await town.store.register.living() == []
        for _ in range(2):
            async with home.open(smith("hi")):
                assert [each.role for each in await town.store.register.living()] == ["home"]
        assert [each.role for each in await town.store.register.living()] == ["home"]
    assert await town.store.register.living() == []


async def test_a_runtime_that_does_all_here_is_a_member_too(town: Town) -> None:
    """Or its conversations would look like those of a process that has died."""
    async with runtime(town, background="here") as home, home.open(smith("hi")):
        assert [each.role for each in await town.store.register.living()] == ["home"]


def test_a_store_without_workers_is_refused_when_they_are_to_do_the_work() -> None:
    for store in ("memory:", "sqlite:///never-opened.db", MemoryStore()):
        with pytest.raises(ConfigurationError, match="postgresql"):
            Runtime(store=store, background="workers")


async def test_many_calls_end_each_with_its_own_result(town: Town) -> None:
    worker = town.worker("w1", "forge")
    calls = [call("forge", iron=n) for n in range(3)]
    async with runtime(town) as home:
        chat = await home.open(smith(*calls, "soon", *["done"] * 3))
        await chat.ask("forge them")
        for _ in range(3):
            await finish(worker)
        await chat.wait_for_idle()

    assert len(await town.jobs()) == 3

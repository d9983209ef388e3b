"""What a job asks goes home, and the answer comes back; a child is as a child at home."""

import asyncio
from dataclasses import replace

import pytest

from sidetask import RunContext, background, tool
from sidetask.agents.policies.rules import Policy, ask, deny
from sidetask.core.routing import TaskPolicy
from sidetask.stores.base import Record
from sidetask.tasks.remote.values import Ask
from sidetask.tasks.values import Completed, Refused
from sidetask.testing import VirtualClock
from tests.worker.harness import Place, settle, sharing

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


@tool(route=background(), policy=RETRY)
async def pay(ctx: RunContext[object], amount: int) -> str:
    """Pay."""
    await ctx.request_approval("Really?", amount=amount)
    return f"paid {amount}"


async def answer(place: Place, asked: Record[Ask], word: str, note: str | None = None) -> None:
    """What home does, in another process: the store tells of it."""
    await write_answer(place, asked, word, note)
    place.heard(asked.conversation_id)
    await settle()


async def write_answer(
    place: Place, asked: Record[Ask], word: str, note: str | None = None
) -> None:
    closed = replace(asked, status=word, value=replace(asked.value, answer=word, note=note))
    assert await place.store.swap(closed, expect="open") is closed


async def test_a_question_goes_home_and_its_body_goes_on_when_it_is_answered(
    clock: VirtualClock,
) -> None:
    async with sharing(clock) as place:
        worker = await place.worker(pay)
        job = place.enqueue(pay, {"amount": 5})
        asked = await place.ask(job)
        assert (asked.value.reason, asked.value.details) == ("Really?", {"amount": 5})
        await answer(place, asked, "approved")
        assert await place.outcome(job) == Completed("paid 5", "paid 5")
        assert worker.counters.ends["succeeded"] == 1


async def test_an_answer_whose_hint_is_lost_is_found_by_a_later_look(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        await place.worker(pay)
        job = place.enqueue(pay, {"amount": 5})
        await write_answer(place, await place.ask(job), "approved")
        began = clock.now()
        assert await place.outcome(job) == Completed("paid 5", "paid 5")
        assert clock.now() - began < 10


async def test_a_no_ends_it_as_denied(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        await place.worker(pay)
        job = place.enqueue(pay, {"amount": 5})
        await answer(place, await place.ask(job), "denied", "too much")
        outcome = await place.outcome(job)
        assert isinstance(outcome, Refused)
        assert "too much" in outcome.reason


async def test_who_waits_for_a_person_takes_no_room_and_no_time(clock: VirtualClock) -> None:
    @tool(route=background(), policy=TaskPolicy(timeout=10))
    async def ask_it(ctx: RunContext[object]) -> str:
        """Ask."""
        await ctx.request_approval("Really?")
        return "asked"

    async with sharing(clock) as place:
        worker = await place.worker(ask_it, concurrency=1)
        jobs = [place.enqueue(ask_it, task=f"task-{n}") for n in range(3)]
        questions = [await place.ask(job) for job in jobs]
        await settle(100)
        assert (worker.gauges.running, worker.gauges.waiting) == (0, 3)
        for question in questions:
            await answer(place, question, "approved")
        for job in jobs:
            assert await place.outcome(job) == Completed("asked", "asked")


async def test_a_job_that_begins_again_finds_its_answer(clock: VirtualClock) -> None:
    async with sharing(clock) as place:
        first = await place.worker(pay)
        job = place.enqueue(pay, {"amount": 5}, on_crash="retry")
        asked = await place.ask(job)
        first.drain()
        await place.ended(first)
        assert (await place.job(job)).status == "queued"
        assert (await place.ask(job)).status == "open"
        await answer(place, asked, "approved")
        await place.worker(pay)
        assert await place.outcome(job) == Completed("paid 5", "paid 5")
        assert await place.store.get(asked.kind, asked.conversation_id, f"{job}:2") is None


async def test_an_answer_holds_for_what_was_asked_alone(clock: VirtualClock) -> None:
    amounts = iter([5, 500])

    @tool(route=background(), policy=RETRY)
    async def pay_some(ctx: RunContext[object]) -> str:
        """Pay."""
        amount = next(amounts)
        await ctx.request_approval("Really?", amount=amount)
        return f"paid {amount}"

    async with sharing(clock) as place:
        first = await place.worker(pay_some)
        job = place.enqueue(pay_some, on_crash="retry")
        asked = await place.ask(job)
        first.drain()
        await place.ended(first)
        await answer(place, asked, "approved")
        await place.worker(pay_some)
        assert (await place.ask(job, 2)).value.details == {"amount": 500}


async def test_who_gives_up_waiting_withdraws_its_question(clock: VirtualClock) -> None:
    @tool(route=background())
    async def hasty(ctx: RunContext[object]) -> str:
        """Ask, but not for long."""
        try:
            async with asyncio.timeout(1):
                await ctx.request_approval("Quick?")
        except TimeoutError:
            return "without an answer"
        return "with one"

    async with sharing(clock) as place:
        await place.worker(hasty)
        job = place.enqueue(hasty)
        assert await place.outcome(job) == Completed("without an answer", "without an answer")
        assert (await place.ask(job)).status == "withdrawn"


async def test_a_child_runs_the_agents_tool_and_what_it_returned_is_kept(
    clock: VirtualClock,
) -> None:
    ran: list[str] = []
    go = asyncio.Event()

    @tool
    async def part(number: int) -> int:
        """A part."""
        ran.append(f"part {number}")
        return number

    @tool(route=background(), policy=RETRY)
    async def whole(ctx: RunContext[object]) -> object:
        """Both parts."""
        both = [await ctx.spawn("part", number=n) for n in (1, 2)]
        ran.append("both")
        await go.wait()
        return both

    async with sharing(clock) as place:
        first = await place.worker(part, whole, grace=0)
        job = place.enqueue(whole, on_crash="retry")
        await settle()
        assert ran == ["part 1", "part 2", "both"]
        first.drain()
        await place.ended(first)
        go.set()
        await place.worker(part, whole)
        assert await place.outcome(job) == Completed([1, 2], "[1, 2]")
        assert ran == ["part 1", "part 2", "both", "both"]


async def test_a_rule_holds_for_a_child_too_and_its_question_goes_home(
    clock: VirtualClock,
) -> None:
    @tool
    async def send(to: str) -> str:
        """Send."""
        return f"sent to {to}"

    @tool(route=background())
    async def whole(ctx: RunContext[object]) -> object:
        """Send one."""
        return await ctx.spawn("send", to="ana")

    async with sharing(clock) as place:
        rules = {"agent": {"policy": Policy(ask("send"))}, "on_approval": "host"}
        await place.worker(send, whole, runtime=rules)
        job = place.enqueue(whole)
        asked = await place.ask(job)
        assert asked.value.details["tool"] == "send"
        await answer(place, asked, "approved")
        assert await place.outcome(job) == Completed("sent to ana", "sent to ana")


@pytest.mark.parametrize("rule", ["agent", "runtime"])
async def test_an_agent_that_a_tool_invokes_is_bound_by_the_rules_of_its_caller(
    clock: VirtualClock, rule: str
) -> None:
    from sidetask import Agent  # noqa: PLC0415
    from sidetask.testing import ScriptedModel, call  # noqa: PLC0415

    @tool
    async def send() -> str:
        """Send."""
        raise AssertionError("it is forbidden")

    model = ScriptedModel((call("send"),), "I could not.")
    helper = Agent(model, name="helper", tools=[send])

    @tool(route=background())
    async def delegate(ctx: RunContext[object]) -> object:
        """Let a helper do it."""
        return await helper.invoke("Send.", ctx.state)

    async with sharing(clock) as place:
        policy = {"policy": Policy(deny("send"))}
        given = {"agent": policy} if rule == "agent" else policy
        await place.worker(delegate, runtime=given)
        job = place.enqueue(delegate)
        assert await place.outcome(job) == Completed("I could not.", "I could not.")
        assert "denied" in str(model.requests[1].messages[-1])

"""Conversations that nobody has open go on in a worker, when there is something to do."""

import asyncio
import logging
from itertools import pairwise

import pytest

from sidetask import AgentHandle, background, tool
from sidetask.client import Client
from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import ConversationId
from sidetask.core.routing import TaskPolicy
from sidetask.stores.members import BELOW, NOBODY, STUCK
from sidetask.tasks.stored import ORDERS
from sidetask.testing import VirtualClock, call, stall
from tests.worker.adoption.scene import C, clerk, playing

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


async def test_what_is_said_where_nobody_listens_is_answered(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker("Five.")
        await scene.send("Two and three?")
        await scene.said("Five.")
        assert await scene.texts() == ["Hi.", "Hello.", "Two and three?", "Five."]
        assert not await scene.store.find(ORDERS, open=True)
        assert (await scene.home()).value.adopted
        assert worker.worker is not None
        assert worker.worker.counters.adopted == 1


async def test_a_client_begins_a_conversation_with_an_agent_of_the_workers(
    clock: VirtualClock,
) -> None:
    async with playing(clock) as scene:
        worker = await scene.worker("Five.")
        client = Client(scene.store.view())
        key = await client.begin("clerk", user="u42")
        await asyncio.sleep(5)
        assert worker.opens == 0, "there is nothing to do yet"
        await client.send(key, "Two and three?")
        await scene.said("Five.", key)
        made = await client.conversation(key)
        assert (made.user, made.turns, made.title) == ("u42", 1, "Two and three?")
        for name, why in ((key, "send to it"), (None, "with which agent")):
            with pytest.raises(InvalidInputError, match=why):
                await client.begin("clerk" if name else "", conversation_id=name)


async def test_what_is_said_during_a_turn_joins_it(clock: VirtualClock) -> None:
    go = asyncio.Event()

    @tool
    async def look() -> str:
        """Look."""
        await go.wait()
        return "nothing"

    async with playing(clock) as scene:
        await scene.left(tools=[look])
        await scene.worker(call("look"), "Both.", tools=[look])
        await scene.send("One?")
        await asyncio.sleep(1)
        await scene.send("Two?")
        await asyncio.sleep(1)
        go.set()
        await scene.said("Both.")
        assert (await scene.texts())[2:] == ["One?", "", "ToolMessage", "Two?", "Both."]


async def test_it_is_let_go_when_it_was_idle_for_a_while(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker("Five.", "Six.")
        await scene.send("Two and three?")
        await scene.said("Five.")
        await asyncio.sleep(4)
        await scene.send("And one?")
        await scene.said("Six.")
        await asyncio.sleep(4)
        assert worker.opens == 1
        await asyncio.sleep(2)
        assert worker.opens == 0
        assert ((await scene.home()).status, (await scene.home()).value.takings) == (NOBODY, 0)
        assert worker.worker is not None
        assert worker.worker.counters.adopted == 1


async def test_what_has_nothing_to_do_is_never_opened(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        home, chats = scene.process(clerk(*["Hello."] * 50)), list[AgentHandle]()
        for number in range(50):
            chat = await home.runtime.open("clerk", conversation_id=f"c{number}")
            chats.append(chat)
            await chat.ask("Hi.")
            if number % 2:
                await chat.disconnect()
        worker = await scene.worker()
        home.die()
        before, looks = len(asyncio.all_tasks()), scene.store.register.looks
        await asyncio.sleep(10)
        assert scene.store.register.looks - looks <= 21, "one question, for all of them"
        assert len(asyncio.all_tasks()) <= before
        assert worker.worker is not None
        assert worker.worker.counters.adopted == 0


async def test_of_two_workers_one_adopts(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        workers = [await scene.worker("Five."), await scene.worker("Five.")]
        await scene.send("Two and three?")
        await scene.said("Five.")
        await asyncio.sleep(3)
        assert sorted(len(each.model.requests) for each in workers) == [0, 1]
        assert sum(each.opens for each in workers) == 1


async def test_what_its_home_was_doing_goes_on_when_it_is_killed(clock: VirtualClock) -> None:
    @tool(route=background(), policy=RETRY)
    async def count() -> str:
        """Count."""
        await asyncio.sleep(60)
        return "seven"

    async with playing(clock) as scene:
        home, chat = await scene.begun(call("count"), "Counting.", stall(), tools=[count])
        await chat.ask("Count.")
        await chat.send("And then?")
        await asyncio.sleep(1)
        home.die()
        began = clock.now()
        worker = await scene.worker("It is slow.", "Seven!", tools=[count])
        await scene.said("It is slow.")
        assert clock.now() - began <= 2.0
        await scene.said("Seven!")
        assert "seven" in str(worker.model.requests[-1].messages)


async def test_a_turn_that_a_killed_worker_had_begun_is_gone_on_with(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        first = await scene.worker(stall())
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        assert len(first.model.requests) == 1
        second = await scene.worker("Five.")
        first.die()
        began = clock.now()
        await scene.said("Five.")
        assert clock.now() - began <= 2.0
        assert await scene.texts() == ["Hi.", "Hello.", "Two and three?", "Five."]
        assert len(second.model.requests) == 1


async def test_whose_connection_only_broke_keeps_what_it_has(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        home, chat = await scene.begun(stall())
        await chat.send("Think.")
        await asyncio.sleep(1)
        worker = await scene.worker("Mine.")
        [name] = home.members
        hold = scene.store.register.holds[name]
        scene.store.register.kill(name)
        hold.lost.set()
        await asyncio.sleep(5)
        assert home.members != [name]
        assert worker.opens == 0
        assert (await scene.home()).status == home.members[0]


async def test_a_users_process_takes_it_over_and_goes_on_with_the_turn(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker(stall())
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        caplog.clear()
        home = scene.process(clerk("Five."))
        chat = await home.runtime.resume(C)
        await scene.said("Five.")
        assert chat.turn_count == 3
        await asyncio.sleep(10)
        assert worker.opens == 0
        assert (await scene.home()).status == home.members[0]
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_no_other_worker_takes_what_a_users_process_is_given(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        workers = [await scene.worker(stall()) for _ in range(3)]
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        home = scene.process(clerk("Five."))
        chat = await home.runtime.resume(C)
        await scene.said("Five.")
        await asyncio.sleep(10)
        assert sorted(len(each.model.requests) for each in workers) == [0, 0, 1]
        assert (chat.turn_count, (await scene.home()).status) == (3, home.members[0])


async def test_who_gives_up_waiting_for_it_leaves_it_to_others(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker(stall(), "Five.")
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        home = scene.process(clerk())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await home.runtime.resume(C)
        await scene.said("Five.")
        assert worker.opens == 1


async def test_a_users_process_does_not_wait_for_a_worker_that_is_deaf(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker(stall())
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        worker.view.line.deaf = True
        home = scene.process(clerk("Five."))
        began = clock.now()
        chat = await home.runtime.resume(C)
        assert 3 <= clock.now() - began < 4
        assert (await scene.home()).status == home.members[0]
        worker.view.line.deaf = False
        await scene.send("Are you there?")
        await asyncio.sleep(1)
        assert (worker.opens, chat.conversation_id) == (0, C)


async def test_a_decision_brings_back_what_waits_for_it(clock: VirtualClock) -> None:
    @tool(route=background(), approval="ask")
    async def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    async with playing(clock) as scene:
        home = scene.process(clerk(call("pay", amount=5), "Asked.", tools=[pay]))
        chat = await home.runtime.open("clerk", conversation_id=C)
        await chat.ask("Pay.")
        await chat.disconnect()
        worker = await scene.worker("Paid!", tools=[pay])
        await asyncio.sleep(30)
        assert worker.worker is not None
        assert worker.worker.counters.adopted == 0, "it waits for a person"
        client = Client(scene.store.view())
        [asked] = await client.approvals(status="open")
        await asked.approve(by="ana")
        await scene.said("Paid!")


async def test_what_only_waits_for_a_person_is_let_go(clock: VirtualClock) -> None:
    @tool(route=background(), approval="ask")
    async def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    async with playing(clock) as scene:
        await scene.left(tools=[pay])
        worker = await scene.worker(call("pay", amount=5), "Asked.", "Paid!", tools=[pay])
        await scene.send("Pay.")
        await scene.said("Asked.")
        await asyncio.sleep(6)
        assert worker.opens == 0
        [asked] = await Client(scene.store.view()).approvals(status="open")
        await asked.approve(by="ana")
        await scene.said("Paid!")


async def test_a_result_that_came_while_nobody_was_there_is_told(clock: VirtualClock) -> None:
    go = asyncio.Event()

    @tool(route=background(), policy=RETRY)
    async def fetch() -> str:
        """Fetch."""
        await go.wait()
        return "seven"

    async with playing(clock) as scene:
        other = scene.process(clerk(tools=[fetch]))
        await other.work(conversations=0)
        home, chat = await scene.begun(call("fetch"), "Fetching.", tools=[fetch])
        await chat.ask("Fetch.")
        await asyncio.sleep(1)
        home.die()
        adopter = await scene.worker("Seven!", tools=[fetch])
        await asyncio.sleep(10)
        assert adopter.opens == 0, "its job is at work"
        go.set()
        await scene.said("Seven!")


async def test_what_its_workers_do_not_know_is_left(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        await scene.process(clerk(name="other")).work()
        await scene.send("Hello?")
        await asyncio.sleep(5)
        assert (await scene.home()).status == NOBODY
        await scene.worker("Here.")
        await scene.said("Here.")


async def test_a_worker_that_drains_lets_its_turn_end_and_adopts_nothing(
    clock: VirtualClock,
) -> None:
    go = asyncio.Event()

    @tool
    async def look() -> str:
        """Look."""
        await go.wait()
        return "nothing"

    async with playing(clock) as scene:
        await scene.left(tools=[look])
        worker = await scene.worker(call("look"), "Nothing.", tools=[look])
        await scene.send("Look.")
        await asyncio.sleep(1)
        assert worker.worker is not None
        worker.worker.drain()
        await asyncio.sleep(5)
        go.set()
        await asyncio.sleep(0.1)
        assert (await scene.texts())[-1] == "Nothing."
        assert (await scene.home()).status == NOBODY
        await scene.send("Again.")
        await asyncio.sleep(5)
        assert (await scene.home()).status == NOBODY


async def test_a_turn_that_a_drain_cuts_off_is_the_next_workers(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.worker(stall(), grace=3)
        await scene.send("Two and three?")
        await asyncio.sleep(1)
        assert worker.worker is not None
        worker.worker.drain()
        await asyncio.sleep(5)
        assert (await scene.home()).status == NOBODY
        await scene.worker("Five.")
        await scene.said("Five.")
        assert await scene.texts() == ["Hi.", "Hello.", "Two and three?", "Five."]


async def test_what_three_workers_have_died_of_is_left_alone(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with playing(clock) as scene:
        await scene.left()
        await scene.send("Die.")
        for _ in range(3):
            worker = await scene.worker(stall())
            await asyncio.sleep(3)
            assert len(worker.model.requests) == 1
            worker.die()
        last = await scene.worker("Never.")
        await asyncio.sleep(10)
        assert (await scene.home()).status == STUCK
        assert last.opens == 0
        [said] = [each for each in caplog.records if "is left alone" in each.message]
        assert said.levelno == logging.ERROR
        home = scene.process(clerk("Alive."))
        chat = await home.runtime.resume(C)
        assert (await chat.ask("Well?")).text == "Alive."
        await chat.disconnect()
        assert (await scene.home()).status == NOBODY


async def test_one_that_was_well_once_is_not_blamed(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        for number in range(4):
            worker = await scene.worker(f"Answer {number}.")
            await scene.send("Hello?")
            await scene.said(f"Answer {number}.")
            await asyncio.sleep(2)
            worker.die()
            await asyncio.sleep(1)
        assert (await scene.home()).value.takings == 0


async def test_one_that_cannot_be_opened_is_tried_again_later(clock: VirtualClock) -> None:
    tries: list[float] = []

    def deps() -> str:
        tries.append(clock.now())
        if len(tries) < 4:
            raise OSError("no network")
        return "deps"

    async with playing(clock) as scene:
        await scene.left()
        worker = await scene.process(clerk("Here."), deps=deps).work()
        await scene.send("Hello?")
        await scene.said("Here.")
        gaps = [round(b - a) for a, b in pairwise(tries)]
        assert gaps == [5, 10, 20]
        assert worker.worker is not None
        assert worker.worker.counters.unopened == 3


async def test_what_rests_after_a_stop_is_nobodys_to_wake(clock: VirtualClock) -> None:
    go = asyncio.Event()

    @tool(route=background())
    async def fetch() -> str:
        """Fetch."""
        await go.wait()
        return "seven"

    async with playing(clock) as scene:
        _, chat = await scene.begun(call("fetch"), "Fetching.", tools=[fetch])
        await chat.ask("Fetch.")
        await chat.interrupt()
        go.set()
        await chat.wait_for_idle()
        await chat.disconnect()
        worker = await scene.worker("Never.")
        await asyncio.sleep(30)
        assert worker.worker is not None
        assert worker.worker.counters.adopted == 0


async def test_a_part_of_another_conversation_is_not_adopted(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        await scene.left()
        home = scene.process(clerk("Mine.", "Yours."))
        above = await home.runtime.open("clerk", conversation_id="above")
        below = await above.spawn_subagent("clerk", conversation_id=C)
        await below.ask("Go.")
        home.die()
        worker = await scene.worker()
        await scene.send("Hello?")
        await asyncio.sleep(5)
        assert (await scene.home()).status == BELOW
        assert worker.opens == 0


async def test_there_is_a_bound_and_the_others_wait(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        home = scene.process(clerk(*["Hello."] * 3))
        keys = [ConversationId(f"c{number}") for number in range(3)]
        for key in keys:
            chat = await home.runtime.open("clerk", conversation_id=key)
            await chat.ask("Hi.")
            await chat.disconnect()
            await scene.send("Hello?", key)
        worker = await scene.worker(*["Yes."] * 3, conversations=2)
        await asyncio.sleep(4)
        assert worker.opens == 2
        for key in keys:
            await scene.said("Yes.", key)


async def test_zero_adopts_nothing(clock: VirtualClock) -> None:
    @tool(route=background())
    async def work() -> str:
        """Work."""
        return "done"

    async with playing(clock) as scene:
        await scene.left()
        await scene.send("Hello?")
        await scene.worker("Never.", tools=[work], conversations=0)
        await asyncio.sleep(5)
        assert (await scene.home()).status == NOBODY
        assert scene.store.register.looks == 0

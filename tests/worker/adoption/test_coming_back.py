"""A home that was frozen, or cut off, and comes back to a conversation that others have by now."""

import asyncio

import pytest

from sidetask import AgentHandle
from sidetask.core.errors import ConversationTakenError
from sidetask.testing import VirtualClock
from tests.tasks.remote.town import Hold
from tests.worker.adoption.scene import LIMIT, C, Process, Scene, clerk, playing


async def frozen(scene: Scene) -> tuple[Process, AgentHandle, Hold]:
    """One that is taken for dead, and does not know it before its hold says so."""
    home, chat = await scene.begun()
    [name] = home.members
    hold = scene.store.register.holds[name]
    home.view.line.deaf = True
    scene.store.register.kill(name)
    return home, chat, hold


async def refused(chat: AgentHandle) -> None:
    """It has ended, and is let go of without an error."""
    with pytest.raises(ConversationTakenError):
        await chat.ask("Are you there?")
    await chat.disconnect()


async def test_it_ends_by_itself_if_a_worker_has_adopted_the_conversation(
    clock: VirtualClock,
) -> None:
    async with playing(clock) as scene:
        home, chat, hold = await frozen(scene)
        await scene.worker("Here.")
        await scene.send("Hello?")
        await scene.said("Here.")
        assert home.opens == 1
        hold.lost.set()
        await asyncio.sleep(1)
        assert home.opens == 0
        await refused(chat)
        assert (await scene.texts())[-1] == "Here."


async def test_it_does_not_take_from_another_users_process_what_it_had(clock: VirtualClock) -> None:
    async with playing(clock) as scene:
        _, chat, hold = await frozen(scene)
        other = scene.process(clerk("Here."))
        taken = await other.runtime.resume(C)
        hold.lost.set()
        await asyncio.sleep(1)
        await refused(chat)
        assert (await scene.home()).status in other.members
        assert await taken.ask("And you?")


async def test_it_need_not_be_asked_anything_to_end_when_it_is_told_of_another_home(
    clock: VirtualClock,
) -> None:
    async with playing(clock) as scene:
        _, chat = await scene.begun()
        other = scene.process(clerk("Here."))
        taken = await other.runtime.resume(C)
        assert not await chat.wait_for_wakeup(LIMIT)
        await refused(chat)
        assert await taken.ask("And you?")

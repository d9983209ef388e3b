"""What is old is forgotten in slices, and others write in between."""

import asyncio

import pytest

from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store
from tests.stores.conftest import DATABASES
from tests.stores.samples import C, conversation, fact

OLD, NOW = 1.0, 9.0

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("url", DATABASES, indirect=True)]


def nth(n: int) -> ConversationId:
    return ConversationId(f"old-{n:04}")


async def a_moment() -> None:
    await asyncio.sleep(0.004)  # on the virtual clock: less than the pause after a slice


async def test_one_that_is_touched_while_others_are_being_forgotten_stays(store: Store) -> None:
    for n in range(250):
        store.save(conversation(nth(n), at=OLD))
    await store.stored()
    forgetting = asyncio.get_running_loop().create_task(store.vacuum(5.0))
    while await store.conversation(nth(0)) is not None:
        await a_moment()
    store.save(conversation(nth(249), at=NOW))
    gone = await forgetting
    assert sorted(gone) == [nth(n) for n in range(249)]
    assert [each.id for each in await store.conversations()] == [nth(249)]


async def test_others_write_between_the_slices_of_what_is_trimmed(store: Store) -> None:
    for n in range(3_000):
        store.append(fact(n % 10 + 1, nth(n // 10), at=OLD))
    await store.stored()
    forgetting = asyncio.get_running_loop().create_task(store.vacuum(5.0, conversations=False))
    between = 0
    while not forgetting.done():
        between = await store.count(C, "writes", 1)
        await a_moment()
    assert between >= 3
    assert [await store.last_seq(nth(n)) for n in (0, 100, 299)] == [10, 10, 10]
    for n in range(300):
        assert [each.seq for each in await store.facts(nth(n))] == [10]


async def test_all_of_one_long_conversation_is_trimmed(store: Store) -> None:
    for seq in range(1, 2_502):
        store.append(fact(seq, nth(1), at=OLD))
    store.append(fact(1, nth(2), at=OLD))
    store.append(fact(2, nth(2), at=NOW))
    await store.vacuum(5.0, conversations=False)
    assert [each.seq for each in await store.facts(nth(1))] == [2_501]
    assert [each.seq for each in await store.facts(nth(2))] == [2]


async def test_a_long_conversation_of_which_all_stays_holds_up_none_that_comes_after(
    store: Store,
) -> None:
    for seq in range(1, 1_102):
        store.append(fact(seq, nth(1), at=NOW))
    store.append(fact(1, nth(2), at=OLD))
    store.append(fact(2, nth(2), at=NOW))
    await store.vacuum(5.0, conversations=False)
    assert len(await store.facts(nth(1))) == 1_101
    assert [each.seq for each in await store.facts(nth(2))] == [2]

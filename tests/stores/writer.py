"""Another process: `python -m tests.stores.writer URL COMMAND`. It says what it has done."""

import asyncio
import sys

from sidetask.core.ids import TaskId
from sidetask.core.messages import user_message
from sidetask.stores.base import Store, follow
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import RESULTS
from tests.stores.samples import KEY, C, D, a_member, fact, job, question, result


def say(*words: object) -> None:
    print(*words, flush=True)


async def write_turns(store: Store) -> None:
    """Write turns until somebody kills it: each of a fact, a result, and two messages that
    acknowledge it. First of all, what an earlier process has not delivered."""
    for waiting in await store.find(RESULTS, conversation_id=C, open=True):
        await deliver(store, int(waiting.id.removeprefix("task-")))
    turn = await store.last_seq(C)
    while True:
        turn += 1
        store.append(fact(turn))
        store.put(result(f"task-{turn}"))
        await store.stored()
        say("fact", turn)
        await deliver(store, turn)


async def deliver(store: Store, turn: int) -> None:
    messages = [user_message(f"{turn}"), user_message(f"{turn}")]
    await store.commit_turn(C, messages, ack=[TaskId(f"task-{turn}")])
    say("turn", turn)


async def append(store: Store) -> None:
    """Append facts to a conversation, and to another one."""
    for seq in range(1, 201):
        store.append(fact(seq))
        store.append(fact(seq, D))
        if seq % 20 == 0:
            await store.stored()


async def decide(store: Store) -> None:
    """Decide fifty questions, as fast as it goes."""
    for number in range(50):
        mine = question(f"q{number}", "approved", decided_by=sys.argv[3])
        stands = await store.swap(mine, expect="open")
        say("mine" if stands == mine else "theirs")


async def hear(store: Store) -> None:
    """Say the facts of a conversation as they come."""
    async with follow(store, C) as facts:
        say("ready")
        async for found in facts:
            say(found.seq)


async def enqueue(store: Store) -> None:
    """Until somebody kills it: put a record and enqueue a job beside it, as one."""
    number = 0
    while True:
        number += 1
        store.put(question(f"{number}"))
        store.queue.enqueue(job(f"{number}:1"))
        await asyncio.sleep(0)
        if number % 10 == 0:
            await store.stored()
            say(number)


async def member(store: Store) -> None:
    """Join, claim what there is, and live until somebody kills it."""
    membership = await store.members.join(a_member(sys.argv[3]))
    claimed = await store.queue.claim(sys.argv[3], [KEY], limit=100)
    say(*[each.id for each in claimed])
    await membership.lost.wait()


async def main(url: str, command: str) -> None:
    store = open_store(url)
    await store.start()
    commands = {
        "turns": write_turns,
        "append": append,
        "decide": decide,
        "hear": hear,
        "enqueue": enqueue,
        "member": member,
    }
    await commands[command](store)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

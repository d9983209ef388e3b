"""Another process: `python -m tests.stores.writer URL COMMAND`. It says what it has done."""

import asyncio
import sys

from sidetask.core.ids import TaskId
from sidetask.core.messages import user_message
from sidetask.stores.base import Store, follow
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import RESULTS
from tests.stores.samples import C, D, fact, question, result


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


async def main(url: str, command: str) -> None:
    store = open_store(url)
    await store.start()
    commands = {"turns": write_turns, "append": append, "decide": decide, "hear": hear}
    await commands[command](store)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

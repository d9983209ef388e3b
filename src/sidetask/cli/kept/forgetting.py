"""What the commands do and print by which a store forgets."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import time

from sidetask.cli.kept.durations import seconds
from sidetask.cli.kept.place import to_look_into
from sidetask.cli.view.render import count
from sidetask.core.errors import ConversationNotFoundError, SidetaskError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import PAGE, Store
from sidetask.stores.opening import open_store

SHOWN = 20
"""Ids that are listed."""


@dataclass(frozen=True, slots=True)
class Vacuum:
    """What is to be forgotten."""

    store: str
    older_than: str
    dry_run: bool = False
    keep_conversations: bool = False
    yes: bool = False


def vacuum(wanted: Vacuum) -> int:
    """Forget what is old; returns the exit code, as all of these do."""
    before = time() - seconds(wanted.older_than)
    conversations = not wanted.keep_conversations

    async def run(store: Store) -> None:
        old = await store.vacuum(before, conversations=conversations, dry_run=True)
        rest = f"and of the others events and closed records older than {wanted.older_than}"
        if wanted.dry_run:
            _print(f"would forget {_count(old)}, {rest}", old)
            return
        if old:
            _ask(f"forget {_count(old)}, {rest}?", old, yes=wanted.yes)
        gone = await store.vacuum(before, conversations=conversations)
        _print(f"forgot {_count(gone)}, {rest}", gone)

    return _with(wanted.store, run)


def delete(store: str, conversation: str, *, yes: bool) -> int:
    """Forget a conversation."""
    conversation_id = ConversationId(conversation)

    async def run(opened: Store) -> None:
        found = await opened.conversation(conversation_id)
        if found is None and not await opened.last_seq(conversation_id):
            raise ConversationNotFoundError(conversation)
        turns = count(found.turns if found is not None else 0, "turn")
        _ask(f"forget {conversation} and its {turns}?", yes=yes)
        await opened.delete(conversation_id)
        _print(f"forgot {conversation}")

    return _with(store, run)


def erase(store: str, user: str, *, yes: bool) -> int:
    """Forget a user."""

    async def run(opened: Store) -> None:
        theirs = [each.id for each in await opened.conversations(user=user, limit=10 * PAGE)]
        more = " at least" if len(theirs) == 10 * PAGE else ""
        _ask(
            f"forget the state and{more} {_count(theirs)} of {user}?",
            theirs,
            yes=yes,
        )
        gone = await opened.erase(user)
        _print(f"forgot the state and {_count(gone)} of {user}", gone)

    return _with(store, run)


def _with(url: str, work: Callable[[Store], Awaitable[None]]) -> int:
    async def run() -> None:
        store = open_store(to_look_into(url))
        if not store.durable:
            raise SidetaskError(f"{url!r} is in the memory of another process: give a URL")
        try:
            await store.start()
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())
    return 0


def _ask(question: str, ids: Sequence[str] = (), *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SidetaskError(f"{question} Nobody is there to say so: add --yes")
    _print(question, ids)
    # asyncio takes Ctrl-C for itself, and would wait for the answer before it obeys.
    taken = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = input("[y/N] ")
    except EOFError:
        answer = ""
    finally:
        signal.signal(signal.SIGINT, taken)
    if answer.strip().lower() not in ("y", "yes"):
        raise SidetaskError("nothing was forgotten")


def _count(ids: Sequence[str]) -> str:
    return count(len(ids), "conversation")


def _print(line: str, ids: Sequence[str] = ()) -> None:
    print(line)
    for each in ids[:SHOWN]:
        print(f"  {each}")
    if len(ids) > SHOWN:
        print(f"  and {len(ids) - SHOWN} more")

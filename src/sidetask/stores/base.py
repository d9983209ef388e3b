"""The seam between the runtime and where conversations are kept.

What every store promises, tested for each by `tests/stores/test_contract.py`:

* **Handing over never waits.** `append`, `put`, `save` and `save_state` take what happened, in
  order, and return at once. What is handed over without an `await` in between is written as
  one: after a crash all of it is there or nothing is. `await stored()` returns when everything
  handed over so far is safe. A fact is published after it was appended.
* **Asking waits.** Every `async` method sees what was handed over before it, and has happened
  when it returns. One that raises has written nothing; one that is cancelled either has
  written nothing and is cancelled at once, or is finished first and cancelled after.
* `commit_turn` writes messages, the acknowledgement of delivered results, and that what was asked
  for is done, as one.
* While the database takes nothing, `stored` and every hand-over raise, until it takes again what
  it was given before; nothing that was taken is lost by that. What it refuses of one
  conversation alone is raised by what that conversation hands over next. What is not JSON is
  refused at once.
* A closed record stays as it is: of two ends of one thing, the first stands, whichever process
  wrote it. `swap` decides between processes.
* What was read is what was written, in order.

A store belongs to one event loop, and a conversation's facts to one process at a time: a second
one that appends to it is told with `ConversationTakenError`, and by `on_taken`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, RunId, TaskId, value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import Message, Text, UserMessage
from sidetask.stores.bounds import written
from sidetask.stores.members import Members
from sidetask.stores.queue import Queue

T = TypeVar("T")

PAGE = 100
"""How many rows one question gives at most, unless it asks for more."""

# -- what is kept -----------------------------------------------------------------------------


@value(kw_only=True)
class ConversationRecord:
    """What is known of a conversation without reading it. Times are seconds since the epoch."""

    id: ConversationId
    agent: str
    user: str | None = None
    title: str = ""
    status: str = "open"
    turns: int = 0
    created_at: float
    updated_at: float


@value
class Kind(Generic[T]):
    """A sort of records: its name in the database, which never changes, and what they hold."""

    name: str
    type: type[T]
    """A dataclass that the codec can write."""
    open: frozenset[str] = frozenset()
    """The statuses in which a record waits for something: it may change, and is never
    forgotten. A record in another status is closed, and stays as it is."""
    kept: int = 1_000
    """How many closed ones of a conversation a store keeps that lives in memory."""


@value(kw_only=True)
class Record(Generic[T]):
    """Something of a conversation that has a status: a task, an approval, a result, a run."""

    kind: Kind[T]
    conversation_id: ConversationId
    id: str
    """Unique among those of its kind in the conversation."""
    status: str
    at: float
    """Of its last change. Seconds since the epoch."""
    value: T

    @property
    def open(self) -> bool:
        """It waits for something."""
        return self.status in self.kind.open


@value(kw_only=True)
class StateEntry:
    """One write to the shared state."""

    key: str
    value: Json
    version: int
    at: float
    origin: JsonObject = field(default_factory=dict[str, Json])
    """Who wrote it, as JSON."""
    deleted: bool = False
    """The key is gone; its version goes on from here."""


Space: TypeAlias = tuple[str, str]
"""Where keys of the state live: "app", "user" or "conversation", and whose space it is."""


@value(kw_only=True)
class StateRead:
    """What was found in spaces of the state."""

    entries: Sequence[tuple[Space, StateEntry]]
    """By key, deleted ones too."""
    mark: int
    """Ask `after` this for what is written later."""


@value(kw_only=True)
class Compaction:
    """A summary that stands for messages `start` to `end` (not included) of a history."""

    start: int
    end: int
    summary: Message


@value(kw_only=True)
class Run:
    """What became of a run, for whoever asks for it a second time."""

    run_id: RunId
    text: str = ""
    error: str | None = None
    error_type: str | None = None


RESULT = "result"
"""The kind of a result that ended and waits to be delivered: `commit_turn` closes it."""
DELIVERED = "delivered"
LASTING = ("approval", "compaction", "home", "turn")
"""The kinds of records that are forgotten with their conversation, and not before."""
STEP, TASK = "step", "task"
"""The kinds of tasks, and of what their finished steps returned."""
TEXTS = Kind("text", Text, kept=50)
"""Whole outputs that were cut for a model, by an id that the model is told."""
COMPACTIONS = Kind("compaction", Compaction)
RUNS = Kind("run", Run, open=frozenset({"running"}))
"""By `client_request_id`: `swap(run, expect=None)` claims one."""

# -- what a store does --------------------------------------------------------------------------


class Log(Protocol):
    """The facts of conversations."""

    def append(self, fact: Event) -> None:
        """Take a fact. Raises when the store can take no more; then it is not published."""
        ...

    async def stored(self) -> None:
        """Return when all that was handed over so far is as safe as this store makes it."""
        ...

    async def facts(
        self, conversation_id: ConversationId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[Event]:
        """The facts that are kept, with a `seq` above `after`, in order; the first `limit`."""
        ...

    async def last_seq(self, conversation_id: ConversationId) -> int:
        """The `seq` of the last fact; 0: there is none. Whoever asks is about to go on with it:
        what this process had refused of the conversation is forgiven."""
        ...

    def listen(self, heard: Callable[[ConversationId | None], None]) -> Callable[[], None]:
        """Call `heard` in the loop when another process has written to a conversation, or to a
        shared space of the state (`told_as`); None: perhaps to any. A hint, never the news itself.
        Returns what ends it."""
        ...

    def on_taken(self, heard: Callable[[ConversationId], None]) -> Callable[[], None]:
        """As `listen`, of what turns out to be another process's, before its writers are told."""
        ...


class Conversations(Protocol):
    """Conversations, and their messages."""

    def save(self, conversation: ConversationRecord) -> None:
        """Take a conversation's record, in place of the one it had."""
        ...

    async def conversation(self, conversation_id: ConversationId) -> ConversationRecord | None:
        """The record of a conversation."""
        ...

    async def conversations(
        self,
        *,
        user: str | None = None,
        after: ConversationRecord | None = None,
        limit: int = PAGE,
    ) -> Sequence[ConversationRecord]:
        """Conversations of a user, or of all; the last touched first. `after`: the last one of
        the page before."""
        ...

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        closing: Sequence[Record[Any]] = (),
        at: int | None = None,
    ) -> None:
        """Append messages to the history, note that these tasks' results are part of it, and close
        these records of the conversation. If one of them is closed already, all of it was written
        before, by a try whose end nobody heard: nothing is written again. `at`: its length so far.

        Raises:
            ConversationTakenError: It is longer, and not by these messages: nothing was written.
        """
        ...

    async def history(
        self, conversation_id: ConversationId, *, start: int = 0
    ) -> Sequence[Message]:
        """The messages from place `start` on; empty for an unknown conversation."""
        ...

    async def clear(self, conversation_id: ConversationId) -> None:
        """Forget the messages of a conversation, and the summaries of them; all else stays."""
        ...

    async def delete(self, conversation_id: ConversationId) -> None:
        """Forget all of a conversation. Forgetting an unknown one is fine."""
        ...

    async def erase(self, user: str) -> Sequence[ConversationId]:
        """Forget a user: all their conversations, and their state. Returns what was deleted."""
        ...

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        """Forget what nobody touched since then, in seconds since the epoch: conversations, which
        it returns, and of the others facts, closed records, and jobs that are over and whose task
        is closed.

        A conversation stays in which something is open, or a job not over; `conversations=False`:
        all stay. Of one that stays, stays all that resuming it needs: its messages, the records of
        `LASTING` kinds, and the steps of its tasks while one of these is open. `dry_run`: only
        tell which conversations would be forgotten.

        It may be done bit by bit, with writes of others in between: if it fails, what was forgotten
        by then is. What is committed, claimed or opened in a conversation while that is decided
        keeps it, or comes after all of it is gone."""
        ...


class Records(Protocol):
    """Tasks, approvals, results, runs, texts: all that has an id and a status."""

    def put(self, record: Record[T]) -> None:
        """Take a record, in place of the one of its id if that is open."""
        ...

    async def get(
        self, kind: Kind[T], conversation_id: ConversationId, id: str
    ) -> Record[T] | None:
        """The record of this id."""
        ...

    async def find(  # noqa: PLR0913 - each narrows the question
        self,
        kind: Kind[T],
        *,
        conversation_id: ConversationId | None = None,
        user: str | None = None,
        id: str | None = None,
        open: bool | None = None,
        after: Record[T] | None = None,
        limit: int = PAGE,
    ) -> Sequence[Record[T]]:
        """Records in the order in which they were first put: of a conversation or of all
        conversations of a user, with an id, open or closed. `after`: the last one of the page
        before."""
        ...

    async def swap(self, record: Record[T], *, expect: str | None) -> Record[T] | None:
        """Put a record if the one of its id has the status `expect`; None: if there is none.

        Returns the record that stands now: the given one, or another that was there before;
        None: there is none, and one was expected. Of any number of callers in any number of
        processes one succeeds.
        """
        ...

    async def count(self, conversation_id: ConversationId, name: str, amount: float = 0.0) -> float:
        """Add to a counter of the conversation, and return its total."""
        ...


class States(Protocol):
    """The shared state: of a conversation, of its user (`user:`), and of all (`app:`)."""

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        """Take writes. Of two writes of a key the one stands that `replaces` the other, whichever
        comes first. Keys with `temp:`, `turn:` and `derived:` are left out."""
        ...

    async def load_state(
        self, conversation_id: ConversationId, *, user: str | None = None
    ) -> Sequence[StateEntry]:
        """All that a conversation sees, deleted keys too, by key."""
        ...

    async def read_state(self, spaces: Collection[Space], *, after: int = 0) -> StateRead:
        """All that was written to these spaces since the `mark` of an earlier reading, whoever
        wrote it; perhaps more. 0: everything."""
        ...


class Store(Log, Conversations, Records, States, Protocol):
    """Keeps conversations, and all that happens in them."""

    durable: bool
    """What is stored survives the process."""
    queue: Queue
    """The jobs of its conversations, which are deleted with them."""
    members: Members
    """The processes that share it."""

    async def start(self) -> None:
        """Open it. The first use would, too; here is where errors are best met. Twice is fine.

        Raises:
            ConfigurationError: There is no such database, or it may not be opened.
            StoreUnavailableError: It cannot be reached now.
            StoreVersionError: A newer sidetask wrote it.
            StoreCorruptError: It is no database, or damaged.
        """
        ...

    async def close(self) -> None:
        """Write what was handed over, and let go. Twice is fine."""
        ...


class Joining(ABC):
    """A store that can write in a transaction of the program's own, on the same database."""

    @abstractmethod
    async def claim_within(self, tx: object, record: Record[Any]) -> None:
        """Put a record into a conversation that is there, if none has its id, by a connection or
        cursor that is in a transaction or begins one. Others see it when that is committed.

        Raises:
            ConfigurationError: It is no such object, or in autocommit mode; or its database has no
                tables of sidetask.
            ConversationNotFoundError: There is no such conversation.
        """


# -- for all stores -----------------------------------------------------------------------------

_NOT_STORED = ("temp:", "turn:", "derived:")


def title_of(message: UserMessage, *, letters: int = 60) -> str:
    """The first words of a message, on one line."""
    line = " ".join(message.text[: 4 * letters].split())
    return line if len(line) <= letters else line[: letters - 1].rsplit(" ", 1)[0] + "…"


def kept_state(entries: Sequence[StateEntry]) -> list[StateEntry]:
    """The entries that a store keeps."""
    return [entry for entry in entries if not entry.key.startswith(_NOT_STORED)]


def replaces(entry: StateEntry, before: StateEntry | None) -> bool:
    """Whether a write stands, and not the one that is there: it has the higher version, or of two
    equal ones the later time, or of two equal times the text that sorts last.

    No two writes are equal in this order, so it does not matter who hears of which first: when
    all have heard of all, all have the same.
    """
    if before is None or entry.version != before.version:
        return before is None or entry.version > before.version
    if entry.at != before.at:
        return entry.at > before.at
    return _text(entry) > _text(before)


def _text(entry: StateEntry) -> str:
    # Asked of two equal ones alone: every program has this module, and few have those.
    from sidetask.core.codec import value_to_json  # noqa: PLC0415

    return written(value_to_json(StateEntry, entry))


def space_of(key: str, conversation_id: str, user: str | None) -> Space:
    """Where a key of the state lives."""
    if key.startswith("app:"):
        return "app", ""
    if key.startswith("user:") and user is not None:
        return "user", user
    return "conversation", conversation_id


def spaces_of(conversation_id: str, user: str | None) -> list[Space]:
    """All spaces that a conversation sees: its own, that of all, and its user's."""
    return list({space_of(key, conversation_id, user): None for key in ("", "app:", "user:")})


def told_as(space: Space) -> ConversationId:
    """How `listen` calls a space. A hint may be of the conversation that has this very name."""
    sort, owner = space
    return ConversationId(owner if sort == "conversation" else f"{sort}:{owner}")


@asynccontextmanager
async def follow(
    store: Store, conversation_id: ConversationId, *, after: int = 0
) -> AsyncGenerator[AsyncIterator[Event]]:
    """Read a conversation's facts after a `seq`, and go on with those that other processes
    append: `async with follow(...) as facts: async for fact in facts: ...`.

    Raises, where it is read:
        StoreClosedError: The store was closed.
    """
    changed = asyncio.Event()

    def heard(which: ConversationId | None) -> None:
        if which is None or which == conversation_id:
            changed.set()

    async def facts() -> AsyncGenerator[Event, None]:
        last = after
        while True:
            changed.clear()
            while found := await store.facts(conversation_id, after=last, limit=PAGE):
                for fact in found:
                    yield fact
                last = found[-1].seq
            await changed.wait()

    end = store.listen(heard)
    reading = facts()
    try:
        yield reading
    finally:
        end()
        await reading.aclose()

"""The blackboard of one conversation: JSON values by string key, with who wrote them.

* Reads never wait. What is handed out cannot be used to change what is kept (see `values`).
* A write is one step: checked first, then done as a whole, then told. It bumps its keys'
  versions, and what it says of its writer belongs to it alone.
* Any thread may read and write. What waits, waits in the loop of whoever asked.

`StateView` is what agents and tools are given; a `Fork` is one too. `State` is the host's: it
adds what concerns the conversation as a whole.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from sidetask.core.errors import InvalidInputError, StateClosedError, StateTimeoutError
from sidetask.core.jsons import Json
from sidetask.state.board import Board, Fired, Journal, Redact, is_prefix
from sidetask.state.fork import Overlay
from sidetask.state.provenance import Change, Entry, Origin, Provenance, Source
from sidetask.state.spaces import Hub, Keys, SharedSpaces, Write, fire
from sidetask.state.values import ABSENT, MAX_VALUE, freeze, validated
from sidetask.state.watch import (
    BOUND,
    Bell,
    Predicate,
    Report,
    Watch,
    When,
    check_ordinary,
    no_coroutine,
)

T = TypeVar("T")
D = TypeVar("D")

_HOST = Origin()
_SIGNED = (_HOST.source, _HOST.resolver, _HOST)


class StateView:
    """The shared state as one writer sees it."""

    __slots__ = ("_check", "_entries", "_keys", "_origin", "_signed")

    def __init__(
        self, keys: Keys, origin: Origin = _HOST, check: Callable[[], None] | None = None
    ) -> None:
        self._keys = keys
        self._entries = keys.entries
        self._origin = origin
        self._check = check
        self._signed = _SIGNED if origin is _HOST else (origin.source, origin.resolver, origin)

    # -- reading -------------------------------------------------------------------------------

    @overload
    def get(self, key: str, default: Json = None) -> Json: ...
    @overload
    def get(self, key: str, default: None = None, *, as_type: type[T]) -> T | None: ...
    @overload
    def get(self, key: str, default: D, *, as_type: type[T]) -> T | D: ...
    def get(self, key: str, default: object = None, *, as_type: type[T] | None = None) -> object:
        """The value of a key; `default` if there is none.

        `as_type` is any type that pydantic knows, and the value is made one.

        Raises:
            StateValueError: The value is not of that type.
        """
        entry = self._entries.get(key) or self._keys.find(key)
        if entry is None:
            return default
        return entry.value if as_type is None else validated(key, entry.json, as_type)

    def __getitem__(self, key: str) -> Json:
        entry = self._keys.find(key)
        if entry is None:
            raise KeyError(key)
        return entry.json

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._keys.find(key) is not None

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`: of this conversation, oldest first, then those it
        shares."""
        return [key for key in self._keys.keys() if key.startswith(prefix)]  # noqa: SIM118

    def snapshot(self) -> dict[str, Json]:
        """All keys with their values, as they are at one moment."""
        with self._keys.lock:
            found = [(key, self._keys.exact(key)) for key in self._keys.keys()]  # noqa: SIM118
        return {key: entry.json for key, entry in found if entry is not None}

    def provenance(self, key: str) -> Provenance | None:
        """Who wrote the key's value, and when; None if it has none."""
        entry = self._keys.find(key)
        return None if entry is None else entry.provenance()

    def version(self, key: str) -> int:
        """One more with every write of the key, and never the same again; 0 if there is none."""
        entry = self._keys.exact(key)
        return 0 if entry is None else entry.version

    def now(self) -> float:
        """Seconds since the epoch, by the clock that dates the writes."""
        return self._keys.now()

    # -- writing -------------------------------------------------------------------------------

    def set(
        self,
        key: str,
        value: object,
        *,
        source: Source | None = None,
        resolver: str | None = None,
        expect_version: int | None = None,
    ) -> int:
        """Write a JSON value, or a pydantic model, which is dumped. Returns the key's version.

        Raises:
            StateValueError: The value is not JSON, or too big; nothing is written.
            StateConflictError: The key is not at `expect_version` (0: there is no such key).
            InvalidInputError: The key is empty, a bare prefix, or derived.
            TaskFencedError: This is the view of a task's attempt that is over.
            StateClosedError: This is a fork that was committed or discarded.
        """
        frozen = freeze(key, value, self._keys.limit)
        expect = None if expect_version is None else {key: expect_version}
        return self._write([(key, frozen, self._sign(source, resolver))], expect)[key]

    def delete(self, key: str, *, expect_version: int | None = None) -> bool:
        """Drop a key. False: there was none, which is fine. Raises as `set` does."""
        expect = None if expect_version is None else {key: expect_version}
        return self._write([(key, ABSENT, self._origin)], expect)[key] > 0

    def update(
        self,
        values: Mapping[str, object],
        *,
        delete: Iterable[str] = (),
        expect: Mapping[str, int] | None = None,
        source: Source | None = None,
        resolver: str | None = None,
    ) -> dict[str, int]:
        """Write and delete many keys in one step: nobody sees a part of it.

        `expect` maps keys to the versions they must be at. Returns the new versions. Raises as
        `set` does, and then nothing is written.
        """
        origin, limit = self._sign(source, resolver), self._keys.limit
        writes: list[Write] = [
            (key, freeze(key, value, limit), origin) for key, value in values.items()
        ]
        for key in delete:
            writes.append((key, ABSENT, origin))
        return self._write(writes, expect)

    def modify(
        self,
        key: str,
        fn: Callable[[Json], object],
        default: Json = None,
        *,
        source: Source | None = None,
        resolver: str | None = None,
    ) -> Json:
        """Write `fn(value)`, with nobody else's write in between. Returns what was written.

        `fn` runs under the state's lock: it computes, and does nothing else. Raises as `set`
        does, and what `fn` raises; then nothing is written.
        """
        fired: Fired = []
        with self._keys.lock:
            entry = self._keys.find(key)
            version = self.version(key)
            value = fn(default if entry is None else entry.json)
            frozen = freeze(key, value, self._keys.limit)
            self._land([(key, frozen, self._sign(source, resolver))], fired, {key: version})
        fire(fired)
        return frozen

    def _write(
        self, writes: list[Write], expect: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        fired: Fired = []
        versions = self._land(writes, fired, expect)
        if fired:
            fire(fired)
        return versions

    def _land(
        self, writes: list[Write], fired: Fired, expect: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        if self._check is not None:
            self._check()
        return self._keys.land(writes, fired, expect)

    def _sign(self, source: Source | None, resolver: str | None) -> Origin:
        """The origin of a write: this view's, with what the write says of itself."""
        if source is None and resolver is None:
            return self._origin
        last = self._signed  # the same words come again and again
        if last[0] == source and last[1] == resolver:
            return last[2]
        origin = Origin(source=source or self._origin.source, resolver=resolver)
        origin = origin.within(self._origin)
        self._signed = (source, resolver, origin)
        return origin

    # -- views ---------------------------------------------------------------------------------

    def as_writer(
        self, origin: Origin, check: Callable[[], None] | None = None, *, outlives: bool = False
    ) -> "StateView":
        """The same state, for a writer: its writes carry `origin`, with the ids of this view
        where it names none. `check` is called before each write, and refuses by raising. A writer
        that `outlives` this view has its own check only."""
        checks = check if outlives else _both(self._check, check)
        if self._origin is not _HOST and origin is not self._origin:
            origin = origin.within(self._origin)
        return StateView(self._keys, origin, checks)

    def check(self) -> None:
        """Do nothing, if it may be written.

        Raises:
            TaskFencedError, StateClosedError: As for `set`.
        """
        if self._check is not None:
            self._check()
        self._keys.check_open()

    @property
    def origin(self) -> Origin:
        """Who writes here."""
        return self._origin

    @property
    def board(self) -> object:
        """What it reads and writes: the same for all its writers, another for a fork."""
        return self._keys

    @property
    def home(self) -> object:
        """The conversation's own board, whatever was forked from it."""
        return self._keys.home

    @property
    def limit(self) -> int:
        """Bytes of one value."""
        return self._keys.limit

    def fork(self) -> "Fork":
        """A private view: its writes are seen here when it is committed, or never."""
        return Fork(self)

    # -- hearing -------------------------------------------------------------------------------

    def watch(self, key_or_prefix: str = "", *, size: int = BOUND) -> Watch:
        """Every change from now on, of a key, of all keys under a prefix (`"review:"`), or of
        all. Who lags more than `size` changes behind loses the oldest, and is told how many.

        Raises:
            StateClosedError: The state is closed; of a fork: it was committed or discarded.
        """
        return Watch(self._keys, key_or_prefix, size)

    def when(self, predicate: Predicate, action: Callable[[Change], object]) -> When:
        """Call `action(change)` in each write for which `predicate(change)` is true, until the
        state is closed, or `.cancel()`.

        Predicates: `changed`, `became_true`, `crossed_above`, `crossed_below`, or any function
        that only looks at the change: it runs under the state's lock, the action does not.
        An action that raises is logged and told to the state's `on_error`; the others run.

        Raises:
            ConfigurationError: One of them is no ordinary function.
            StateClosedError: As for `watch`.
        """
        return When(self._keys, predicate, action, self._keys.report)

    @overload
    async def wait_for(self, key_or_guard: str, timeout: float | None = None) -> Json: ...
    @overload
    async def wait_for(
        self, key_or_guard: Callable[[Self], T], timeout: float | None = None
    ) -> T: ...
    async def wait_for(
        self, key_or_guard: str | Callable[[Self], object], timeout: float | None = None
    ) -> object:
        """Wait until there is such a key, or `guard(state)` is true, and return the value.

        It looks at once and after each change; what came and went in between is not seen.

        Raises:
            ConfigurationError: The guard is no ordinary function.
            StateTimeoutError: Not within `timeout` seconds.
            StateClosedError: The state was closed meanwhile; of a fork: committed or discarded.
        """
        is_key = isinstance(key_or_guard, str)
        if is_key and is_prefix(key_or_guard):
            raise InvalidInputError(f"{key_or_guard!r} names no key: wait for one, or for a guard")
        if not is_key:
            check_ordinary("a guard", key_or_guard)
        wanted = key_or_guard if is_key else ""
        bell = Bell(self._keys.lock)
        self._keys.listen(wanted, bell)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._looked(key_or_guard, bell)
        except TimeoutError:
            if not limit.expired():
                raise  # the guard's own
            what = f"the key {wanted!r}" if is_key else "what the guard waits for"
            raise StateTimeoutError(what, cast(float, timeout)) from None
        finally:
            self._keys.mute(wanted, bell)

    async def _looked(self, key_or_guard: str | Callable[[Self], object], bell: Bell) -> object:
        while True:
            rung = bell.arm()
            if isinstance(key_or_guard, str):
                entry = self._keys.find(key_or_guard)
                if entry is not None:
                    return entry.json
            elif found := key_or_guard(self):
                no_coroutine("the guard", found)
                return found
            if bell.closed:
                raise StateClosedError("the state was closed while it was waited for")
            await rung


class Fork(StateView):
    """A private view over a base. As a context manager it commits what was done without error.

    Watches and actions of a fork see its own writes, and the base's to keys that it has not
    touched; they end with it.
    """

    __slots__ = ("_base", "_overlay")

    def __init__(self, base: StateView) -> None:
        self._base = base
        self._overlay = Overlay(base._keys)  # noqa: SLF001 - a fork is a view of the same keys
        super().__init__(self._overlay, base._origin)  # noqa: SLF001

    def commit(self, *, without: Collection[str] = ()) -> None:
        """Write everything to the base in one step; of two writers of a key the last one wins.
        What was written to the keys `without` is forgotten.

        Raises:
            StateClosedError: The fork was committed or discarded.
            TaskFencedError: The base is the view of an attempt that is over; nothing is written.
        """
        fired: Fired = []
        with self._overlay.lock:
            self._overlay.check_open()
            writes = [write for write in self._overlay.writes() if write[0] not in without]
            self._base._land(writes, fired)  # noqa: SLF001
            self._overlay.close()
        fire(fired)

    def discard(self) -> None:
        """Forget everything. Twice is fine, and so is after a commit."""
        self._overlay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()


class State(StateView):
    """The state of one conversation.

    `spaces` is what it shares with others, `user` whose it is; times come from `now`, in seconds
    since the epoch. No value is bigger than `max_value` bytes. `redact` gives what the journal
    keeps in place of a value. `on_error` is told of actions and functions that failed.
    """

    __slots__ = ("_hub",)

    def __init__(
        self,
        spaces: SharedSpaces | None = None,
        *,
        user: str | None = None,
        now: Callable[[], float] = time.time,
        max_value: int = MAX_VALUE,
        redact: Redact | None = None,
        on_error: Report | None = None,
    ) -> None:
        self._hub = Hub(spaces, user, now, max_value, redact, on_error)
        super().__init__(self._hub)

    @property
    def journal(self) -> Journal:
        """The last 1,024 changes of the conversation's own keys."""
        return self._hub.own.journal

    @property
    def own(self) -> Board:
        """The keys of this conversation alone. For who keeps them."""
        return self._hub.own

    def take(self, entries: Mapping[str, Entry], fired: Fired) -> None:
        """Let writes stand that were made elsewhere, of keys of this conversation alone. For who
        keeps them, and fires what they set off."""
        self._hub.take(entries, fired)

    @overload
    def derive(self, key: str, depends_on: str, fn: Callable[[Any], object]) -> None: ...
    @overload
    def derive(self, key: str, depends_on: Iterable[str], fn: Callable[..., object]) -> None: ...
    def derive(self, key: str, depends_on: str | Iterable[str], fn: Callable[..., object]) -> None:
        """Keep `derived:<key>` at `fn(*values)` of the keys it depends on, while all are there.

        `fn` is a pure function. One that raises is logged and told to `on_error`, and the value
        is gone until it works again. Declaring a key again replaces its function.

        Raises:
            ConfigurationError: The value would depend on itself, or `fn` is no ordinary function.
            InvalidInputError: The key is empty, or a bare prefix.
        """
        check_ordinary(f"what makes {key!r:.80}", fn)
        needed = (depends_on,) if isinstance(depends_on, str) else depends_on
        self._hub.derive(key, needed, fn)

    def clear_turn(self) -> None:
        """A turn starts: drop what the last one kept under `turn:`."""
        over = self._hub.take_turn_keys()
        if over:
            self.update({}, delete=over)

    def close(self) -> None:
        """End every watch and action. What is kept can still be read. Twice is fine."""
        self._hub.close()


class BorrowedState(State):
    """Somebody else's state, for a conversation: no turn of it clears anything, and its end leaves
    the state open. Its writes carry what the view's do."""

    __slots__ = ()

    def __init__(self, view: StateView) -> None:
        StateView.__init__(self, view._keys, view._origin, view._check)  # noqa: SLF001 - as a fork
        self._hub = cast(Hub, view.home)

    def clear_turn(self) -> None:
        """It is the owner's turn that counts."""

    def close(self) -> None:
        """It is the owner's."""


def _both(
    first: Callable[[], None] | None, second: Callable[[], None] | None
) -> Callable[[], None] | None:
    if first is None or second is None:
        return first or second

    def check() -> None:
        first()
        second()

    return check

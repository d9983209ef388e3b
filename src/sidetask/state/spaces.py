"""Where keys live: the space of a conversation, that of its user, and the one of all.

    app:     all conversations of a runtime     user:    those opened for the same user
    turn:    until the next turn starts         temp:    never stored
    derived: computed, read-only                (none)   this conversation

All of it is behind `Hub`, which finds, writes and tells. A read that names no prefix falls back
to `derived:`; a key of that very name wins.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import Protocol, TypeAlias
from weakref import ref

from sidetask.core.errors import InvalidInputError, StateClosedError, StateConflictError
from sidetask.state.board import Board, Fired, Listener, Redact, is_prefix
from sidetask.state.derived import PREFIX as DERIVED
from sidetask.state.derived import Derivation, Derivations
from sidetask.state.provenance import Change, Entry, Origin
from sidetask.state.values import ABSENT, Kept
from sidetask.state.watch import Report, reporter, same
from sidetask.stores.bounds import check_name

PREFIXES = ("app:", "user:", "turn:", "temp:", DERIVED)
_APART = ("app:", "user:", "turn:")
"""Those that are more than a part of a name to who writes."""

Write: TypeAlias = "tuple[str, Kept, Origin]"
"""A key, its value or ABSENT to delete it, and who writes."""


class Keys(Protocol):
    """What a view of a state stands on: a state's own spaces, or a fork's deltas."""

    entries: dict[str, Entry]
    """What a read may take without asking `find`."""
    limit: int
    """Bytes of one value."""
    report: Report
    now: Callable[[], float]

    @property
    def lock(self) -> RLock: ...
    @property
    def home(self) -> object:
        """What stands below all forks."""
        ...

    def exact(self, key: str) -> Entry | None:
        """The entry of this very key."""
        ...

    def find(self, key: str) -> Entry | None:
        """The entry that a read of the key means."""
        ...

    def keys(self) -> list[str]: ...
    def check_open(self) -> None:
        """Raises:
        StateClosedError: Nothing can be written any more.
        """
        ...

    def land(
        self, writes: Sequence[Write], fired: Fired, expect: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Write all or nothing. Returns the new versions; what is to be done next is in `fired`.

        Raises:
            InvalidInputError: A key cannot be written.
            StateConflictError: A key is not at the version that `expect` says.
        """
        ...

    def listen(self, wanted: str, listener: Listener) -> None: ...
    def mute(self, wanted: str, listener: Listener) -> None: ...
    def derivation(self, key: str) -> Derivation | None: ...
    def affected(self, keys: Iterable[str]) -> list[Derivation]: ...


class SharedSpaces:
    """What conversations share: `app:` all of them, `user:` those of one user. In memory."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.app = Board(self.lock)
        self._users: dict[str, Board] = {}

    def of_user(self, user: str) -> Board:
        """The space of a user."""
        with self.lock:
            return self._users.setdefault(user, Board(self.lock))


class Hub:
    """The keys of one conversation."""

    def __init__(
        self,
        spaces: SharedSpaces | None,
        user: str | None,
        now: Callable[[], float],
        limit: int,
        redact: Redact | None,
        on_error: Report | None,
    ) -> None:
        spaces = spaces or SharedSpaces()
        self.lock = spaces.lock
        self.own = Board(self.lock, redact)
        self.entries = self.own.entries
        self.limit = limit
        self.report: Report = reporter(on_error)
        self.now: Callable[[], float] = now
        self._app = spaces.app
        self._own_user = None if user is None else spaces.of_user(user)
        self._derivations: Derivations | None = None
        self._followed: set[str] | None = None
        # None: most conversations have none of them, and an empty dict has 64 bytes.
        self._of_turn: dict[str, None] | None = None
        self._listening: dict[tuple[str, Listener], None] | None = None
        self._closed = False

    # -- reading -------------------------------------------------------------------------------

    @property
    def home(self) -> object:
        return self

    def exact(self, key: str) -> Entry | None:
        return self.entries.get(key) or self._space(key).entries.get(key)

    def find(self, key: str) -> Entry | None:
        entry = self._space(key).entries.get(key)
        if entry is None and not key.startswith(PREFIXES):
            entry = self.entries.get(DERIVED + key)
        return entry

    def keys(self) -> list[str]:
        return [*self.entries, *self._user.entries, *self._app.entries]

    def check_open(self) -> None:
        """A closed state can still be written."""

    def take_turn_keys(self) -> list[str]:
        """The keys of the turn that is over. Noted as they are written: nothing is searched."""
        if not self._of_turn:  # the usual case
            return []
        with self.lock:
            noted, self._of_turn = self._of_turn, None
        return [key for key in noted or () if key in self.entries]

    @property
    def _user(self) -> Board:
        """The space of its user; without one, a space of nobody else, made when first used."""
        if self._own_user is None:
            with self.lock:  # a tool's thread may look at the same time
                self._own_user = self._own_user or Board(self.lock)
        return self._own_user

    def _space(self, key: str) -> Board:
        if key.startswith("app:"):
            return self._app
        return self._user if key.startswith("user:") else self.own

    # -- writing -------------------------------------------------------------------------------

    def land(
        self, writes: Sequence[Write], fired: Fired, expect: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        versions: dict[str, int] = {}
        at, own, entries = self.now(), self.own, self.entries
        with self.lock:
            for key, _, _ in writes:
                if key not in entries or key.startswith(DERIVED):
                    check_key(key)
            if expect is not None:
                check_versions(self.exact, expect)
            for key, value, origin in writes:
                if not key.startswith(_APART):
                    versions[key] = own.put(key, value, origin, at, fired)
                    continue
                versions[key] = self._space(key).put(key, value, origin, at, fired)
                if key.startswith("turn:"):
                    if self._of_turn is None:
                        self._of_turn = {}
                    self._of_turn[key] = None
            if self._derivations is not None:
                self._refresh({key: origin for key, _, origin in writes}, at, fired)
        return versions

    def take(self, entries: Mapping[str, Entry], fired: Fired) -> None:
        """Writes of this conversation's own keys that were made elsewhere stand here, too."""
        with self.lock:
            for key, entry in entries.items():
                self.own.take(key, entry, fired)
            if self._derivations is not None:
                origins = {key: entry.origin for key, entry in entries.items()}
                self._refresh(origins, self.now(), fired)

    def _refresh(self, written: Mapping[str, Origin], at: float, fired: Fired) -> None:
        """Compute what depends on the keys, in whose writers' names."""
        affected = self.affected(written)
        if affected:
            origin = list(written.values())[-1]
            for derivation in affected:
                self._renew(derivation, origin, at, fired)

    def _renew(self, derivation: Derivation, origin: Origin, at: float, fired: Fired) -> None:
        key, before = derivation.key, self.entries.get(derivation.key)
        value = derivation.compute(self.find, self.limit, self.report)
        if not same(ABSENT if before is None else before.value, value):
            self.own.put(key, value, origin, at, fired)

    # -- derived values ------------------------------------------------------------------------

    def derive(self, key: str, depends_on: Iterable[str], fn: Callable[..., object]) -> None:
        """Declare a derived value and compute it."""
        check_key(key.removeprefix(DERIVED))
        fired: Fired = []
        with self.lock:
            if self._derivations is None:
                self._derivations = Derivations()
            derivation = self._derivations.declare(key, depends_on, fn)
            for each in derivation.depends_on:
                if self._space(each) is not self.own:
                    self._follow(each)
            self._renew(derivation, Origin(), self.now(), fired)
            self._refresh({derivation.key: Origin()}, self.now(), fired)
        fire(fired)

    def _follow(self, key: str) -> None:
        """Hear of a shared key's changes, once."""
        if self._followed is None:
            self._followed = set()
        if key not in self._followed:
            self._followed.add(key)
            self.listen(key, _Follower(self))

    def follow(self, change: Change) -> None:
        """A shared key that something here depends on has changed, whoever wrote it."""
        fired: Fired = []
        with self.lock:
            entry = self.exact(change.key)
            origin = Origin() if entry is None else entry.origin
            self._refresh({change.key: origin}, self.now(), fired)
        fire(fired)

    def derivation(self, key: str) -> Derivation | None:
        return None if self._derivations is None else self._derivations.of(key)

    def affected(self, keys: Iterable[str]) -> list[Derivation]:
        return [] if self._derivations is None else self._derivations.affected(keys)

    # -- telling -------------------------------------------------------------------------------

    def listen(self, wanted: str, listener: Listener) -> None:
        """Tell of the changes that reads of `wanted` may see."""
        with self.lock:
            if self._closed:
                raise StateClosedError("the state is closed")
            if self._listening is None:
                self._listening = {}
            self._listening[wanted, listener] = None
            for board, part in self._parts(wanted):
                board.listen(part, listener)

    def mute(self, wanted: str, listener: Listener) -> None:
        with self.lock:
            if self._listening and (wanted, listener) in self._listening:
                del self._listening[wanted, listener]
                for board, part in self._parts(wanted):
                    board.mute(part, listener)

    def close(self) -> None:
        """Nobody listens any more: watches end, actions are dropped."""
        with self.lock:
            self._closed = True
            for wanted, listener in list(self._listening or ()):
                self.mute(wanted, listener)
                listener.close()

    def _parts(self, wanted: str) -> list[tuple[Board, str]]:
        if not wanted:
            return [(self.own, ""), (self._user, ""), (self._app, "")]
        parts = [(self._space(wanted), wanted)]
        if not is_prefix(wanted) and not wanted.startswith(PREFIXES):
            parts.append((self.own, DERIVED + wanted))
        return parts


class _Follower:
    """Keeps derived values fresh when somebody else writes a shared key."""

    __slots__ = ("_hub",)

    def __init__(self, hub: Hub) -> None:
        self._hub = ref(hub)  # what is shared must not keep a conversation alive

    def hear(self, change: Change, fired: Fired) -> None:
        # Not now: other keys of the same step may not be written yet. But before any action.
        fired.insert(0, (self, change))

    def fire(self, change: Change) -> None:
        hub = self._hub()
        if hub is not None:
            hub.follow(change)

    def close(self) -> None:
        """It has nobody to tell."""


def fire(fired: Fired) -> None:
    """Do what changes set off. Not under the lock."""
    for action, change in fired:
        action.fire(change)


def check_key(key: object) -> None:
    """Refuse what cannot be the name of a value that is written.

    Raises:
        InvalidInputError: It cannot.
    """
    if not isinstance(key, str) or not key:
        raise InvalidInputError("a state key is a text of at least one letter")
    if key[-1] == ":":
        raise InvalidInputError(f"the state key {key!r} names a whole family: add a name to it")
    if key.startswith(DERIVED):
        raise InvalidInputError(f"{key!r} is computed: write what it depends on")
    # One that a store could not keep would keep all others from being stored.
    check_name("a state key", key)


def check_versions(exact: Callable[[str], Entry | None], expect: Mapping[str, int]) -> None:
    """Refuse to write over what somebody else has written meanwhile.

    Raises:
        StateConflictError: A key is not at its expected version.
    """
    for key, expected in expect.items():
        entry = exact(key)
        version = 0 if entry is None else entry.version
        if version != expected:
            raise StateConflictError(key, expected, version)

"""A fork's keys: what it wrote and deleted, over a base that it leaves as it is.

It costs what is written to it, however big the base is. Keys that the fork has not touched are
the base's own, as they are now. Until the commit nobody else sees what it wrote; a commit is one
step of the base, in the order of the first writes, each in the name of its writer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sidetask.core.errors import StateClosedError
from sidetask.state.board import Board, Fired, Listener, is_prefix
from sidetask.state.derived import PREFIX as DERIVED
from sidetask.state.derived import Derivation
from sidetask.state.provenance import Change, Entry
from sidetask.state.spaces import PREFIXES, Keys, Write, check_key, check_versions
from sidetask.state.values import ABSENT
from sidetask.state.watch import same


class Overlay:
    """The keys of a fork."""

    def __init__(self, base: Keys) -> None:
        self._base = base
        self._board = Board(base.lock)
        self._deltas: dict[str, Entry] = {}
        """What was written, in order; ABSENT is a tombstone."""
        self._through: dict[tuple[str, Listener], _Through] = {}
        self._closed = False
        self.entries = self._board.entries
        self.lock = base.lock
        self.limit = base.limit
        self.report = base.report
        self.now = base.now

    # -- reading -------------------------------------------------------------------------------

    @property
    def home(self) -> object:
        return self._base.home

    def exact(self, key: str) -> Entry | None:
        delta = self._deltas.get(key)
        if delta is not None:
            return None if delta.value is ABSENT else delta
        return self._derived(key) if key.startswith(DERIVED) else self._base.exact(key)

    def find(self, key: str) -> Entry | None:
        entry = self.exact(key)
        if entry is None and not key.startswith(PREFIXES):
            entry = self._derived(DERIVED + key)
        return entry

    def keys(self) -> list[str]:
        found = dict.fromkeys(self._base.keys())
        written = tuple(self._deltas)  # at once: a tool's thread may write meanwhile
        for key in (*self.entries, *[each.key for each in self.affected(written)]):
            found.setdefault(key)
        return [
            key
            for key in found
            if (key not in self._deltas and not key.startswith(DERIVED)) or self.exact(key)
        ]

    def _derived(self, key: str) -> Entry | None:
        """A derived value over this fork's values: the base's if they are the same."""
        below, derivation = self._base.exact(key), self.derivation(key)
        if derivation is None or not self._deltas:
            return below
        found = [self.find(each) for each in derivation.depends_on]
        if found == [self._base.find(each) for each in derivation.depends_on]:
            return below
        value = derivation.compute(self.find, self.limit, self.report)
        if value is ABSENT:
            return None
        newest = max([each for each in found if each], key=lambda each: each.at)
        return Entry(value, 1 if below is None else below.version + 1, newest.at, newest.origin)

    def derivation(self, key: str) -> Derivation | None:
        return self._base.derivation(key)

    def affected(self, keys: Iterable[str]) -> list[Derivation]:
        return self._base.affected(keys)

    # -- writing -------------------------------------------------------------------------------

    def land(
        self, writes: Sequence[Write], fired: Fired, expect: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        versions: dict[str, int] = {}
        at = self.now()
        with self.lock:
            self.check_open()
            for key, _, _ in writes:
                check_key(key)
            if expect is not None:
                check_versions(self.exact, expect)
            affected = self.affected([key for key, _, _ in writes])
            before = [self.exact(each.key) for each in affected]
            for write in writes:
                versions[write[0]] = self._put(write, at, fired)
            for each, old in zip(affected, before, strict=True):
                self._tell_derived(each.key, old, fired)
        return versions

    def _put(self, write: Write, at: float, fired: Fired) -> int:
        key, value, origin = write
        before, delta = self.exact(key), self._deltas.get(key)
        if value is ABSENT and before is None:
            # A grave all the same: what the base writes there later is not of this fork's world.
            self._deltas.setdefault(key, Entry(ABSENT, 0, at, origin))
            return 0
        last = delta or before
        version = 1 if last is None else last.version + 1
        self._deltas[key] = after = Entry(value, version, at, origin)
        if value is ABSENT:
            self.entries.pop(key, None)
        else:
            self.entries[key] = after
        self._board.tell(key, before, after, fired)
        return version

    def _tell_derived(self, key: str, old: Entry | None, fired: Fired) -> None:
        new = self.exact(key)
        if new is None and old is not None:
            new = Entry(ABSENT, old.version + 1, self.now(), old.origin)
        if new is not None and not (old is not None and same(old.value, new.value)):
            self._board.tell(key, old, new, fired)

    # -- ending --------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises:
        StateClosedError: The fork was committed or discarded.
        """
        if self._closed:
            raise StateClosedError("the fork was committed or discarded")

    def writes(self) -> list[Write]:
        """What a commit does to the base."""
        return [(key, entry.value, entry.origin) for key, entry in self._deltas.items()]

    def close(self) -> None:
        """Keep nothing; reads are the base's from now on."""
        with self.lock:
            self._closed = True
            self._deltas.clear()
            self.entries.clear()
            for wanted, listener in list(self._through):
                self.mute(wanted, listener)
                listener.close()

    # -- telling -------------------------------------------------------------------------------

    def listen(self, wanted: str, listener: Listener) -> None:
        """Tell of the fork's own writes, and of the base's to keys that it has not touched."""
        with self.lock:
            self.check_open()
            through = self._through[wanted, listener] = _Through(self, listener)
            for part in _parts(wanted):
                self._board.listen(part, listener)
            self._base.listen(wanted, through)

    def mute(self, wanted: str, listener: Listener) -> None:
        with self.lock:
            through = self._through.pop((wanted, listener), None)
            if through is not None:
                for part in _parts(wanted):
                    self._board.mute(part, listener)
                self._base.mute(wanted, through)

    def seen(self, change: Change) -> Change | None:
        """A change of the base as the fork sees it; None if it does not."""
        if change.key in self._deltas:
            return None
        if not change.key.startswith(DERIVED):
            return change
        entry = self.exact(change.key)
        return replace(change, new=None if entry is None else entry.json, deleted=entry is None)


class _Through:
    """Hands on what a fork sees of its base's changes."""

    __slots__ = ("_listener", "_overlay")

    def __init__(self, overlay: Overlay, listener: Listener) -> None:
        self._overlay = overlay
        self._listener = listener

    def hear(self, change: Change, fired: Fired) -> None:
        seen = self._overlay.seen(change)
        if seen is not None:
            self._listener.hear(seen, fired)

    def close(self) -> None:
        self._listener.close()


def _parts(wanted: str) -> list[str]:
    if is_prefix(wanted) or wanted.startswith(PREFIXES):
        return [wanted]
    return [wanted, DERIVED + wanted]

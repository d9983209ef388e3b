"""Values that are computed from others, and kept fresh: the declarations and their order.

A derived value is a pure function of the values it depends on. It is there while all of these
are, and is computed anew in the write that changes one of them. What depends on it comes after
it, each once. A function that fails is reported, and its value is gone until it works again: a
stale one would be worse.
"""

from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter

from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json
from sidetask.state.provenance import Entry
from sidetask.state.values import ABSENT, Kept, freeze
from sidetask.state.watch import Report

PREFIX = "derived:"


class Derivation:
    """One declaration."""

    __slots__ = ("depends_on", "fn", "key")

    def __init__(self, key: str, depends_on: tuple[str, ...], fn: Callable[..., object]) -> None:
        self.key = PREFIX + key
        self.depends_on = depends_on
        self.fn = fn

    def compute(self, find: Callable[[str], Entry | None], limit: int, report: Report) -> Kept:
        """The value now; ABSENT without all it depends on, or if the function fails."""
        values: list[Json] = []
        for key in self.depends_on:
            entry = find(key)
            if entry is None or entry.value is ABSENT:
                return ABSENT
            values.append(entry.value)
        try:
            return freeze(self.key, self.fn(*values), limit)
        except Exception as error:  # noqa: BLE001 - the one boundary: a function of the host's
            report(f"the function of {self.key!r}", error)
            return ABSENT


class Derivations:
    """All declarations of a state."""

    __slots__ = ("_by_name", "_dependents", "_order")

    def __init__(self) -> None:
        self._by_name: dict[str, Derivation] = {}
        self._order: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}

    def declare(self, key: str, depends_on: Iterable[str], fn: Callable[..., object]) -> Derivation:
        """Add a declaration, or replace the one of this key.

        Raises:
            ConfigurationError: It would depend on itself; nothing has changed.
        """
        name = _name(key)
        found = {**self._by_name, name: Derivation(name, tuple(depends_on), fn)}
        graph = {name: [_name(each) for each in d.depends_on] for name, d in found.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise ConfigurationError(f"derived values depend on each other: {circle}") from None
        self._by_name = found
        self._order = {each: place for place, each in enumerate(order)}
        self._dependents = {}
        for each, needs in graph.items():
            for need in needs:
                self._dependents.setdefault(need, []).append(each)
        return found[name]

    def of(self, key: str) -> Derivation | None:
        """What makes a `derived:` key."""
        return self._by_name.get(_name(key))

    def affected(self, keys: Iterable[str]) -> list[Derivation]:
        """What depends on any of these keys, directly or not, in the order to compute it."""
        found: set[str] = set()
        rest = [_name(key) for key in keys]
        while rest:
            for name in self._dependents.get(rest.pop(), ()):
                if name not in found:
                    found.add(name)
                    rest.append(name)
        return [self._by_name[name] for name in sorted(found, key=self._order.__getitem__)]


def _name(key: str) -> str:
    """`total` and `derived:total` are one node: an unprefixed read may mean either."""
    return key.removeprefix(PREFIX)

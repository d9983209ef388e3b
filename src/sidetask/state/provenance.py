"""Where a value comes from: who wrote it, when, and as which version.

An `Origin` is one writer, and is shared by all its writes; an `Entry` binds it to one write. What
readers get, `Provenance` and `Change`, is made when somebody asks.
"""

from typing import Literal, Protocol, get_args

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import value
from sidetask.core.jsons import Json
from sidetask.state.values import ABSENT, Kept

Source = Literal["agent", "fetch", "llm", "tool", "extraction", "host"]
_SOURCES = frozenset(get_args(Source))


@value(kw_only=True)
class Origin:
    """Who writes."""

    source: Source = "host"
    resolver: str | None = None
    """The name under which the value was asked for: of a resolver, agent or recogniser."""
    run_id: str | None = None
    task_id: str | None = None
    attempt: int | None = None
    """Of the task, from 1."""
    input_digest: str | None = None
    """SHA-256 of what the value was made from; hexadecimal."""
    error_type: str | None = None
    error_details: Json = None

    def __post_init__(self) -> None:
        if self.source not in _SOURCES:
            raise InvalidInputError(f"no source {self.source!r}: {', '.join(sorted(_SOURCES))}")

    def within(self, outer: "Origin") -> "Origin":
        """This origin, with what it does not say taken from the work it is part of."""
        return Origin(
            source=self.source,
            resolver=self.resolver or outer.resolver,
            run_id=self.run_id or outer.run_id,
            task_id=self.task_id or outer.task_id,
            attempt=self.attempt or outer.attempt,
            input_digest=self.input_digest or outer.input_digest,
            error_type=self.error_type,
            error_details=self.error_details,
        )


@value(kw_only=True)
class Provenance(Origin):
    """Who made one write, and when."""

    version: int
    """Of the key: one more with every write."""
    at: float
    """Seconds since the epoch."""


class Entry:
    """One write. Never changed afterwards."""

    __slots__ = ("at", "origin", "value", "version")

    def __init__(self, value: Kept, version: int, at: float, origin: Origin) -> None:
        self.value = value
        """ABSENT: the key was deleted."""
        self.version = version
        self.at = at
        self.origin = origin

    @property
    def json(self) -> Json:
        return None if self.value is ABSENT else self.value

    def provenance(self) -> Provenance:
        origin = self.origin
        return Provenance(
            source=origin.source,
            resolver=origin.resolver,
            run_id=origin.run_id,
            task_id=origin.task_id,
            attempt=origin.attempt,
            input_digest=origin.input_digest,
            error_type=origin.error_type,
            error_details=origin.error_details,
            version=self.version,
            at=self.at,
        )


@value(kw_only=True)
class Change:
    """One write, as watchers and the journal tell it."""

    key: str
    old: Json
    new: Json
    version: int
    provenance: Provenance
    created: bool = False
    """There was no such key before, and `old` is None."""
    deleted: bool = False
    """The key is gone, and `new` is None."""
    missed: int = 0
    """How many changes this reader lost just before this one, being too slow."""


def change_of(key: str, before: Entry | None, after: Entry) -> Change:
    """What readers are told of a write."""
    return Change(
        key=key,
        old=None if before is None else before.json,
        new=after.json,
        version=after.version,
        provenance=after.provenance(),
        created=before is None,
        deleted=after.value is ABSENT,
    )


class HasProvenance(Protocol):
    """Any view of a state."""

    def provenance(self, key: str) -> Provenance | None: ...


def provenance(state: HasProvenance, key: str) -> Provenance | None:
    """Who wrote the key's value, and when; None if it has none."""
    return state.provenance(key)

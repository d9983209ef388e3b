"""Guards: conditions on the state that can be combined, told, and reasoned about.

A guard is a function of a state, so `state.wait_for(guard)` takes one. It also knows its own
words, which a model reads when a call is refused, and the facts it is made of: each is a test of
one *subject* (a key of the state, a tool's calls, a step), so that guards that can never hold
are found before anything runs.
"""

from collections.abc import Iterator

from sidetask.core.ids import value
from sidetask.state.state import StateView


class Guard:
    """A condition. Combine with `&`, `|` and `~`."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """The condition in words."""
        raise NotImplementedError

    def holds(self, state: StateView, flow: str = "") -> bool:
        """Whether it is true now. `flow` says whose calls and steps are meant: "" means those
        of any flow of the state."""
        raise NotImplementedError

    def unmet(self, state: StateView, flow: str = "") -> str:
        """What is missing, in words; for a guard that does not hold."""
        return self.text

    def facts(self) -> "Iterator[Fact]":
        """What it is made of."""
        raise NotImplementedError

    def __call__(self, state: StateView) -> bool:
        return self.holds(state)

    def __and__(self, other: "Guard") -> "Guard":
        if not isinstance(other, Guard):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
            return NotImplemented
        return Joined((*_parts(self, all_of=True), *_parts(other, all_of=True)), all_of=True)

    def __or__(self, other: "Guard") -> "Guard":
        if not isinstance(other, Guard):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be typed
            return NotImplemented
        return Joined((*_parts(self, all_of=False), *_parts(other, all_of=False)), all_of=False)

    def __invert__(self) -> "Guard":
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise TypeError("guards are combined with &, | and ~, not with and, or and not")

    def __str__(self) -> str:
        return self.text


# -- what guards are made of ---------------------------------------------------------------


@value
class Fact(Guard):
    """A test of one subject."""

    words: str

    @property
    def text(self) -> str:
        return self.words

    @property
    def subject(self) -> str:
        """What is tested; two facts of one subject may contradict each other."""
        raise NotImplementedError

    @property
    def samples(self) -> tuple[object, ...]:
        """Values of the subject between which the test tells."""
        return (True, False)

    def test(self, value: object) -> bool:
        """Whether it holds for this value of its subject."""
        return bool(value)

    def watched(self, flow: str) -> str | None:
        """The key of the state whose changes may change it; "": any; None: none."""
        return None

    def facts(self) -> "Iterator[Fact]":
        yield self


@value
class Not(Guard):
    """The part does not hold."""

    part: Guard

    @property
    def text(self) -> str:
        return f"not: {_bracketed(self.part)}"

    def holds(self, state: StateView, flow: str = "") -> bool:
        return not self.part.holds(state, flow)

    def facts(self) -> Iterator[Fact]:
        return self.part.facts()


@value
class Joined(Guard):
    """All of the parts hold, or any of them."""

    parts: tuple[Guard, ...]
    all_of: bool

    @property
    def text(self) -> str:
        return self._told(self.parts)

    def holds(self, state: StateView, flow: str = "") -> bool:
        each = (part.holds(state, flow) for part in self.parts)
        return all(each) if self.all_of else any(each)

    def unmet(self, state: StateView, flow: str = "") -> str:
        if not self.all_of:
            return self.text
        missing = [part for part in self.parts if not part.holds(state, flow)]
        if len(missing) == 1:
            return missing[0].unmet(state, flow)
        return self._told(missing)

    def facts(self) -> Iterator[Fact]:
        for part in self.parts:
            yield from part.facts()

    def _told(self, parts: "tuple[Guard, ...] | list[Guard]") -> str:
        return (" and " if self.all_of else " or ").join([_bracketed(part) for part in parts])


def _parts(guard: Guard, *, all_of: bool) -> tuple[Guard, ...]:
    return guard.parts if isinstance(guard, Joined) and guard.all_of is all_of else (guard,)


def _bracketed(guard: Guard) -> str:
    return f"({guard.text})" if isinstance(guard, Joined) else guard.text

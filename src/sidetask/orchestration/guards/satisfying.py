"""Whether a guard can hold at all.

A guard is taken apart into alternatives, each a list of facts with what they must be. Facts about
different subjects do not concern each other; those about one subject can all be so if one value
of it passes their tests. A key has few values that matter: none, those that a fact names, and
one that nobody named.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from sidetask.orchestration.guards.base import Fact, Guard, Joined, Not

Row: TypeAlias = "list[tuple[Fact, bool]]"
Known: TypeAlias = Callable[[Fact], bool | None]
"""What is certain of a fact; None: nothing."""

MANY = 4096
"""Alternatives beyond which nothing is said against a guard."""


def can_hold(guard: Guard, known: Known) -> bool:
    """Whether the guard can be true; also if that takes too long to say."""
    try:
        rows = _alternatives(guard, wanted=True)
    except OverflowError:
        return True
    return any(_fits(row, known) for row in rows)


def _alternatives(guard: Guard, *, wanted: bool) -> list[Row]:
    match guard:
        case Not(part):
            return _alternatives(part, wanted=not wanted)
        case Joined(parts, all_of):
            each = [_alternatives(part, wanted=wanted) for part in parts]
            if all_of is wanted:
                return _product(each)
            return [row for rows in each for row in rows]
        case _:
            return [[(fact, wanted) for fact in guard.facts()]]


def _product(each: list[list[Row]]) -> list[Row]:
    made: list[Row] = [[]]
    for rows in each:
        if len(made) * len(rows) > MANY:
            raise OverflowError
        made = [[*row, *more] for row in made for more in rows]
    return made


def _fits(row: Row, known: Known) -> bool:
    if any(known(fact) is not None and known(fact) is not wanted for fact, wanted in row):
        return False
    subjects: dict[str, Row] = defaultdict(list)
    for fact, wanted in row:
        subjects[fact.subject].append((fact, wanted))
    return all(
        any(
            all(fact.test(value) is wanted for fact, wanted in about)
            for other, _ in about
            for value in other.samples
        )
        for about in subjects.values()
    )

"""The state against a plain dict, with forks, commits and discards in any order."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidetask.core.errors import StateConflictError
from sidetask.core.jsons import Json
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import Fork, State, StateView

GONE = object()
KEYS = st.sampled_from(["a", "b", "c:d", "turn:e", "user:f", "app:g"])
VALUES = st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
LEVELS = st.integers(0, 9)


def together(*values: Json) -> list[Json]:
    return [*values]


class StateMachine(RuleBasedStateMachine):
    """A stack of views, each a fork of the one below, beside a stack of dicts of deltas."""

    def __init__(self) -> None:
        super().__init__()
        spaces = SharedSpaces()
        state = State(spaces, user="ann")
        state.derive("sum", ["a", "b"], together)
        self.neighbour = State(spaces, user="ann")
        self.views: list[StateView] = [state]
        self.deltas: list[dict[str, Any]] = [{}]
        self.seen: dict[str, set[int]] = {}

    def model(self, level: int) -> dict[str, Any]:
        """What the view of a level should hold."""
        merged: dict[str, Any] = {}
        for delta in self.deltas[: level + 1]:
            merged |= delta
        found = {key: value for key, value in merged.items() if value is not GONE}
        if {"a", "b"} <= set(found):
            found["derived:sum"] = [found["a"], found["b"]]
        return found

    def pick(self, level: int) -> int:
        return level % len(self.views)

    @rule(level=LEVELS, key=KEYS, value=VALUES)
    def set(self, level: int, key: str, value: Any) -> None:
        level = self.pick(level)
        version = self.views[level].set(key, value)
        self.deltas[level][key] = value
        if level == 0:
            self.fresh(key, version)

    @rule(level=LEVELS, values=st.dictionaries(KEYS, VALUES), gone=st.lists(KEYS, unique=True))
    def update(self, level: int, values: dict[str, Any], gone: list[str]) -> None:
        level = self.pick(level)
        self.views[level].update(values, delete=gone)
        self.deltas[level] |= values | dict.fromkeys(gone, GONE)

    @rule(level=LEVELS, key=KEYS)
    def delete(self, level: int, key: str) -> None:
        level = self.pick(level)
        was_there = key in self.model(level)
        assert self.views[level].delete(key) == was_there
        self.deltas[level][key] = GONE

    @rule(level=LEVELS, key=KEYS)
    def modify(self, level: int, key: str) -> None:
        level = self.pick(level)
        expected = [self.model(level).get(key, 0)][:1]
        assert self.views[level].modify(key, lambda value: [value], 0) == expected
        self.deltas[level][key] = expected

    @rule(level=LEVELS, key=KEYS)
    def conflict(self, level: int, key: str) -> None:
        view = self.views[self.pick(level)]
        with pytest.raises(StateConflictError):
            view.set(key, 1, expect_version=view.version(key) + 1)

    @rule(key=st.sampled_from(["user:f", "app:g"]), value=VALUES)
    def neighbour_writes(self, key: str, value: Any) -> None:
        self.fresh(key, self.neighbour.set(key, value))
        self.deltas[0][key] = value

    @precondition(lambda self: len(self.views) < 4)
    @rule()
    def fork(self) -> None:
        self.views.append(self.views[-1].fork())
        self.deltas.append({})

    @precondition(lambda self: len(self.views) > 1)
    @rule(commit=st.booleans())
    def end_fork(self, commit: bool) -> None:
        fork, delta = self.views.pop(), self.deltas.pop()
        assert isinstance(fork, Fork)
        if commit:
            fork.commit()
            self.deltas[-1] |= delta
        else:
            fork.discard()

    def fresh(self, key: str, version: int) -> None:
        """A version never comes again."""
        seen = self.seen.setdefault(key, set())
        assert version not in seen
        seen.add(version)

    @invariant()
    def every_view_holds_what_it_should(self) -> None:
        for level, view in enumerate(self.views):
            model = self.model(level)
            assert view.snapshot() == model
            assert sorted(view.keys()) == sorted(model)
            assert view.get("sum", GONE) == model.get("derived:sum", GONE)  # pyright: ignore
            assert ("sum" in view) == ("derived:sum" in model)
            for key in ("a", "app:g"):
                assert view.get(key, "none") == model.get(key, "none")
                assert (view.version(key) > 0) == (key in model) == (key in view)


StateMachine.TestCase.settings = settings(  # pyright: ignore[reportUnknownMemberType]
    max_examples=60, stateful_step_count=30
)


@pytest.mark.slow
class TestState(StateMachine.TestCase):  # pyright: ignore[reportUnknownMemberType, reportUntypedBaseClass]
    """What Hypothesis runs."""

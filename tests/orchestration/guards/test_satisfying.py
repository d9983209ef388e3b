"""Whether a guard can hold at all."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.orchestration.guards.base import Fact, Guard
from sidetask.orchestration.guards.facts import StepFact
from sidetask.orchestration.guards.satisfying import MANY, can_hold
from sidetask.orchestration.guards.words import (
    always,
    called,
    custom,
    eq,
    failed,
    is_set,
    is_true,
    resolved,
    settled,
    step_done,
)
from sidetask.state import State

OWN = custom(lambda state: True, "it rains")


def nothing(fact: Fact) -> bool | None:
    return None


@pytest.mark.parametrize(
    "guard",
    [
        eq("k", 1) & eq("k", 2),
        eq("k", 1) & eq("k", 1.0),
        is_set("k") & ~is_set("k"),
        is_true("k") & ~is_set("k"),
        eq("k", "") & is_true("k"),
        eq("k", None) & ~is_set("k"),
        resolved("n") & failed("n"),
        resolved("n") & ~settled("n"),
        resolved("n") & eq("n:status", "running"),
        called("t") & ~called("t"),
        step_done("s") & ~step_done("s"),
        OWN & ~OWN,
        ~always,
        ~(always | is_set("k")),
        (eq("k", 1) | eq("k", 2)) & eq("k", 3),
        is_set("a") & (eq("k", 1) & (eq("k", 2) | ~is_set("a"))),
    ],
    ids=str,
)
def test_a_contradiction_cannot_hold(guard: Guard) -> None:
    assert not can_hold(guard, nothing)


@pytest.mark.parametrize(
    "guard",
    [
        always,
        is_set("k") & ~is_true("k"),
        ~eq("k", 1) & ~eq("k", 2) & is_true("k"),
        settled("n") & ~resolved("n") & ~failed("n"),
        resolved("n") & is_set("n:status"),
        eq("k", 1) & eq("j", 2),
        eq("k", 1) | eq("k", 2),
        called("a") & ~called("b"),
        custom(lambda state: True, "a") & ~custom(lambda state: True, "a"),
    ],
    ids=str,
)
def test_what_does_not_contradict_itself_can_hold(guard: Guard) -> None:
    assert can_hold(guard, nothing)


def test_what_is_certain_counts() -> None:
    def certain(fact: Fact) -> bool | None:
        return False if isinstance(fact, StepFact) and fact.step == "never" else None

    assert not can_hold(step_done("never") & is_set("k"), certain)
    assert can_hold(~step_done("never") & step_done("other"), certain)


def test_of_what_takes_too_long_to_say_nothing_is_said() -> None:
    guard = eq("k", 1) & eq("k", 2)
    for number in range(MANY.bit_length()):
        guard = guard & (is_set(f"a{number}") | is_set(f"b{number}"))
    assert can_hold(guard, nothing)


FACTS = [is_set("a"), is_true("a"), eq("a", 1), eq("a", ""), is_set("b"), is_true("b")]
VALUES: list[tuple[object, ...]] = [(), (1,), ("",), (None,), ("x",)]


def combined(inner: st.SearchStrategy[Guard]) -> st.SearchStrategy[Guard]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda pair: pair[0] & pair[1]),
        pairs.map(lambda pair: pair[0] | pair[1]),
        inner.map(lambda guard: ~guard),
    )


GUARDS = st.recursive(st.sampled_from(FACTS), combined, max_leaves=8)


@pytest.mark.slow
@given(GUARDS)
def test_it_agrees_with_trying_every_state(guard: Guard) -> None:
    def holds(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
        state = State()
        state.update({key: each for key, values in (("a", a), ("b", b)) for each in values})
        return guard(state)

    assert can_hold(guard, nothing) is any(holds(a, b) for a, b in product(VALUES, VALUES))

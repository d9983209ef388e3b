"""Budgets and the meters that count against them."""

import pytest

from sidetask.core.budget import Budget, Meter
from sidetask.core.errors import ConfigurationError
from sidetask.core.usage import Usage


def test_nothing_spent_and_no_budget_is_no_limit() -> None:
    assert Meter().spent_out() is None
    assert Meter(Budget(steps=1)).spent_out() is None


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(steps=2), "2 of 2 steps"),
        (Budget(tokens=30), "30 of 30 tokens"),
        (Budget(usd=0.5), "0.5 of 0.5 USD"),
        (Budget(tool_calls=3), "3 of 3 tool calls"),
    ],
)
def test_a_limit_that_is_reached_is_named(budget: Budget, told: str) -> None:
    meter = Meter(budget)
    meter.spend(Usage(input_tokens=10, output_tokens=20, usd=0.5), steps=2, tool_calls=3)
    assert meter.spent_out() == told


def test_seconds_count_from_the_making_of_the_meter() -> None:
    clock = iter([100.0, 104.0, 105.0])
    meter = Meter(Budget(seconds=5), now=lambda: next(clock))
    assert meter.spent_out() is None
    assert meter.spent_out() == "5 of 5 seconds"


def test_a_childs_spending_is_its_parents_too() -> None:
    parent = Meter(Budget(steps=3))
    first, second = Meter(parent=parent), Meter(Budget(steps=9), parent=parent)
    first.spend(steps=1)
    second.spend(Usage(usd=1.0), steps=2)
    assert (first.steps, second.steps, parent.steps, parent.usage.usd) == (1, 2, 3, 1.0)
    assert first.spent_out() == second.spent_out() == "3 of 3 steps"


def test_only_what_is_about_to_be_spent_is_forbidden_by_its_limit() -> None:
    meter = Meter(Budget(steps=2, tool_calls=3))
    meter.spend(steps=2, tool_calls=1)
    assert meter.over(steps=1) == "2 of 2 steps"
    assert meter.over(tool_calls=2) is None
    assert meter.over(tool_calls=3) == "1 of 3 tool calls"
    assert meter.over() is None


def test_tokens_money_and_seconds_forbid_everything_once_they_are_reached() -> None:
    meter = Meter(Budget(tokens=1_000))
    meter.spend(Usage(input_tokens=1_500))
    assert meter.over() == meter.over(steps=1) == "1,500 of 1,000 tokens"


def test_the_seconds_left_are_those_of_the_first_limit_in_the_family() -> None:
    now = 100.0
    parent = Meter(Budget(seconds=5), now=lambda: now)
    child = Meter(Budget(seconds=60), parent=parent, now=lambda: now)
    assert Meter(Budget(steps=1), now=lambda: now).seconds_left() is None
    assert child.seconds_left() == 5.0
    now = 103.0
    assert child.seconds_left() == 2.0
    now = 109.0
    assert (child.seconds_left(), child.over()) == (0.0, "9 of 5 seconds")


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_is_not_above_zero_is_refused(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        Budget(seconds=limit)

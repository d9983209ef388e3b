"""Routes and policies: each axis by its word or its member, and checked at once."""

from typing import Any

import pytest

from sidetask.core.errors import ConfigurationError
from sidetask.core.messages import ToolCall
from sidetask.core.routing import (
    DEFAULT_POLICY,
    DeliveryMode,
    OnComplete,
    OnCrash,
    OnDuplicate,
    OnInterrupt,
    TaskKind,
    TaskPolicy,
    background,
    detach_after,
    foreground,
)

AXES: list[tuple[str, Any]] = [
    ("delivery", DeliveryMode),
    ("on_complete", OnComplete),
    ("on_interrupt", OnInterrupt),
    ("on_duplicate", OnDuplicate),
    ("on_crash", OnCrash),
]


@pytest.mark.parametrize(("axis", "kind"), AXES)
def test_every_word_of_an_axis_is_as_good_as_its_member(axis: str, kind: Any) -> None:
    for member in kind:
        values: dict[str, Any] = {axis: str(member), "idempotent": True}
        made = TaskPolicy(**values)
        assert getattr(made, axis) is member
        assert made == TaskPolicy(**{**values, axis: member})


@pytest.mark.parametrize(("axis", "kind"), AXES)
def test_another_word_is_refused_and_told_which_there_are(axis: str, kind: Any) -> None:
    values: dict[str, Any] = {axis: "nonsense"}
    with pytest.raises(ConfigurationError, match=f"{axis} is one of '") as caught:
        TaskPolicy(**values)
    assert all(repr(member.value) in str(caught.value) for member in kind)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"timeout": 0}, "timeout is seconds > 0"),
        ({"timeout": -1}, "timeout is seconds > 0"),
        ({"timeout": float("nan")}, "timeout is seconds > 0"),
        ({"grace": -1}, "grace is seconds >= 0"),
        ({"grace": float("nan")}, "grace is seconds >= 0"),
        ({"cap": 0}, "cap is at least 1"),
        ({"on_crash": "retry"}, "needs idempotent=True"),
    ],
)
def test_numbers_and_pairs_that_cannot_work_are_refused(values: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TaskPolicy(**values)


def test_the_defaults_are_those_of_the_design() -> None:
    policy = TaskPolicy()
    assert policy == DEFAULT_POLICY
    assert (policy.delivery, policy.on_complete) == ("to_loop", "continue")
    assert (policy.on_interrupt, policy.on_duplicate) == (None, "allow")
    assert (policy.on_crash, policy.timeout, policy.cap) == ("fail", None, None)
    assert (policy.exclusive, policy.journal, policy.grace) == (False, True, 5.0)


def test_a_policy_with_another_delivery_or_end_is_otherwise_the_same() -> None:
    policy = TaskPolicy(timeout=3)
    assert policy.with_() == policy
    assert policy.with_(delivery="manual") == TaskPolicy(timeout=3, delivery="manual")
    assert policy.with_(on_complete="notify") == TaskPolicy(timeout=3, on_complete="notify")


def test_a_route_says_who_waits_and_how_long() -> None:
    assert (foreground().kind, foreground().after) == (TaskKind.FOREGROUND, None)
    assert (background().kind, background().after) == (TaskKind.BACKGROUND, None)
    assert (detach_after(5).kind, detach_after(5).after) == (TaskKind.FOREGROUND, 5)
    assert detach_after(0).after == 0


@pytest.mark.parametrize("seconds", [-1, -0.1, float("nan")])
def test_a_detach_before_the_start_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="seconds >= 0"):
        detach_after(seconds)


def test_a_route_is_the_routing_policy_that_gives_it_to_every_call() -> None:
    for route in (foreground(), background(), detach_after(2)):
        assert route(ToolCall.make("any")) is route

"""Guards: what they say of a state, in words too."""

import asyncio
from functools import partial
from typing import Any, cast

import pytest

from sidetask.core.errors import ConfigurationError, InvalidInputError, StateValueError
from sidetask.core.lifecycle import TaskStatus
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.keeping import call_key, step_key
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
from sidetask.state import Origin, State, StateView, results, start_result

NOBODY = Origin()


def state(**values: Any) -> State:
    made = State()
    made.update(values)
    return made


# -- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", 0, False, [], {}])
def test_a_key_is_set_whatever_its_value_and_true_only_if_that_is(value: Any) -> None:
    made = state(key=value)
    assert is_set("key")(made)
    assert not is_true("key")(made)
    assert not is_set("other")(made)
    assert not is_true("other")(made)


@pytest.mark.parametrize("value", [True, 1, "no", [0], {"a": None}])
def test_what_is_not_empty_is_true(value: Any) -> None:
    assert is_true("key")(state(key=value))


@pytest.mark.parametrize(
    ("value", "wanted", "equal"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (None, None, True),
        ([1, {"a": "b"}], [1, {"a": "b"}], True),
        ({"a": 1}, {"a": 2}, False),
    ],
)
def test_values_are_equal_as_json(value: Any, wanted: Any, equal: bool) -> None:
    assert eq("key", wanted)(state(key=value)) is equal
    assert not eq("key", wanted)(state())


def test_guards_agree_with_get_and_in_on_derived_keys() -> None:
    made = state(cart={"lamp": 30})
    made.derive("total", "cart", lambda cart: sum(cart.values()))
    for step in range(3):
        assert is_set("total")(made) is ("total" in made)
        assert is_true("total")(made) is bool(made.get("total"))
        assert eq("total", 30)(made) is (made.get("total") == 30)
        assert is_set("derived:total")(made) is ("derived:total" in made)
        if step == 0:
            made.set("total", 0)  # a key of that very name wins
        else:
            made.update({}, delete=["total", "cart"])


@pytest.mark.parametrize("key", ["", "review:"])
def test_what_is_no_key_is_refused(key: str) -> None:
    for make in (is_set, is_true, partial(eq, value=1)):
        with pytest.raises(InvalidInputError, match="no key"):
            make(key)


def test_a_value_that_is_not_json_is_refused() -> None:
    with pytest.raises(StateValueError):
        eq("key", object())


# -- results ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, *TaskStatus])
def test_guards_of_results_say_what_the_results_say(status: TaskStatus | None) -> None:
    made = State()
    if status is not None:
        made.set("review:status", status.value)
    assert resolved("review")(made) is results.resolved(made, "review")
    assert failed("review")(made) is results.failed(made, "review")
    assert settled("review")(made) is results.settled(made, "review")


@pytest.mark.parametrize("value", ["", 0, None])
def test_a_result_that_is_empty_is_one(value: Any) -> None:
    made = State()
    start_result(made, "review", origin=NOBODY).settle(TaskStatus.SUCCEEDED, value=value)
    assert (resolved("review") & eq("review:status", "succeeded"))(made)
    assert (is_set("review:result") & eq("review:result", value))(made)


def test_what_is_started_again_is_not_resolved_until_it_settles() -> None:
    made = State()
    start_result(made, "review", origin=NOBODY).settle(TaskStatus.SUCCEEDED, value=1)
    again = start_result(made, "review", origin=NOBODY, keep_stale=True)
    assert not (resolved("review") | settled("review"))(made)
    again.settle(TaskStatus.FAILED, error="no luck")
    assert (failed("review") & settled("review") & ~resolved("review"))(made)


def test_a_status_that_is_none_is_no_end() -> None:
    made = state(**{"review:status": ["succeeded"]})
    assert not settled("review")(made)


@pytest.mark.parametrize("make", [resolved, failed, settled])
def test_what_cannot_be_the_name_of_a_run_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInputError):
        make("turn")


# -- calls, steps, and a host's own ------------------------------------------------------------


@pytest.mark.parametrize("flow", ["order", ""])
def test_calls_and_steps_are_those_of_a_flow_or_of_any(flow: str) -> None:
    made = State()
    both = called("pay") & step_done("ask")
    assert not both.holds(made, flow)
    made.set(call_key("order", "pay"), {"succeeded": 1, "open": []})
    made.set(call_key("order", "pay_back"), {"succeeded": 0, "open": []})
    made.set(step_key("order", "ask"), "done")
    assert both.holds(made, flow)
    for each in (called("pay"), step_done("ask")):
        assert (each.holds(made, flow), (~each).holds(made, flow)) == (True, False)
        assert (each.holds(made, "another"), (~each).holds(made, "another")) == (False, True)
    assert not (called("pay_back") | step_done("pay")).holds(made, flow)


@pytest.mark.parametrize("name", ["", " ", "a:b"])
def test_what_is_no_name_of_a_tool_or_step_is_refused(name: str) -> None:
    for make in (called, step_done):
        with pytest.raises(InvalidInputError):
            make(name)


def test_a_hosts_own_guard_looks_at_the_state() -> None:
    def rich(made: StateView) -> bool:
        return (made.get("money", as_type=int) or 0) > 100

    guard = custom(rich, "there is money")
    assert (guard(state(money=101)), guard(state())) == (True, False)
    assert guard.text == "there is money"


def test_a_hosts_own_guard_has_a_name_and_does_not_wait() -> None:
    async def slow(made: StateView) -> bool:
        return True

    for none in (slow, "slow"):
        with pytest.raises(ConfigurationError, match="'slow' asks is an ordinary function, not"):
            custom(cast(Any, none), "slow")
    for name in (" ", None):
        with pytest.raises(ConfigurationError, match="name"):
            custom(lambda made: True, cast(Any, name))


# -- combined --------------------------------------------------------------------------------


def test_guards_are_combined_like_conditions() -> None:
    a, b = is_true("a"), is_true("b")
    for left in (True, False):
        for right in (True, False):
            made = state(a=left, b=right)
            assert (a & b)(made) is (left and right)
            assert (a | b)(made) is (left or right)
            assert (~a)(made) is not left
            assert (~(a & ~b))(made) is not (left and not right)
    assert always(State())
    assert not (~always)(State())


def test_and_or_and_not_in_place_of_signs_are_told() -> None:
    with pytest.raises(TypeError, match="&"):
        _ = is_set("a") and is_set("b")
    with pytest.raises(TypeError, match="~"):
        _ = not is_set("a")


def test_a_guard_is_combined_with_guards_alone() -> None:
    bare: Any = len  # callers may not be typed
    with pytest.raises(TypeError, match="for &"):
        _ = is_set("a") & bare
    with pytest.raises(TypeError, match=r"for \|"):
        _ = is_set("a") | bare


@pytest.mark.parametrize(
    ("guard", "text"),
    [
        (is_set("date") & is_true("ok"), "`date` is set and `ok` is true"),
        (eq("kind", "car") | failed("crm"), '`kind` is "car" or `crm` has failed'),
        (is_set("a") & (settled("b") | ~resolved("c")), None),
        (~(called("pay") & step_done("ask")), None),
        (~~is_set("a"), "`a` is set"),
        (always, "always"),
    ],
)
def test_a_guard_knows_its_words(guard: Guard, text: str | None) -> None:
    if text is None:
        assert "(" in guard.text
    else:
        assert str(guard) == text


def test_what_is_missing_is_told_and_nothing_else() -> None:
    guard = is_set("date") & is_set("name") & (is_true("paid") | is_true("trusted"))
    assert (
        guard.unmet(state(date="today"))
        == "`name` is set and (`paid` is true or `trusted` is true)"
    )
    assert guard.unmet(state(date="today", paid=True)) == "`name` is set"
    assert (guard & ~is_set("stop")).unmet(state(date=1, name=1, paid=1, stop=1)) == (
        "not: `stop` is set"
    )


def test_what_is_missing_of_a_call_that_runs_is_its_end() -> None:
    made = state(**{call_key("order", "pay"): {"succeeded": 0, "open": ["task-7"]}})
    assert "task-7 has not ended" in called("pay").unmet(made, "order")
    assert "task-7" in called("pay").unmet(made)


async def test_a_state_waits_for_a_guard() -> None:
    made = State()
    waiting = asyncio.ensure_future(made.wait_for(is_set("a") & ~is_set("b"), timeout=10))
    made.set("b", 1)
    made.set("a", 1)
    await asyncio.sleep(1)
    assert not waiting.done()
    made.delete("b")
    assert await waiting is True

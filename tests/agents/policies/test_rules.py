"""Rules over calls: who wins, what fails, what is refused."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.agents.policies import Policy, allow, ask, deny
from sidetask.agents.policies.rules import Action, Rule, decide
from sidetask.core.errors import ConfigurationError
from sidetask.core.jsons import Json


def said(policy: Policy, name: str = "read_file", **arguments: Json) -> str:
    return policy.decide(name, arguments).action.name.lower()


def broken(_: Mapping[str, Json]) -> bool:
    raise KeyError("path")


def test_what_no_rule_matches_is_decided_by_the_default() -> None:
    assert said(Policy(deny("shell"))) == "allow"
    assert said(Policy(allow("shell"), default="deny")) == "deny"
    assert said(Policy(default="ask")) == "ask"


def test_an_exact_name_beats_a_pattern_and_a_pattern_beats_the_star() -> None:
    policy = Policy(deny("*"), ask("read_*"), allow("read_file"))
    assert said(policy, "read_file") == "allow"
    assert said(policy, "read_mail") == "ask"
    assert said(policy, "write_file") == "deny"


def test_at_the_same_depth_a_rule_with_a_condition_beats_one_without() -> None:
    policy = Policy(deny("shell"), allow("shell", when=lambda a: a["command"] == "ls"))
    assert said(policy, "shell", command="ls") == "allow"
    assert said(policy, "shell", command="rm") == "deny"


def test_among_equals_the_strictest_stands_whatever_their_order() -> None:
    rules = [allow("read_*"), ask("*_file"), deny("r*")]
    for order in (rules, rules[::-1]):
        assert said(Policy(*order)) == "deny"
        assert said(Policy(*order), "read_mail") == "deny"
    assert said(Policy(allow("a*"), ask("*b")), "ab") == "ask"


def test_a_rule_that_fails_denies() -> None:
    verdict = Policy(allow("read_file", when=broken)).decide("read_file", {})
    assert verdict.action is Action.DENY
    assert "read_file" in verdict.reason
    assert "KeyError" in verdict.reason


def test_a_condition_that_says_neither_yes_nor_no_denies() -> None:
    assert said(Policy(allow("*", when=cast(Any, _words)))) == "deny"


def test_a_condition_cannot_change_the_arguments() -> None:
    arguments: dict[str, Json] = {"path": "a"}

    def spoil(given: Mapping[str, Json]) -> bool:
        cast(dict[str, Json], given).clear()
        return True

    Policy(allow("*", when=spoil)).decide("read_file", arguments)
    assert arguments == {"path": "a"}


def test_a_rule_tells_its_reason() -> None:
    assert Policy(deny("shell", reason="no shell here")).decide("shell", {}).reason == (
        "no shell here"
    )
    assert Policy(deny("sh*")).decide("shell", {}).reason == "the rule for 'sh*' denies shell"


def test_of_several_policies_the_strictest_stands() -> None:
    parent, child = Policy(ask("shell")), Policy(allow("*"))
    assert decide((child, parent), "shell", {}).action is Action.ASK
    assert decide((parent, Policy(deny("*"))), "shell", {}).action is Action.DENY
    assert decide((), "shell", {}).action is Action.ALLOW


def test_a_policy_knows_whether_it_may_ask() -> None:
    assert Policy(ask("x")).asks
    assert Policy(default="ask").asks
    assert not Policy(deny("x")).asks


def _words(_: object) -> str:
    return "yes"


def _yes(_: Mapping[str, Json]) -> bool:
    return True


def _no(_: Mapping[str, Json]) -> bool:
    return False


async def _async(_: Mapping[str, Json]) -> bool:
    return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: allow(""),
        lambda: allow("x", when=cast(Any, _async)),
        lambda: allow("x", when=cast(Any, "yes")),
        lambda: Policy(cast(Any, "shell")),
        lambda: Policy(default=cast(Any, "maybe")),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


RULES = st.builds(
    Rule,
    st.sampled_from(Action),
    st.sampled_from(["*", "a*", "*b", "ab", "b"]),
    st.sampled_from([None, _yes, _no]),
)


@given(st.lists(RULES, max_size=6), st.sampled_from(["ab", "b", "c"]))
def test_the_most_specific_rules_that_match_decide_and_their_order_does_not(
    rules: list[Rule], name: str
) -> None:
    matching = [rule for rule in rules if rule.matches(name, {})]
    deepest = [rule for rule in matching if rule.depth == max(each.depth for each in matching)]
    expected = max((rule.action for rule in deepest), default=Action.ALLOW)
    for order in (rules, rules[::-1]):
        assert Policy(*order).decide(name, {}).action is expected

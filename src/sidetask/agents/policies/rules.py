"""Rules over calls: which are allowed, which are denied, which ask a person.

Specific beats general: an exact name beats a pattern, a pattern beats `*`, and at the same
depth a rule with a `when` beats one without. Among rules that are equally specific the strictest
stands: deny, then ask, then allow. What no rule matches is decided by the policy's default. A
rule that fails denies.
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, assert_never

from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import value
from sidetask.core.jsons import Json

When: TypeAlias = Callable[[Mapping[str, Json]], bool]
"""Looks at a call's arguments; a plain function."""
ActionWord: TypeAlias = Literal["allow", "ask", "deny"]

_log = logging.getLogger(__name__)


class Action(IntEnum):
    """What is done with a call; the higher, the stricter."""

    ALLOW = 0
    ASK = 1
    DENY = 2


@value
class Verdict:
    """What a policy says of one call."""

    action: Action
    reason: str = ""
    """For the person who is asked, or the model that is refused."""


ALLOWED = Verdict(Action.ALLOW)


@value(frozen=True)
class Rule:
    """One rule. Made by `allow`, `ask` and `deny`.

    Raises:
        ConfigurationError: The pattern is empty, or `when` is no plain function.
    """

    action: Action
    tool: str
    """A tool's name, or a pattern: `*`, `?` and `[...]` as in file names."""
    when: When | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.tool:
            raise ConfigurationError("a rule names a tool, or a pattern: '*' means every tool")
        if self.when is not None and (
            not callable(self.when) or inspect.iscoroutinefunction(self.when)
        ):
            raise ConfigurationError(
                f"the rule for {self.tool!r}: when= is a plain function of the arguments"
            )

    @property
    def depth(self) -> tuple[int, bool]:
        """How specific it is."""
        if self.tool == "*":
            return 0, self.when is not None
        is_pattern = any(sign in self.tool for sign in "*?[")
        return 1 if is_pattern else 2, self.when is not None

    def matches(self, name: str, arguments: Mapping[str, Json]) -> bool:
        """Whether the rule speaks of this call. What `when` raises is raised."""
        if self.tool not in ("*", name) and not fnmatchcase(name, self.tool):
            return False
        if self.when is None:
            return True
        said = self.when(dict(arguments))
        if not isinstance(said, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - a host's code may not be typed
            raise TypeError(f"when= said {said!r}, neither True nor False")
        return said


def allow(tool: str, *, when: When | None = None) -> Rule:
    """Let calls of this tool run."""
    return Rule(Action.ALLOW, tool, when)


def ask(tool: str, *, when: When | None = None, reason: str = "") -> Rule:
    """Let a person decide about calls of this tool; the person is told the reason."""
    return Rule(Action.ASK, tool, when, reason)


def deny(tool: str, *, when: When | None = None, reason: str = "") -> Rule:
    """Refuse calls of this tool; the model is told the reason."""
    return Rule(Action.DENY, tool, when, reason)


class Policy:
    """Rules, and what happens to a call that none of them speaks of.

    `Policy(deny("shell"), ask("write_*"), allow("read_*"), default="ask")`. One policy decides
    about every tool alike: an agent's own, the built-in ones, those of an MCP server.

    Raises:
        ConfigurationError: Something that is no rule, or no such default.
    """

    def __init__(self, *rules: Rule, default: ActionWord = "allow") -> None:
        wrong = [each for each in rules if not isinstance(each, Rule)]  # pyright: ignore[reportUnnecessaryIsInstance] - a host's code may not be typed
        if wrong:
            raise ConfigurationError(f"{wrong[0]!r} is no rule: use allow(), ask() or deny()")
        if default not in ("allow", "ask", "deny"):
            raise ConfigurationError(f"default is 'allow', 'ask' or 'deny', not {default!r}")
        self.rules = tuple(rules)
        self.default = Action[default.upper()]
        self._ranked = sorted(rules, key=lambda rule: rule.depth, reverse=True)

    @property
    def asks(self) -> bool:
        """Whether it may ask a person."""
        return Action.ASK in (self.default, *(rule.action for rule in self.rules))

    def decide(self, name: str, arguments: Mapping[str, Json]) -> Verdict:
        """Say what is done with a call."""
        found: Rule | None = None
        for rule in self._ranked:
            if found is not None and rule.depth < found.depth:
                break
            try:
                if not rule.matches(name, arguments):
                    continue
            except Exception as error:  # noqa: BLE001 - the one boundary: a rule that fails denies
                _log.warning("the rule for %s failed on %s", rule.tool, name, exc_info=error)
                return Verdict(Action.DENY, f"the rule for {rule.tool!r} failed: {error!r}")
            if found is None or rule.action > found.action:
                found = rule
        if found is None:
            return Verdict(self.default, _why(self.default, name, "the policy's default"))
        return Verdict(
            found.action, found.reason or _why(found.action, name, f"the rule for {found.tool!r}")
        )


def decide(policies: Iterable[Policy], name: str, arguments: Mapping[str, Json]) -> Verdict:
    """What several policies say together: the strictest stands. So an agent inside another can
    be stricter than it, and never laxer."""
    verdict = ALLOWED
    for policy in policies:
        said = policy.decide(name, arguments)
        if said.action > verdict.action:
            verdict = said
    return verdict


def _why(action: Action, name: str, by: str) -> str:
    match action:
        case Action.ALLOW:
            return ""
        case Action.ASK:
            return f"{by} asks before {name} runs"
        case Action.DENY:
            return f"{by} denies {name}"
        case _:
            assert_never(action)

"""What a flow is made of: steps, constraints over tools, and what is invoked when a step begins.

Frozen values, checked as far as each of them can be checked alone. Whether they fit each other
is found by `checking`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from sidetask.core.errors import ConfigurationError
from sidetask.core.errors.checks import check_kind, check_list
from sidetask.core.jsons import Json
from sidetask.core.routing import OnComplete, OnCompleteLike, TaskPolicy
from sidetask.orchestration.base import Invocable, Mode, ModeLike
from sidetask.orchestration.combinators.pipeline import checked
from sidetask.orchestration.guards.base import Guard
from sidetask.orchestration.guards.words import always, called
from sidetask.orchestration.resolvers.resolver import Resolver
from sidetask.orchestration.template import Template
from sidetask.state.results import check_name as check_result_name
from sidetask.state.state import StateView
from sidetask.state.watch import check_ordinary

T = TypeVar("T")

Posture: TypeAlias = str | Callable[[StateView], str]
"""What to do: a text, in which `{key}` is a value of the state, or a function of the state."""
FlowMode: TypeAlias = Literal["enforce", "observe"]
"""Whether calls that do not fit are refused, or only noted."""
LONGEST = 400
"""Letters of a name: two of them fit into a key of the state."""


@dataclass(frozen=True, kw_only=True)
class OnEnter:
    """An agent or a resolver that is invoked when a step begins: `OnEnter(find_customer)`.

    Its result goes where every result of that name goes: `find_customer:status`, `…:result`,
    `…:error`. Whatever goes wrong is told there, too, and nowhere else.

    Raises:
        ConfigurationError: No such mode, no agent, an input that is to be awaited, or one for a
            resolver, which makes its own.
        InvalidInputError: No run can have this name.
    """

    agent: Invocable = field(kw_only=False)
    mode: ModeLike = Mode.DISPATCH
    """`"call"`: the next model call waits for it. `"dispatch"`: nobody does. `"background"`: the
    model is told of its end."""
    name: str = ""
    """Of the result; else the agent's name. That of a resolver is its own."""
    input: "Json | Callable[[StateView], Json]" = None
    """What the agent is given, or a function of the state that makes it."""
    when: Guard = always
    """It is left out if this does not hold when the step begins."""
    on_complete: OnCompleteLike = OnComplete.NOTIFY
    """In the background: what the end does to the conversation."""

    def __post_init__(self) -> None:
        checked("on_enter", (self.agent,))
        _check_guard(f"when to invoke {self.agent.name!r}", self.when)
        if callable(self.input):
            check_ordinary(f"the input of {self.agent.name!r}", self.input)
        set_ = object.__setattr__  # the documented way to normalise a frozen dataclass
        set_(self, "name", check_result_name(self.name or self.agent.name))
        set_(self, "on_complete", TaskPolicy(on_complete=self.on_complete).on_complete)
        words = [mode.value for mode in Mode]
        if self.mode not in words:
            raise ConfigurationError(f"a mode is one of {', '.join(words)}, not {self.mode!r}")
        set_(self, "mode", Mode(self.mode))
        if not isinstance(self.agent, Resolver):
            return
        if self.input is not None or self.name != self.agent.name:
            raise ConfigurationError(f"the resolver {self.agent.name!r} has its own name and input")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A stretch of a conversation: `Step("quote", after=["identify"], done=called("offer"))`.

    Raises:
        ConfigurationError: It has no name, allows what it denies, or something of it is of another
            kind than it says.
        TemplateError: The posture is a text with a brace that does not close; `{{` is a brace.
    """

    name: str = field(kw_only=False)
    after: Sequence[str] = ()
    """Steps that must be done before it begins; all of them. For any of them, say so in the
    gate: `step_done("a") | step_done("b")`."""
    gate: Guard = always
    """What must hold when it begins. Later it does not matter."""
    done: Guard | None = None
    """When it ends, for good: what was once done stays done. None: it never ends."""
    posture: Posture = ""
    """What the model is to do meanwhile."""
    allow: Sequence[str] | None = None
    """The step's own tools. While it is active other tools may not be called, unless they are
    ambient; and its own may be called only while a step that allows them is active. None: the
    step leaves free what no step has made its own."""
    deny: Sequence[str] = ()
    """Tools that may not be called while it is active, whoever else allows them."""
    on_enter: Sequence[OnEnter] = ()
    """What is invoked when it begins, in this order."""
    terminal: bool = False
    """When it is done, the flow is over."""
    _template: Template | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        check_name("step", self.name)
        _check_guard(f"the gate of the step {self.name!r}", self.gate)
        if self.done is not None:
            _check_guard(f"what ends the step {self.name!r}", self.done)
        set_ = object.__setattr__  # the documented way to normalise a frozen dataclass
        set_(self, "after", _words(self.after))
        set_(self, "allow", None if self.allow is None else _words(self.allow))
        set_(self, "deny", _words(self.deny))
        set_(self, "on_enter", _each("on_enter", self.on_enter, OnEnter))
        both = sorted(set(self.allow or ()) & set(self.deny))
        if both:
            raise ConfigurationError(f"the step {self.name!r} allows and denies {', '.join(both)}")
        if isinstance(self.posture, str):
            set_(self, "_template", Template(self.posture, missing="empty"))
        else:
            check_ordinary(f"the posture of the step {self.name!r}, if no text,", self.posture)

    def told(self, state: StateView) -> str:
        """The posture as it is now."""
        if self._template is not None:
            return self._template.render(state)
        assert not isinstance(self.posture, str)
        return self.posture(state)


# -- constraints over tools ----------------------------------------------------------------


@dataclass(frozen=True)
class Once:
    """A tool that may succeed once. While a call of it has not ended, another is refused too;
    one that failed may be tried again."""

    tool: str


@dataclass(frozen=True)
class NeverUntil:
    """A tool that may not be called until a guard has held once; from then on it may."""

    tool: str
    guard: Guard


@dataclass(frozen=True)
class Require:
    """A tool that may be called only while a guard holds."""

    tool: str
    guard: Guard


@dataclass(frozen=True)
class Ambient:
    """Tools that no allow-list shuts out."""

    tools: tuple[str, ...]


Constraint: TypeAlias = Once | NeverUntil | Require | Ambient


def once(tool: str) -> Constraint:
    """The tool may succeed once. While a call of it has not ended, another is refused too; one
    that failed may be tried again.

    Raises (as the other constraints do):
        ConfigurationError: A tool is not given by its name, or a guard is none.
    """
    return Once(_tool(tool))


def before(first: str, then: str) -> Constraint:
    """The tool `then` may not be called until a call of `first` has succeeded."""
    return NeverUntil(_tool(then), called(first))


def never_until(tool: str, guard: Guard) -> Constraint:
    """The tool may not be called until the guard has held once; from then on it may."""
    _check_guard(f"what {tool!r:.80} waits for", guard)
    return NeverUntil(_tool(tool), guard)


def require(tool: str, guard: Guard) -> Constraint:
    """The tool may be called only while the guard holds: a consent that is withdrawn counts."""
    _check_guard(f"what {tool!r:.80} requires", guard)
    return Require(_tool(tool), guard)


def ambient(*tools: str) -> Constraint:
    """Tools that may be called in every step that does not deny them: to look something up, to
    answer what the user asks in between."""
    return Ambient(tuple([_tool(tool) for tool in tools]))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A flow as it is written down."""

    name: str = field(kw_only=False)
    steps: Sequence[Step] = ()
    constraints: Sequence[Constraint] = ()
    mode: FlowMode = "enforce"
    """`"observe"`: calls that do not fit are let through, and noted in the state."""

    def __post_init__(self) -> None:
        check_name("flow", self.name)
        set_ = object.__setattr__  # the documented way to normalise a frozen dataclass
        kinds = Once, NeverUntil, Require, Ambient
        set_(self, "steps", _each("steps", self.steps, Step))
        set_(self, "constraints", _each("constraints", self.constraints, *kinds))
        if self.mode not in ("enforce", "observe"):
            raise ConfigurationError(f"a flow's mode is 'enforce' or 'observe', not {self.mode!r}")

    def guards(self) -> list[Guard]:
        """Every guard of it."""
        found: list[Guard] = []
        for step in self.steps:
            found += [step.gate, *(entry.when for entry in step.on_enter)]
            found += [] if step.done is None else [step.done]
        return [*found, *(c.guard for c in self.constraints if isinstance(c, NeverUntil | Require))]


def check_name(kind: str, name: object) -> None:
    """Refuse what cannot stand in a key of the state, and be read there.

    Raises:
        ConfigurationError: It is blank or too long, or has a colon.
    """
    if not isinstance(name, str) or not name.strip() or ":" in name or len(name) > LONGEST:
        raise ConfigurationError(
            f"{name!r:.80} is no name of a {kind}: give a word without colons, of at most "
            f"{LONGEST} letters"
        )


def _check_guard(what: str, given: object) -> None:
    if not isinstance(given, Guard):
        raise ConfigurationError(
            f"{what} is a guard, not {given!r:.80}; custom(fn, name) makes one of a function"
        )


def _each(what: str, given: Iterable[T], *kinds: type) -> tuple[T, ...]:
    """What is in the list, if that is what it should be."""
    check_list(what, given)
    found = tuple(given)
    for each in found:
        check_kind(f"each of {what}", each, *kinds)
    return found


def _tool(name: str) -> str:
    check_kind("the name of a tool", name, str)
    return name


def _words(given: Sequence[str]) -> tuple[str, ...]:
    """A lone text is one name, and not its letters."""
    return (given,) if isinstance(given, str) else _each("names of tools and steps", given, str)

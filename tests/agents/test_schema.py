"""Signatures and docstrings, as schemas for a model and parsers of its calls.

All hints here are strings, by the import below.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from sidetask.agents.tools.schema import function_schema
from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.tasks.context import RunContext

if TYPE_CHECKING:
    from fractions import Fraction


class Unit(Enum):
    KM = "km"
    MILE = "mile"


class Place(BaseModel):
    title: str
    zip: int = 0


@dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    fast: bool


class Tree(BaseModel):
    children: list[Tree] = []


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def is_even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("must be even")
        return 10 // n


@dataclass
class Deps:
    token: str


def schema_of(function: Callable[..., object]) -> dict[str, Any]:
    return dict(function_schema("it", function).parameters)


def parse(function: Callable[..., object], text: str) -> dict[str, object]:
    return function_schema("it", function).parse(text)


def refused(function: Callable[..., object], text: str) -> list[str]:
    """What the model is told, line by line."""
    with pytest.raises(InvalidInputError) as caught:
        parse(function, text)
    first, *rest = str(caught.value).splitlines()
    assert first == "the arguments do not fit, and the tool was not run:"
    return rest


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


def test_hints_and_defaults_become_a_schema() -> None:
    assert schema_of(add) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters_takes_an_empty_object_or_no_text() -> None:
    def now() -> str: ...

    assert schema_of(now) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert parse(now, "") == parse(now, "{}") == {}
    assert refused(now, '{"a": 1}') == ["- a: no such argument; there are: none"]


def google(q: str, limit: int = 10) -> None:
    """Search the web.

    Slow: ask once.

    Args:
        q: What to look for,
            in plain words.
        limit (int): How many hits.

    Returns:
        Hits.

    Examples:
        search("cats")
    """


def numpy(q: str, limit: int = 10) -> None:
    """Search the web.

    Slow: ask once.

    Parameters
    ----------
    q : str
        What to look for,
        in plain words.
    limit
        How many hits.
    """


def sphinx(q: str, limit: int = 10) -> None:
    """Search the web.

    Slow: ask once.

    :param q: What to look for,
        in plain words.
    :param int limit: How many hits.
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_describe_the_tool_and_its_parameters(
    function: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = function_schema("search", function)
    assert found.description.startswith("Search the web.\n\nSlow: ask once.")
    assert "limit" not in found.description
    properties: Any = found.parameters["properties"]
    assert properties["q"]["description"] == "What to look for,\nin plain words."
    assert properties["limit"]["description"] == "How many hits."
    assert caplog.messages == []


def test_examples_and_notes_stay_in_the_description() -> None:
    def noted() -> None:
        """Do it.

        Note:
            Only once.

        Examples:
            noted()
        """

    assert function_schema("it", google).description.endswith('Examples:\nsearch("cats")')
    assert "Note: Only once." in function_schema("it", noted).description


def test_a_single_sphinx_line_is_enough() -> None:
    def short(q: str) -> None:
        """Search.

        :param q: The query."""

    assert schema_of(short)["properties"]["q"]["description"] == "The query."
    assert function_schema("it", short).description == "Search."


def test_a_function_may_have_no_docstring() -> None:
    def bare(a: int) -> None: ...

    assert function_schema("it", bare).description == ""


def test_a_field_describes_and_limits_and_wins_over_the_docstring() -> None:
    def sized(n: Annotated[int, Field(description="From the field.", ge=1)] = 1) -> None:
        """Size it.

        Args:
            n: From the docstring.
        """

    assert schema_of(sized)["properties"]["n"] == {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "From the field.",
    }
    assert refused(sized, '{"n": 0}') == ["- n: Input should be greater than or equal to 1 (got 0)"]


def everything(
    place: Place,
    point: Point,
    options: Options,
    unit: Unit = Unit.KM,
    mode: Literal["car", "foot"] = "car",
    via: list[Place] | None = None,
) -> None: ...


def test_models_dataclasses_typed_dicts_enums_and_literals_are_arguments() -> None:
    text = '{"place": {"title": "A", "zip": "7"}, "point": {"x": 1}, "options": {"fast": true},'
    assert parse(everything, text + '"unit": "mile", "via": [{"title": "B"}]}') == {
        "place": Place(title="A", zip=7),
        "point": Point(1.0),
        "options": {"fast": True},
        "unit": Unit.MILE,
        "mode": "car",
        "via": [Place(title="B")],
    }
    schema = schema_of(everything)
    assert schema["properties"]["unit"] == {"$ref": "#/$defs/Unit", "default": "km"}
    assert schema["properties"]["mode"]["enum"] == ["car", "foot"]
    assert "title" in schema["$defs"]["Place"]["properties"]


def test_a_type_may_hold_itself() -> None:
    def plant(tree: Tree) -> None: ...

    assert parse(plant, '{"tree": {"children": [{}]}}') == {"tree": Tree(children=[Tree()])}


def test_a_default_that_is_not_json_stays_the_default() -> None:
    nothing = object()

    def find(key: str, default: object = nothing) -> None: ...

    assert schema_of(find)["properties"]["default"] == {}
    assert parse(find, '{"key": "a"}') == {"key": "a", "default": nothing}


def test_names_that_pydantic_uses_itself_are_fine() -> None:
    def odd(model_config: int, json: str, _private: bool, copy: int = 1) -> None: ...

    text = '{"model_config": 1, "json": "a", "_private": true}'
    assert parse(odd, text) == {"model_config": 1, "json": "a", "_private": True, "copy": 1}


# -- the context ---------------------------------------------------------------------------


def plain(ctx: RunContext[None], a: int) -> None: ...
def raw(ctx: RunContext, a: int) -> None: ...  # pyright: ignore
def noted(run: Annotated[RunContext[Deps], "mine"], a: int) -> None: ...
def keyword(*, ctx: RunContext[Deps], a: int) -> None: ...


@pytest.mark.parametrize(
    ("name", "context"), [("plain", "ctx"), ("raw", "ctx"), ("noted", "run"), ("keyword", "ctx")]
)
def test_a_first_context_is_hidden_from_the_model(name: str, context: str) -> None:
    found = function_schema(name, globals()[name])
    assert found.context == context
    assert found.parameters["properties"] == {"a": {"type": "integer"}}


def test_a_model_cannot_forge_a_context() -> None:
    assert refused(plain, '{"a": 1, "ctx": 1}') == ["- ctx: no such argument; there are: a"]


def test_what_a_partial_fills_in_is_hidden_too() -> None:
    def fetch(url: str, api_key: str) -> None:
        """Fetch it."""

    found = function_schema("fetch", partial(fetch, api_key="secret"))
    assert found.parameters["properties"] == {"url": {"type": "string"}}
    assert found.description == "Fetch it."


# -- what cannot work ----------------------------------------------------------------------


def star_args(*args: int) -> None: ...
def star_kwargs(**kwargs: int) -> None: ...
def positional(a: int, /) -> None: ...
def unhinted(a) -> None: ...  # pyright: ignore
def late_context(a: int, ctx: RunContext[None]) -> None: ...
def unresolvable(a: Fraction) -> None: ...
def opaque(fine: int, a: Callable[[], int]) -> None: ...
def foreign(fine: int, a: logging.Logger) -> None: ...
def impossible(a: Annotated[str, Field(pattern="(")]) -> None: ...
def unfinished(a: Unfinished) -> None: ...
def default_field(a: int = Field(3, description="x")) -> None: ...
def alias_field(a: Annotated[int, Field(alias="b")]) -> None: ...
def inner_default(a: Annotated[int, Field(default=3)]) -> None: ...


class Unfinished(BaseModel):
    part: Missing  # pyright: ignore  # noqa: F821


class Shop:
    def open(self, a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (star_args, "'args' is open-ended: name each parameter"),
        (star_kwargs, "'kwargs' is open-ended: name each parameter"),
        (positional, "'a' is positional-only.*remove the '/'"),
        (globals()["unhinted"], "'a' has no type hint: add one"),
        (late_context, "'ctx' takes the RunContext: make it the first one"),
        (unresolvable, "'a' has a type hint that cannot be resolved.*'Fraction'.*TYPE_CHECKING"),
        (opaque, "'a' has a type that a model cannot fill in: use JSON types"),
        (foreign, "'a' has a type that a model cannot fill in: use JSON types"),
        (impossible, "'a' has a type that a model cannot fill in"),
        (
            unfinished,
            "'a' has a type that a model cannot fill in.*Unfinished.* is not fully defined",
        ),
        (default_field, "'a' has a Field that sets a default or an alias: write"),
        (alias_field, "'a' has a Field that sets a default or an alias: write"),
        (inner_default, "'a' has a Field that sets a default or an alias: write"),
        (Shop.open, r"'self' is not bound: make the tool of the method, tool\(obj.method\)"),
    ],
)
def test_a_parameter_that_no_model_could_fill_in_is_named(
    function: Callable[..., object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"tool 'it': parameter {message}"):
        function_schema("it", function)


def test_a_builtin_without_a_signature_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"tool 'it': no signature.*wrap it"):
        function_schema("it", max)


# -- what a model gets wrong ---------------------------------------------------------------


def test_each_problem_is_named_with_its_field() -> None:
    text = '{"place": {}, "point": {"x": "far"}, "options": {}, "mode": "boat", "speed": 3}'
    assert refused(everything, text) == [
        "- place.title: missing",
        "- point.x: Input should be a valid number, unable to parse string as a number (got 'far')",
        "- mode: Input should be 'car' or 'foot' (got 'boat')",
        "- speed: no such argument; there are: place, point, options, unit, mode, via",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": ', "- Invalid JSON: EOF"),
        ("[1]", r"- arguments: Input should be an object \(got \[1\]\)"),
        ("null", "- arguments: Input should be an object"),
        ('{"a": 1.5}', "- a: Input should be a valid integer, got a number with a fractional"),
        ('{"a": 1, "b": NaN}', "- b: Input should be a finite number"),
        ('{"a": "\udc80"}', "- |the arguments could"),
        ('{"a": "%s"}' % ("x" * 500), "- a: .{,160}$"),
    ],
)
def test_text_that_is_no_fitting_object_is_refused(text: str, problem: str) -> None:
    (line,) = refused(add, text)
    assert re.match(problem, line), line


def test_infinite_numbers_are_refused() -> None:
    def wait(seconds: float) -> None: ...

    assert refused(wait, '{"seconds": Infinity}') == [
        "- seconds: Input should be a finite number (got inf)"
    ]


def test_a_flood_of_problems_is_cut() -> None:
    def total(numbers: list[int]) -> None: ...

    lines = refused(total, f'{{"numbers": {["x"] * 50}}}'.replace("'", '"'))
    assert len(lines) == 11
    assert lines[-1] == "- and 40 more"


def test_validators_of_the_users_types_speak_to_the_model() -> None:
    def halve(even: Even) -> None: ...

    assert refused(halve, '{"even": {"n": 3}}') == ["- even.n: Value error, must be even (got 3)"]
    with pytest.raises(InvalidInputError, match="could not be checked: ZeroDivisionError"):
        parse(halve, '{"even": {"n": 0}}')


def test_of_a_repeated_key_the_last_one_counts_as_everywhere() -> None:
    assert parse(add, '{"a": 1, "a": 2}') == {"a": 2, "b": 2}

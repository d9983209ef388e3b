"""Values behave as frozen dataclasses do, but for the guard at run time."""

from dataclasses import dataclass, field, replace
from inspect import signature

import pytest

from sidetask.core.ids import value


@value
class Point:
    x: int
    y: int = 0
    note: str = field(default="", compare=False, repr=False)


@value(kw_only=True)
class Place(Point):
    name: str


@dataclass(frozen=True)
class Other:
    x: int
    y: int = 0


def test_values_are_equal_by_class_and_fields() -> None:
    assert Point(1, 2) == Point(1, 2, "seen")
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Other(1, 2)
    assert Point(1) != Place(1, name="")


def test_equal_values_are_one_key() -> None:
    assert {Point(1): "a", Point(1, note="b"): "b"} == {Point(1): "b"}


def test_a_value_shows_its_fields() -> None:
    assert repr(Place(1, 2, "hidden", name="home")) == "Place(x=1, y=2, name='home')"


def test_a_changed_copy_is_made_by_replace() -> None:
    assert replace(Point(1, 2), y=5) == Point(1, 5)


def test_a_value_has_no_dict_of_its_own() -> None:
    assert not hasattr(Place(1, name=""), "__dict__")


@value
class Checked:
    names: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.names.append("checked")


def test_a_value_is_made_as_its_class_says_and_each_with_its_own_contents() -> None:
    assert str(signature(Place)) == "(x: int, y: int = 0, note: str = '', *, name: str) -> None"
    assert (Checked().names, Checked(["a"]).names) == (["checked"], ["a", "checked"])


def test_what_is_wrong_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 required .* 'x'"):
        Point()  # pyright: ignore[reportCallIssue]

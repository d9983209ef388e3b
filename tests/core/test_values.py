"""Values behave as frozen dataclasses do, but for the guard at run time, which some have."""

import copy
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from inspect import signature
from typing import ClassVar, Generic, TypeVar

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


def test_a_value_is_a_dataclass_to_who_asks() -> None:
    assert is_dataclass(Place)
    assert [each.name for each in fields(Place)] == ["x", "y", "note", "name"]
    assert Place.__match_args__ == ("x", "y", "note")


T = TypeVar("T")


@value(kw_only=True, frozen=True)
class Setting(Generic[T]):
    kinds: ClassVar[int] = 3

    chosen: T
    words: tuple[str, ...] = ()
    length: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.words))


def test_a_frozen_value_is_what_it_was_made_as() -> None:
    setting = Setting(chosen=1, words=("a", "b"))
    with pytest.raises(FrozenInstanceError, match="chosen"):
        setting.chosen = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(FrozenInstanceError, match="words"):
        del setting.words  # pyright: ignore[reportAttributeAccessIssue]
    assert (setting.chosen, setting.length, Setting.kinds) == (1, 2, 3)


def test_a_frozen_value_can_be_copied() -> None:
    setting = Setting(chosen=[1], words=("a",))
    assert copy.deepcopy(setting) == setting


def test_a_dataclass_can_be_made_of_a_frozen_value() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Named(Setting[int]):
        name: str

    made = Named(chosen=1, words=("a",), name="x")
    assert replace(made, chosen=2) == Named(chosen=2, words=("a",), name="x")
    assert made.length == 1


@value(kw_only=True, frozen=True, eq=False)
class Tagged:
    tag: str


def test_values_that_are_not_compared_are_equal_to_themselves_only() -> None:
    one = Tagged(tag="a")
    assert one == one  # noqa: PLR0124 - itself
    assert one != Tagged(tag="a")
    assert len({one, Tagged(tag="a")}) == 2

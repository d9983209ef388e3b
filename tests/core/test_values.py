"""Values behave as frozen dataclasses do, but for the guard at run time."""

from dataclasses import dataclass, field, replace

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

"""The text of a JSON value."""

import json
from math import nan

import pytest

from sidetask.core.jsons import Json, canonical

VALUES: list[Json] = [
    "job",
    '\u00e4\n"\u2028',
    3,
    10**40,
    2.5,
    1e300,
    True,
    None,
    [],
    {"b": [1, {}], "a": "x"},
]


@pytest.mark.parametrize("value", VALUES)
def test_the_text_is_that_of_json_with_sorted_keys_and_no_spaces(value: Json) -> None:
    wanted = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(value) == wanted


def test_what_is_no_json_is_refused_again_and_again() -> None:
    endless: list[object] = []
    endless.append(endless)
    for value, kind in ((endless, ValueError), (nan, ValueError), ([{1}], TypeError)) * 2:
        with pytest.raises(kind):
            canonical(value)
    assert canonical(["fine"]) == '["fine"]'

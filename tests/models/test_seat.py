import json

import pytest
from dirty_equals import IsStr
from hypothesis import given, settings
from hypothesis import strategies as st

from sidetask.core.jsons import Json
from sidetask.models.base import ToolSchema
from sidetask.models.human.seat import (
    Ask,
    SeatError,
    asked,
    complete,
    current_word,
    spoken,
    usage,
)


def schema(name: str, properties: dict[str, Json], **more: Json) -> ToolSchema:
    parameters: dict[str, Json] = {"type": "object", "properties": properties, **more}
    return ToolSchema(name=name, description="", parameters=parameters)


READ = schema(
    "read_file",
    {
        "path": {"type": "string"},
        "offset": {"type": "integer", "default": 0},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
    },
    required=["path"],
)
SHELL = schema("shell", {"command": {"type": "string"}}, required=["command"])
PAINT = schema(
    "paint",
    {
        "mode": {"$ref": "#/$defs/Mode"},
        "deep": {"type": "boolean"},
        "level": {"enum": [1, 2, "high"]},
        "size": {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "tags": {"type": ["array", "null"], "items": {"type": "string"}},
        "extra": {"allOf": [{"$ref": "#/$defs/Extra"}], "description": "more"},
        "any": {},
    },
    **{
        "$defs": {
            "Mode": {"type": "string", "enum": ["fast", "slow", "very slow"]},
            "Extra": {"type": "object"},
        }
    },
)
TOOLS = (READ, SHELL, PAINT)


def arguments(line: str, *tools: ToolSchema) -> dict[str, Json]:
    [only] = asked(line, tools or TOOLS)
    return only.arguments


def refusal(line: str) -> str:
    with pytest.raises(SeatError) as caught:
        asked(line, TOOLS)
    return str(caught.value)


# -- statements and words ------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", "   ", ";", " ; ;\n;"])
def test_an_empty_line_asks_for_nothing(line: str) -> None:
    assert asked(line, TOOLS) == []


@pytest.mark.parametrize("separator", [";", " ; ", "\n", ";;\n"])
def test_several_calls_stand_on_a_line(separator: str) -> None:
    line = separator.join(["read_file path=a", "shell ls", "read_file b"])
    assert asked(line, TOOLS) == [
        Ask("read_file", {"path": "a"}),
        Ask("shell", {"command": "ls"}),
        Ask("read_file", {"path": "b"}),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"sleep 20 && echo done"', "sleep 20 && echo done"),
        ("'a; b = c'", "a; b = c"),
        ('"a; b = c"', "a; b = c"),
        ('"x=1"', "x=1"),
        (r'"say \"hi\" \d \\"', r'say "hi" \d ' + "\\"),
        (r"'\d \'", r"\d " + "\\"),
        (r"a\ b\;\=\"", 'a b;="'),
        ("'one\ntwo'", "one\ntwo"),
        ("a'b c'd", "ab cd"),
        ("''", ""),
        ("command=", ""),
        ("command=a=b", "a=b"),
        ("https://host/?q=1", "https://host/?q=1"),
        ("[x", "[x"),
        ('["a", 1]', '["a", 1]'),
        ("trailing\\", "trailing\\"),
    ],
)
def test_quotes_and_backslashes_keep_what_they_hold(written: str, meant: str) -> None:
    assert arguments(f"shell {written}") == {"command": meant}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_given_in_quotes(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert arguments(f"shell {quoted}") == {"command": text}
    assert arguments(f"shell command={quoted}") == {"command": text}


@given(st.text("ab_ =;'\"\\[{]}\n>,:1"))
def test_any_line_is_read_or_refused_and_can_be_completed(line: str) -> None:
    complete(line, TOOLS)
    assert line.endswith(current_word(line))
    try:
        asked(line, TOOLS)
    except SeatError:
        return


# -- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("read_file a offset=3", {"path": "a", "offset": 3}),
        ("read_file 12 3", {"path": "12", "offset": 3}),
        ("read_file offset=2 a 5", {"path": "a", "offset": 2, "limit": 5}),
        ("read_file a limit=null", {"path": "a", "limit": None}),
        ("read_file null", {"path": "null"}),
        ("read_file a offset=-1", {"path": "a", "offset": -1}),
        ("paint mode=fast deep=yes", {"mode": "fast", "deep": True}),
        ("paint deep=OFF", {"deep": False}),
        ("paint level=2", {"level": 2}),
        ("paint level=high", {"level": "high"}),
        ("paint size=1.5", {"size": 1.5}),
        ('paint size="1.5"', {"size": "1.5"}),
        ("paint size=1e999", {"size": "1e999"}),
        ("paint size=big", {"size": "big"}),
        ('paint tags=["a b", "c;d"] deep=true', {"tags": ["a b", "c;d"], "deep": True}),
        ("paint tags='[\"a\"]'", {"tags": ["a"]}),
        ("paint tags=null", {"tags": None}),
        ('paint extra={"a": {"b": [1, null]}}', {"extra": {"a": {"b": [1, None]}}}),
        ("paint any=3", {"any": 3}),
        ("paint any=word", {"any": "word"}),
    ],
)
def test_values_are_read_by_the_schema(line: str, meant: dict[str, Json]) -> None:
    assert arguments(line) == meant


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("read_file", {}),
        ("read_file a offset=many", {"path": "a", "offset": "many"}),
        ("read_file a offset=1.5", {"path": "a", "offset": "1.5"}),
        ("read_file a offset=true", {"path": "a", "offset": "true"}),
        ("read_file a offset=", {"path": "a", "offset": ""}),
        ("paint mode=loud", {"mode": "loud"}),
        ("paint deep=perhaps", {"deep": "perhaps"}),
        ("paint tags=[1,", {"tags": "[1,"}),
        ("paint tags=[NaN]", {"tags": "[NaN]"}),
        ("paint extra=[1]", {"extra": "[1]"}),
        ("paint extra=" + "[" * 5000, {"extra": "[" * 5000}),
    ],
)
def test_what_is_missing_or_does_not_fit_is_for_the_tool_to_judge(
    line: str, sent: dict[str, Json]
) -> None:
    assert arguments(line) == sent


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc= ;"), inner),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(json_values, max_size=3), st.dictionaries(st.text("abc"), json_values, max_size=3))
def test_arrays_and_objects_are_written_as_json(array: list[Json], map: dict[str, Json]) -> None:
    line = f"paint tags={json.dumps(array)} extra={json.dumps(map, ensure_ascii=False)}"
    assert arguments(line) == {"tags": array, "extra": map}


# -- schemas by strangers ------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        True,
        None,
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"$ref": "#/properties/x"},
        {"anyOf": []},
        {"type": "unheard-of"},
        {"type": []},
    ],
)
def test_an_odd_schema_still_takes_text(odd: Json) -> None:
    tool = schema("odd", {"x": odd})
    assert arguments("odd x=word", tool) == {"x": "word"}
    assert usage(tool) == IsStr(regex=r"odd \[x=<.*>\]")


def test_a_tool_without_parameters_is_called_by_its_name() -> None:
    tool = ToolSchema(name="now", description="", parameters={"type": "object"})
    assert asked("now", [tool]) == [Ask("now", {})]
    assert usage(tool) == "now"


def test_a_name_with_blanks_is_quoted() -> None:
    tool = schema("odd tool", {"a b": {"type": "integer"}})
    assert arguments("'odd tool' 'a b'=1", tool) == {"a b": 1}
    assert usage(tool) == "'odd tool' ['a b'=<integer>]"
    assert complete("odd", [tool]) == ["'odd tool'"]
    assert complete("'odd tool' a", [tool]) == ["'a b'="]


def test_further_parameters_are_taken_where_the_schema_allows_them() -> None:
    tool = schema("open", {"a": {"type": "string"}}, additionalProperties={"type": "integer"})
    assert arguments("open a=1 b=2", tool) == {"a": "1", "b": 2}


# -- refusals ------------------------------------------------------------------------------


def test_an_unknown_tool_is_refused_with_a_guess_and_with_what_there_is() -> None:
    assert refusal("raed_file x") == (
        "no tool 'raed_file': did you mean read_file? there are: read_file, shell, paint; "
        "what you would say begins with >"
    )
    assert refusal("zzz").startswith("no tool 'zzz'; there are: read_file, shell, paint; ")


def test_an_unknown_parameter_is_refused_with_a_guess_and_the_usage() -> None:
    assert refusal("read_file pth=x") == (
        "no parameter 'pth': did you mean path? there are: path, offset, limit; "
        "a text that holds = is quoted; " + usage(READ)
    )


def test_a_parameter_given_twice_is_refused() -> None:
    assert refusal("read_file path=a path=b").startswith("path= is given twice: read_file")


def test_one_value_too_many_is_refused() -> None:
    assert refusal("shell sleep 20") == (
        "'20' is one value too many: shell command=<string>; quote a text with blanks"
    )


@pytest.mark.parametrize("line", ["shell 'it", 'shell "a\\"', "shell ls; shell it's"])
def test_an_open_quote_is_refused_with_its_place(line: str) -> None:
    quote = '"' if '"' in line else "'"
    assert refusal(line).startswith(
        f"the {quote} at column {line.index(quote) + 1} is never closed"
    )


# -- text replies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("> hello", "hello"),
        (">hello; shell ls", "hello; shell ls"),
        ("  > it's\nfine ", "it's\nfine"),
        (">", ""),
        ("shell 'a > b'", None),
        ("shell > b", None),
        ("", None),
    ],
)
def test_a_line_that_begins_with_the_mark_is_a_text(line: str, text: str | None) -> None:
    assert spoken(line) == text


# -- completion and help -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", ["read_file", "shell", "paint"]),
        ("re", ["read_file"]),
        ("read_file", ["read_file"]),
        ("shell ls; p", ["paint"]),
        ("shell ls;", ["read_file", "shell", "paint"]),
        ("read_file ", ["path=", "offset=", "limit="]),
        ("read_file o", ["offset="]),
        ("read_file path=x ", ["offset=", "limit="]),
        ("read_file path=R", []),
        ("paint mode=", ["mode=fast", "mode=slow", "mode='very slow'"]),
        ("paint mode='ve", ["mode='very slow'"]),
        ("paint deep=t", ["deep=true"]),
        ("paint level=", ["level=1", "level=2", "level=high"]),
        ("read_file a limit=", ["limit=null"]),
        ("unknown ", []),
        ("> re", []),
    ],
)
def test_completion_offers_tools_then_parameters_then_values(line: str, offered: list[str]) -> None:
    assert complete(line, TOOLS) == offered


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", ""),
        ("shell ", ""),
        ("shell;", ""),
        ("shell co", "co"),
        ("read_file path='my fi", "path='my fi"),
    ],
)
def test_the_current_word_is_what_a_completion_replaces(line: str, word: str) -> None:
    assert current_word(line) == word


def test_usage_shows_types_choices_and_what_is_optional() -> None:
    assert usage(READ) == "read_file path=<string> [offset=<integer>] [limit=<integer>]"
    assert usage(PAINT) == (
        "paint [mode=fast|slow|'very slow'] [deep=true|false] [level=1|2|high] "
        "[size=<number|string>] [tags=<array>] [extra=<object>] [any=<any>]"
    )

"""Texts with holes, filled from the state."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.core.errors import ConfigurationError, TemplateError
from sidetask.core.jsons import Json
from sidetask.orchestration.template import Template, escape
from sidetask.state.state import State

STATE: dict[str, Json] = {
    "file": "main.py",
    "user": {"name": "Ann", "langs": ["en", {"code": "de"}], "home.city": "Ulm"},
    "count": 3,
    "ratio": 0.5,
    "ready": True,
    "nothing": None,
    "empty": "",
    "review:main.py:result": {"grade": "A"},
    "review:main": {"py:result": {"grade": "never"}},
}


def rendered(text: str) -> str:
    state = State()
    state.update(STATE)
    return Template(text).render(state)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("no holes", "no holes"),
        ("{file}", "main.py"),
        ("Review {file} for {user.name}.", "Review main.py for Ann."),
        ("{ file }{\tuser.name\n}", "main.pyAnn"),
        ("{empty}|{nothing}|{ready}|{count}|{ratio}", "|null|true|3|0.5"),
        ("{user.langs}", '["en", {"code": "de"}]'),
        ("{user.langs.0} and {user.langs.1.code}", "en and de"),
        ("{user.home.city}", "Ulm"),
        ("{review:main.py:result.grade}", "A"),
        ("{{file}} {{{file}}} }}{{", "{file} {main.py} }{"),
        ('{{"name": "{user.name}"}}', '{"name": "Ann"}'),
    ],
)
def test_a_template_is_filled_from_the_state(text: str, said: str) -> None:
    assert rendered(text) == said


def test_json_in_a_text_keeps_letters_of_all_languages() -> None:
    assert Template("{user}").render({"user": {"name": "Jürgen"}}) == '{"name": "Jürgen"}'


@pytest.mark.parametrize(
    "name",
    [
        "gone",
        "user.gone",
        "user.name.first",
        "user.langs.2",
        "user.langs.-1",
        "count.0",
        "file.0",
        "File",
    ],
)
def test_what_the_state_does_not_have_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(TemplateError, match="set it first") as told:
        rendered("Hello {" + name + "}")
    assert told.value.what == name


def test_a_lenient_template_says_nothing_for_what_is_missing() -> None:
    lenient = Template("[{gone}][{user.gone}][{nothing}]", missing="empty")
    assert lenient.render(STATE) == "[][][null]"


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("Review {file", "{file", "not closed"),
        ("a { b {c}", "{ b {c}", "not closed"),
        ("{user.{file}}", "{user.{file}}", "not closed"),
        ("{file}}", "}", "closes nothing"),
        ("all {} of it", "{} of it", "no name"),
        ("{ \n}", "{ \n}", "no name"),
        ("}" + "x" * 100, "}" + "x" * 39 + "…", "closes nothing"),
    ],
)
def test_a_malformed_template_is_refused_when_it_is_made(text: str, at: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why) as told:
        Template(text)
    assert told.value.what == at


def test_only_two_words_say_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="'error' or 'empty'"):
        Template("", missing="skip")  # pyright: ignore[reportArgumentType]


def test_the_longest_key_wins_on_every_level() -> None:
    values: dict[str, Json] = {
        "a": {"b": {"c": "from a"}, "b.c": "longest in a", "x": {"y": 1}},
        "a.b": {"d": "from a.b"},
    }
    assert Template("{a.b.d}").render(values) == "from a.b"
    assert Template("{a.x.y}").render(values) == "1"
    with pytest.raises(TemplateError, match=r"a\.b\.c"):
        Template("{a.b.c}").render(values)  # the key a.b is there, so a is not asked
    del values["a.b"]
    assert Template("{a.b.c}").render(values) == "longest in a"


def test_a_template_is_read_once_and_filled_many_times() -> None:
    template = Template("{a} {b.c} {a}")
    assert template.names == ("a", "b.c")
    assert template.render({"a": "x", "b": {"c": 1}}) == "x 1 x"
    assert template.render({"a": "y", "b": {"c": 2}}) == "y 2 y"
    assert repr(template) == "Template('{a} {b.c} {a}')"


# -- whatever the text -----------------------------------------------------------------------

BRACED = st.text(alphabet=st.sampled_from("{}ab. \n")) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(BRACED, inner | BRACED),
    max_leaves=5,
)


@given(BRACED)
def test_an_escaped_text_renders_as_itself(text: str) -> None:
    template = Template(escape(text))
    assert template.render({}) == text
    assert template.names == ()


@given(BRACED, BRACED, BRACED)
def test_a_value_is_never_read_as_a_template(before: str, value: str, after: str) -> None:
    template = Template(escape(before) + "{key}" + escape(after))
    assert template.render({"key": value, "a": "A", "b": "B"}) == before + value + after


@given(JSON)
def test_what_is_no_text_comes_as_its_json(value: Json) -> None:
    assert json.loads(Template("{key}").render({"key": value})) == value


@given(BRACED)
def test_any_text_is_a_template_or_is_refused_as_one(text: str) -> None:
    try:
        template = Template(text, missing="empty")
    except TemplateError:
        assert "{" in text or "}" in text
    else:
        assert template.render({}).count("{") == text.count("{{")

"""Messages: what is accepted, what a call's digest is bound to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import CallId
from sidetask.core.messages import (
    AssistantMessage,
    File,
    Image,
    Text,
    Thinking,
    ToolCall,
    UserMessage,
    user_message,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=5)


# -- tool calls --------------------------------------------------------------------------------


@given(objects)
def test_arguments_come_back_as_they_were_given(arguments: dict[str, Any]) -> None:
    assert ToolCall.make("tool", arguments).parsed() == arguments


@given(objects, st.randoms(use_true_random=False))
def test_the_digest_is_of_the_name_and_the_arguments_in_any_order_of_keys(
    arguments: dict[str, Any], random: Any
) -> None:
    keys = list(arguments)
    random.shuffle(keys)
    shuffled = json.dumps({key: arguments[key] for key in keys}, indent=2)
    call = ToolCall.make("tool", arguments)
    assert call.digest() == ToolCall(CallId("other"), "tool", shuffled).digest()
    assert call.digest() != ToolCall.make("tool2", arguments).digest()


@given(objects, objects)
def test_other_arguments_have_another_digest(a: dict[str, Any], b: dict[str, Any]) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (ToolCall.make("t", a).digest() == ToolCall.make("t", b).digest()) is same


def test_true_and_one_are_other_arguments() -> None:
    assert ToolCall.make("t", {"x": True}).digest() != ToolCall.make("t", {"x": 1}).digest()


@pytest.mark.parametrize("text", ["{", "[1]", "null", "1", '"x"', "nonsense"])
def test_arguments_that_are_no_json_object_are_refused(text: str) -> None:
    call = ToolCall(CallId("call-1"), "tool", text)
    with pytest.raises(InvalidInputError, match="the arguments are not"):
        call.parsed()
    with pytest.raises(InvalidInputError):
        call.digest()


def test_no_arguments_are_an_empty_object() -> None:
    assert ToolCall(CallId("call-1"), "tool", "").parsed() == {}
    assert ToolCall(CallId("call-1"), "tool").parsed() == {}


def test_calls_of_a_host_have_ids_of_their_own() -> None:
    assert ToolCall.make("tool").id != ToolCall.make("tool").id
    assert ToolCall.make("tool", id="mine").id == "mine"


def test_numbers_that_are_no_json_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        ToolCall.make("tool", {"x": float("nan")})


# -- user messages -----------------------------------------------------------------------------


def test_a_user_message_is_made_of_texts_images_and_files() -> None:
    image, file = Image(url="https://x"), File(media_type="text/plain", data=b"x")
    assert user_message("hi") == UserMessage((Text("hi"),))
    assert user_message(["see", image, file, Text("!")]).parts == (
        Text("see"),
        image,
        file,
        Text("!"),
    )
    assert user_message(["a", image, "b"]).text == "ab"
    assert user_message([image]).text == ""


@pytest.mark.parametrize("content", ["", " \n", [], ["", " "], [Text("")]])
def test_an_empty_message_is_refused(content: Any) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        user_message(content)


def test_a_message_of_other_things_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not 7"):
        user_message(["hi", 7])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "content", [None, 7, b"hi", {"role": "user", "content": "hi"}, Image(url="https://x")]
)
def test_a_message_is_a_text_or_a_list_and_says_what_it_was_given(content: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"a list of .*, not {type(content).__name__}"):
        user_message(content)


@pytest.mark.parametrize("source", [{}, {"data": b"x", "url": "https://x"}])
def test_an_image_or_file_has_exactly_one_source(source: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="not both"):
        Image(**source)
    with pytest.raises(InvalidInputError, match="not both"):
        File(media_type="text/plain", **source)


# -- assistant messages ------------------------------------------------------------------------


def test_an_assistant_message_tells_its_text_and_its_calls_in_order() -> None:
    first, second = ToolCall.make("a"), ToolCall.make("b")
    message = AssistantMessage((Thinking("hm"), Text("I "), first, Text("will"), second))
    assert (message.text, message.calls) == ("I will", (first, second))
    assert not message.partial

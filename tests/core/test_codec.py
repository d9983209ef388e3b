"""What is written as JSON comes back as it was, or is refused with a reason."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import EnumType
from types import NoneType, UnionType
from typing import Any, NewType, Union, cast, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidetask.core.codec import (
    EVENTS,
    TYPES,
    VERSION,
    event_from_json,
    event_to_json,
    message_from_json,
    message_to_json,
    value_from_json,
    value_to_json,
)
from sidetask.core.errors import CodecError
from sidetask.core.events import (
    Event,
    EventKind,
    RunStarted,
    TaskCancelled,
    TaskSucceeded,
    UserMessageCommitted,
    fact,
)
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.jsons import Json
from sidetask.core.messages import (
    AssistantMessage,
    File,
    Image,
    Message,
    NotificationMessage,
    Text,
    ToolCall,
    UserMessage,
)
from sidetask.core.routing import TaskPolicy, detach_after
from sidetask.tasks.values import Approval, Resolution, TaskLaunch

# -- values of every class, made from its fields -----------------------------------------

floats = st.floats(allow_nan=False, allow_infinity=False)
free = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
plain: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(),
    float: floats,
    bool: st.booleans(),
    bytes: st.binary(),
    NoneType: st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may hold."""
    if isinstance(hint, NewType):
        return values(hint.__supertype__)
    if hint in plain:
        return plain[hint]
    if hint == Json:
        return free
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        return st.dictionaries(st.text(), free, max_size=3)
    if get_origin(hint) in (Union, UnionType):
        return st.one_of([values(member) for member in get_args(hint)])
    if isinstance(hint, EnumType):
        return st.sampled_from(list(cast("Any", hint)))
    assert is_dataclass(hint), f"say here how to make a {hint}"
    made = st.fixed_dictionaries({field.name: values(field.type) for field in fields(hint)})
    if hint in (Image, File):  # they take one source and not two
        made = made.map(_with_one_source)
    return made.map(lambda given: cast("Any", hint)(**given))


def _with_one_source(given: dict[str, Any]) -> dict[str, Any]:
    url = None if given["data"] is not None else given["url"] or "https://example.com/a.png"
    return {**given, "url": url}


def through_text(written: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(written, allow_nan=False))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.ANY])
def test_every_event_comes_back_as_it_was(kind: EventKind) -> None:
    @settings(max_examples=15)
    @given(event=values(EVENTS[kind]))
    def check(event: Event) -> None:
        written = through_text(event_to_json(event))
        assert (written["v"], written["kind"]) == (VERSION, kind.value)
        assert event_from_json(written) == event

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(Message))
def test_every_message_comes_back_as_it_was(kind: type) -> None:
    @settings(max_examples=15)
    @given(message=values(kind))
    def check(message: Message) -> None:
        assert message_from_json(through_text(message_to_json(message))) == message

    check()


def _subclasses(of: type[Event]) -> set[type[Event]]:
    return {of}.union(*(_subclasses(child) for child in of.__subclasses__()))


def test_every_event_class_of_the_package_is_in_the_table() -> None:
    named = {
        found.__qualname__
        for found in _subclasses(Event)
        if "kind" in vars(found) and found.__module__.startswith("sidetask.")
    }
    assert named == {found.__qualname__ for found in EVENTS.values()}
    assert len(EVENTS) == len(EventKind) - 1


def test_each_word_stands_for_one_class() -> None:
    assert len(set(TYPES.values())) == len(TYPES)


# -- the written form ----------------------------------------------------------------------

ended = TaskCancelled(
    seq=7,
    at=1.5,
    conversation_id=ConversationId("c1"),
    task_id=TaskId("task-1"),
    call_id=CallId("call-1"),
    name="crawl",
    duration=0.25,
    reason="stop",
    abandoned=False,
)


def test_an_event_is_its_fields_under_its_kind() -> None:
    assert event_to_json(ended) == {
        "v": 1,
        "kind": "task_cancelled",
        "seq": 7,
        "at": 1.5,
        "conversation_id": "c1",
        "turn_id": None,
        "run_id": None,
        "parent_id": None,
        "task_id": "task-1",
        "call_id": "call-1",
        "name": "crawl",
        "duration": 0.25,
        "reason": "stop",
        "abandoned": False,
    }


def test_parts_tell_their_type_and_bytes_are_base64() -> None:
    message = UserMessage((Text("look"), Image(data=b"\x00\xff")))
    assert message_to_json(message) == {
        "v": 1,
        "type": "user",
        "parts": [
            {"type": "text", "text": "look"},
            {"type": "image", "media_type": "image/png", "data": "AP8=", "url": None},
        ],
    }


def test_only_the_whole_carries_a_version() -> None:
    event = UserMessageCommitted(
        seq=1, at=0.0, conversation_id=ConversationId("c"), message=UserMessage((Text("hi"),))
    )
    assert event_to_json(event)["message"] == {"parts": [{"type": "text", "text": "hi"}]}


def test_a_field_that_nobody_knows_is_skipped() -> None:
    assert event_from_json({**event_to_json(ended), "mood": "blue"}) == ended


def test_a_missing_field_takes_its_default() -> None:
    written = {"v": 1, "kind": "run_started", "seq": 1, "at": 2, "conversation_id": "c"}
    event = event_from_json({**written, "cause": "user"})
    assert event == RunStarted(seq=1, at=2, conversation_id=ConversationId("c"), cause="user")


# -- what is refused -----------------------------------------------------------------------

whole = event_to_json(ended)
reply = message_to_json(AssistantMessage((ToolCall(CallId("c"), "add"),)))
picture = {"v": 1, "type": "user", "parts": [{"type": "image", "data": "AP8="}]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({**whole, "v": 2}, "version 2 is newer than 1"),
        ({**whole, "v": "1"}, "no version"),
        ({**whole, "v": True}, "no version"),
        ({**whole, "v": 0}, "no version"),
        ({}, "no version"),
        ("{}", "expected Mapping, found str"),
        ({**whole, "kind": "task_exploded"}, "unknown kind 'task_exploded'"),
        ({**whole, "kind": ["any"]}, "expected str, found list"),
        ({**whole, "seq": "7"}, "TaskCancelled.seq: expected int, found str"),
        ({**whole, "seq": True}, "TaskCancelled.seq: expected int, found bool"),
        ({**whole, "at": float("nan")}, "TaskCancelled.at: nan is not JSON"),
        ({**whole, "turn_id": 3}, "TaskCancelled.turn_id: expected str, found int"),
        ({"v": 1, "kind": "run_started", "at": 1}, "RunStarted lacks seq, conversation_id, cause"),
    ],
)
def test_a_corrupt_event_is_refused_with_a_reason(data: Any, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        event_from_json(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({**reply, "type": "oracle"}, "unknown type 'oracle'"),
        ({**reply, "parts": {}}, r"AssistantMessage.parts: expected list, found dict"),
        ({**reply, "parts": ["hi"]}, r"AssistantMessage.parts: \[0\]: expected Mapping, found str"),
        ({**reply, "parts": [{"type": "image"}]}, r"\[0\]: unknown type 'image'"),
        ({**picture, "parts": [{"type": "image", "data": "?"}]}, r"parts: \[0\]: Image.data: "),
        ({**picture, "parts": [{"type": "image"}]}, r"Image: give either data= \(bytes\) or url="),
    ],
)
def test_a_corrupt_message_is_refused_with_a_reason(data: Any, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        message_from_json(data)


def _succeeded(metadata: Any) -> TaskSucceeded:
    common = {field.name: getattr(ended, field.name) for field in fields(Event)}
    return TaskSucceeded(
        **common,
        task_id=ended.task_id,
        call_id=ended.call_id,
        name="crawl",
        duration=0.1,
        metadata=metadata,
    )


def test_tuples_in_metadata_are_written_as_lists() -> None:
    assert event_to_json(_succeeded({"a": (1, {"b": ()})}))["metadata"] == {"a": [1, {"b": []}]}


endless: dict[str, Any] = {}
endless["self"] = endless


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"a": object()}, "expected JSON, found object"),
        ({"a": b"x"}, "found bytes"),
        ({1: "a"}, "expected str, found int"),
        ({"a": float("inf")}, "inf is not JSON"),
        (endless, "nested in itself, or deeper than 100 levels"),
        ([], "expected Mapping, found list"),
    ],
)
def test_what_is_not_json_is_not_written(metadata: Any, why: str) -> None:
    with pytest.raises(CodecError, match=f"TaskSucceeded.metadata: .*{why}"):
        event_to_json(_succeeded(metadata))


def test_a_wrong_value_is_not_written() -> None:
    with pytest.raises(CodecError, match=r"TaskCancelled\.reason: expected str, found bytes"):
        event_to_json(replace(ended, reason=cast("str", b"stop")))


def test_an_event_from_elsewhere_is_not_written() -> None:
    @fact
    class Sneezed(Event):
        kind = EventKind.RUN_STARTED

    with pytest.raises(CodecError, match="found Sneezed"):
        event_to_json(Sneezed(seq=1, at=0.0, conversation_id=ConversationId("c")))


def test_a_part_in_the_wrong_place_is_not_written() -> None:
    items = cast("tuple[Any, ...]", (Text("hi"),))
    with pytest.raises(CodecError, match="expected Notification, found Text"):
        message_to_json(NotificationMessage(items))


def test_an_error_does_not_tell_what_was_said() -> None:
    secret = cast("str", ["my password"])
    with pytest.raises(CodecError) as caught:
        message_to_json(UserMessage((Text(secret),)))
    assert "password" not in str(caught.value)


# -- values of other layers ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Resolution, Approval])
def test_every_value_that_a_task_leaves_behind_comes_back_as_it_was(kind: type) -> None:
    @settings(max_examples=15)
    @given(value=values(kind))
    def check(value: object) -> None:
        assert value_from_json(kind, through_text(value_to_json(kind, value))) == value

    check()


def test_a_launch_comes_back_as_it_was() -> None:
    launch = TaskLaunch(
        call=ToolCall.make("crawl", {"url": "a.com"}, id="call-1"),
        conversation_id=ConversationId("c"),
        route=detach_after(5),
        policy=TaskPolicy(on_complete="notify", on_interrupt="keep", timeout=3.0),
        metadata={"a": [1, None]},
    )
    assert value_from_json(TaskLaunch, through_text(value_to_json(TaskLaunch, launch))) == launch


def test_a_bad_number_is_refused_however_often_good_ones_were_written() -> None:
    for _ in range(2):
        assert event_to_json(ended)["duration"] == 0.25
        with pytest.raises(CodecError, match="duration"):
            event_to_json(replace(ended, duration=float("nan")))
        with pytest.raises(CodecError, match="seq"):
            event_to_json(replace(ended, seq=True))

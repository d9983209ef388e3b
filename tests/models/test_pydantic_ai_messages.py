"""Our history as pydantic-ai's messages, and back from the memo that a reply left."""

from typing import Any

import pytest
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    CachePoint,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from sidetask.core.ids import CallId, TaskId
from sidetask.core.messages import (
    AssistantMessage,
    File,
    Image,
    Message,
    Notification,
    NotificationMessage,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolResult,
    user_message,
)
from sidetask.models.pydantic_ai import memo
from sidetask.models.pydantic_ai.messages import theirs

CALL = ToolCall(CallId("c1"), "add", '{"a": 1}')
LATE = Notification(TaskId("task-1"), (CallId("c1"),), "add", "succeeded", "2")


def parts(*history: Message, system: str = "anthropic", tail: str = "") -> list[Any]:
    return [part for message in theirs(history, system, tail=tail) for part in message.parts]


def content(part: object) -> Any:
    assert isinstance(part, UserPromptPart)
    return part.content


def test_a_text_is_a_text() -> None:
    (part,) = parts(user_message("hi"))
    assert content(part) == "hi"


def test_images_and_files_go_as_what_they_are() -> None:
    image, pdf = Image(data=b"png"), File(media_type="application/pdf", data=b"pdf", name="a.pdf")
    (part,) = parts(user_message(["look", image, pdf]))
    text, first, second = content(part)
    assert text == "look"
    assert isinstance(first, BinaryContent)
    assert (first.data, first.media_type) == (b"png", "image/png")
    assert (second.media_type, second.identifier) == ("application/pdf", "a.pdf")


def test_addresses_go_as_addresses_of_their_kind() -> None:
    (part,) = parts(
        user_message(
            [
                Image(url="https://x.org/a.jpg"),
                Image(url="https://x.org/image?id=1"),
                File(media_type="audio/mpeg", url="https://x.org/a.mp3"),
                File(media_type="application/pdf", url="https://x.org/a"),
            ]
        )
    )
    jpg, png, audio, pdf = content(part)
    assert isinstance(jpg, ImageUrl)
    assert (jpg.media_type, png.media_type) == ("image/jpeg", "image/png")
    assert isinstance(audio, AudioUrl)
    assert isinstance(pdf, DocumentUrl)
    assert pdf.media_type == "application/pdf"


def test_an_address_that_holds_its_data_is_data() -> None:
    (part,) = parts(user_message([Image(url="data:image/gif;base64,R0lG")]))
    assert isinstance(content(part)[0], BinaryContent)


def test_answers_keep_the_order_of_the_calls_and_the_errors_mark() -> None:
    message = ToolMessage(
        (
            ToolResult(CallId("c1"), "add", "2"),
            ToolResult(CallId("c2"), "add", "boom", is_error=True),
        )
    )
    first, second = parts(message)
    assert isinstance(first, ToolReturnPart)
    assert (first.tool_call_id, first.content, first.outcome) == ("c1", "2", "success")
    assert (second.tool_call_id, second.content, second.outcome) == ("c2", "boom", "failed")


def test_what_a_tool_attached_goes_with_its_answer() -> None:
    result = ToolResult(CallId("c1"), "shot", "here", attachments=(Image(data=b"png"),))
    (part,) = parts(ToolMessage((result,)))
    assert part.content[0] == "here"
    assert isinstance(part.content[1], BinaryContent)


def test_a_late_result_is_told_by_the_user_in_its_frame() -> None:
    (part,) = parts(NotificationMessage((LATE,)))
    assert content(part) == [LATE.framed]
    assert 'task="task-1"' in LATE.framed


def test_a_late_image_comes_after_its_own_frame() -> None:
    drawn = Notification(
        TaskId("task-2"), (), "draw", "succeeded", "a picture", (Image(data=b"png"),)
    )
    (part,) = parts(NotificationMessage((drawn, LATE)))
    first, image, second = content(part)
    assert (first, second) == (drawn.framed, LATE.framed)
    assert isinstance(image, BinaryContent)


def test_neighbours_of_one_voice_become_one_message() -> None:
    history: list[Message] = [
        user_message("add"),
        AssistantMessage((CALL,)),
        ToolMessage((ToolResult(CallId("c1"), "add", "running"),)),
        NotificationMessage((LATE,)),
        user_message("and?"),
    ]
    kinds = [type(message) for message in theirs(history, "anthropic")]
    assert kinds == [ModelRequest, ModelResponse, ModelRequest]
    last = theirs(history, "anthropic")[-1]
    assert [type(part) for part in last.parts] == [ToolReturnPart, UserPromptPart, UserPromptPart]


def test_the_history_itself_is_not_changed() -> None:
    history: list[Message] = [user_message("a"), user_message("b")]
    theirs(history, "x")
    assert len(theirs(history, "x")[0].parts) == 2


def test_a_calls_arguments_are_the_text_that_the_model_wrote() -> None:
    (part,) = parts(AssistantMessage((CALL,)))
    assert isinstance(part, ToolCallPart)
    assert part.args == '{"a": 1}'


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "nonsense"])
def test_arguments_that_no_wire_takes_are_wrapped(text: str) -> None:
    (part,) = parts(AssistantMessage((ToolCall(CallId("c1"), "add", text),)))
    assert part.args == {"text_that_is_not_json": text}
    assert "INVALID_JSON" not in part.args_as_json_str()


def test_a_signature_of_the_callers_own_is_the_asked_providers() -> None:
    (part,) = parts(AssistantMessage((Thinking("hm", "sig"),)))
    assert isinstance(part, ThinkingPart)
    assert (part.signature, part.provider_name) == ("sig", "anthropic")


def test_thinking_of_a_reply_that_was_cut_is_left_out() -> None:
    cut = AssistantMessage((Thinking("hm"), Text("Well")), partial=True)
    assert [type(part) for part in parts(cut)] == [TextPart]


def test_a_reply_of_which_nothing_is_left_is_no_message() -> None:
    cut = AssistantMessage((Thinking("hm"),), partial=True)
    assert len(theirs([user_message("a"), cut, user_message("b")], "x")) == 1


# -- the memo ------------------------------------------------------------------------------------

REPLY = ModelResponse(
    parts=[
        ThinkingPart("first ", id="rs_1", signature="sig", provider_name="openai"),
        ThinkingPart("second", id="rs_1", provider_name="openai"),
        TextPart("Let me see.", id="msg_1", provider_name="openai"),
        ToolCallPart("add", '{"a": 1}', "c1", id="fc_1", provider_name="openai"),
        TextPart(" Also:"),
        ToolCallPart("add", '{"b": 1}', "c2", provider_details={"thought_signature": "x"}),
    ],
    provider_name="openai",
    provider_url="https://api.openai.com/v1",
    canonical_system="openai",
)
CALLS = (CALL, ToolCall(CallId("c2"), "add", '{"b": 1}'))


def kept(*extra: Text | Thinking | ToolCall, note: str | None = None) -> AssistantMessage:
    """What our loop makes of `REPLY`: texts and thoughts joined, calls at the end."""
    note = note or memo.write(REPLY)
    return AssistantMessage(
        (
            Thinking("first second"),
            Text("Let me see. Also:"),
            Thinking("", note),
            *CALLS,
            *extra,
        )
    )


def restored(message: AssistantMessage) -> ModelMessage:
    (found,) = theirs([message], "openai")
    return found


def test_a_reply_comes_back_as_the_provider_sent_it() -> None:
    found = restored(kept())
    assert isinstance(found, ModelResponse)
    assert found.parts == REPLY.parts
    assert (found.provider_name, found.provider_url) == (REPLY.provider_name, REPLY.provider_url)
    assert found.canonical_system == "openai"


def test_a_reply_that_was_changed_meanwhile_goes_without_its_memo() -> None:
    found = restored(kept(Text("!")))
    kinds = [type(part) for part in found.parts]
    assert kinds == [ThinkingPart, TextPart, ToolCallPart, ToolCallPart, TextPart]
    assert not any(isinstance(part, ThinkingPart) and part.signature for part in found.parts)


@pytest.mark.parametrize("note", [memo.MARK + "{", memo.MARK + "{}", memo.MARK + "[1]"])
def test_a_memo_that_cannot_be_read_is_none(note: str) -> None:
    assert memo.read(kept(note=note)) is None
    assert len(restored(kept(note=note)).parts) == 4


def test_a_plain_reply_needs_no_memo() -> None:
    plain = ModelResponse(parts=[TextPart("hi", id="msg_1"), ToolCallPart("add", "{}", "c1")])
    assert memo.write(plain) is None


# -- the tail -------------------------------------------------------------------------------


def test_a_tail_comes_last_and_changes_nothing_before_it() -> None:
    answer = ToolMessage((ToolResult(CallId("c1"), "add", "2"),))
    history: list[Message] = [user_message("hi"), AssistantMessage((CALL,)), answer]
    before = parts(*history)
    after = parts(*history, tail="Be kind.")
    assert content(after[-1]) == "Be kind."
    assert content(after[0]) == content(before[0])
    assert (after[2].content, after[2].tool_call_id) == (before[2].content, "c1")
    assert len(after) == len(before) + 1
    assert len(history) == 3


def test_the_mark_of_the_cache_stands_before_the_tail_where_there_is_something_to_mark() -> None:
    (message,) = theirs([user_message("hi")], "x", tail="Be kind.", marked=True)
    assert content(message.parts[-1]) == [CachePoint(), "Be kind."]
    (message,) = theirs([], "x", tail="Be kind.", marked=True)
    assert content(message.parts[-1]) == "Be kind."

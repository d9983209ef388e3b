"""Histories of any kind, as a conversation could have written them."""

from collections.abc import Sequence
from itertools import count

from hypothesis import strategies as st

from sidetask.core.ids import CallId, TaskId
from sidetask.core.messages import (
    AssistantMessage,
    Message,
    Notification,
    NotificationMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)

_numbers = count()


def said(text: str) -> UserMessage:
    return UserMessage((Text(text),))


def replied(text: str) -> AssistantMessage:
    return AssistantMessage((Text(text),))


def step(calls: int, output: str) -> Sequence[Message]:
    """A reply with calls, and their answers."""
    made = [ToolCall(CallId(f"call-{next(_numbers)}"), "look", "{}") for _ in range(calls)]
    results = [ToolResult(each.id, each.name, output) for each in made]
    return AssistantMessage(tuple(made)), ToolMessage(tuple(results))


def notified(output: str) -> NotificationMessage:
    task = TaskId(f"task-{next(_numbers)}")
    return NotificationMessage((Notification(task, (), "look", "succeeded", output),))


_texts = st.integers(0, 2_000).map(lambda letters: "x" * letters)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """The messages of one turn."""
    messages: list[Message] = [draw(st.one_of(_texts.map(said), _texts.map(notified)))]
    for _ in range(draw(st.integers(0, 4))):
        messages += step(draw(st.integers(1, 3)), draw(_texts))
        if draw(st.booleans()):
            messages.append(draw(st.one_of(_texts.map(said), _texts.map(notified))))
    if draw(st.booleans()):  # a turn that failed ends without a reply
        messages.append(replied(draw(_texts)))
    return messages

"""What the model is given of a conversation, and how long that is.

The history keeps every message. The *context* is what a model reads of it: at first the very
same list; from the first compaction on a list of its own, which begins with a *head* that
stands for the old messages and goes on with the rest as they are. It changes only when it is
compacted, and else only grows: what a provider has cached of it stays valid.

Its length is the last one that the provider told, and an estimate of what came since. So a
turn looks at new messages only, however long the conversation is.
"""

from collections.abc import Sequence

from sidetask.core.errors import InvalidInputError
from sidetask.core.messages import (
    AssistantMessage,
    Attachment,
    Message,
    NotificationMessage,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from sidetask.core.usage import Usage

BYTES_PER_TOKEN = 4
ATTACHMENT = 1_500
"""Tokens of an image or a file: providers count them in their own ways, about so many each."""
_MESSAGE = 4
"""Tokens by which providers tell one message from the next."""


class Context:
    """One conversation's context."""

    __slots__ = ("_counted", "_history", "_tokens", "covered", "head", "indices", "messages")

    def __init__(self, history: list[Message]) -> None:
        self._history = history
        self.messages = history
        """What the model is given. Read it, don't change it."""
        self.covered = 0
        """How many messages of the history the head stands for."""
        self.head = 0
        """How many messages the head has."""
        self.indices: tuple[int, ...] = ()
        """What `covered` was after each compaction."""
        self._tokens = 0
        self._counted = 0

    def append(self, message: Message) -> None:
        """A message is part of the history, and of the context."""
        self._history.append(message)
        if self.messages is not self._history:
            self.messages.append(message)

    def tokens(self) -> int:
        """How long the messages are, as far as it is known."""
        messages = self.messages
        for at in range(self._counted, len(messages)):
            self._tokens += tokens_of(messages[at])
        self._counted = len(messages)
        return self._tokens

    def measured(self, usage: Usage, *, prompt: int) -> None:
        """A provider told how long all messages up to the last one are, with `prompt` tokens of
        instructions and tools before them."""
        if usage.input_tokens:
            self._tokens = max(0, usage.input_tokens + usage.output_tokens - prompt)
            self._counted = len(self.messages)

    def place_of(self, index: int) -> int:
        """Where a message of the history stands in the context; in the head: where that ends."""
        return max(index, self.covered) - self.covered + self.head

    def cut_for(self, first: int, room: int) -> int:
        """The place from which on messages are kept: `first`, or so far behind it that what is
        kept fits into `room` tokens. Never between a call and its answer; the last message, or
        the last calls with their answers, are always kept."""
        messages, size, cut = self.messages, 0, len(self.messages)
        first = min(max(first, self.head), len(messages) - 1)
        for at in range(len(messages) - 1, first - 1, -1):
            size += tokens_of(messages[at])
            if size > room and cut < len(messages):
                break
            if not isinstance(messages[at], ToolMessage):
                cut = at
        return cut

    def clear(self) -> None:
        """The conversation begins anew."""
        self._history.clear()
        self.messages = self._history
        self.indices = ()
        self.covered = self.head = self._tokens = self._counted = 0

    def resume(self, summary: Message, covered: int) -> None:
        """Go on where the last compaction left it: `summary` stands for so many messages."""
        self.messages = [summary, *self._history[covered:]]
        self.covered, self.head = covered, 1
        self.indices += (covered,)
        self._tokens = self._counted = 0

    def replace(self, cut: int, head: Sequence[Message]) -> None:
        """Let `head` stand for all messages before the place `cut`.

        Raises:
            InvalidInputError: In `head`, a call and its answer do not stand together; or it is
                no shorter than what it stands for. Nothing was changed.
        """
        check_whole(head)
        before = self.tokens()
        gone, come = _estimate(self.messages[:cut]), _estimate(head)
        if come >= gone:
            raise InvalidInputError(f"{come} tokens in place of {gone} make no room")
        whole = _estimate(self.messages)
        self.covered += cut - self.head
        self.head = len(head)
        self.messages = [*head, *self.messages[cut:]]
        self.indices += (self.covered,)
        # What the provider told of the whole was so much more, or less, than our estimate.
        self._tokens = before * (whole - gone + come) // whole
        self._counted = len(self.messages)


def tokens_of(message: Message) -> int:
    """About how many tokens a message has."""
    match message:
        case UserMessage(parts) | AssistantMessage(parts):
            size = sum([_part(part) for part in parts])
        case ToolMessage(results):
            size = sum(
                [text_tokens(each.content) + _attached(each.attachments) for each in results]
            )
        case NotificationMessage(items):
            size = sum([text_tokens(each.content) + _attached(each.attachments) for each in items])
    return size + _MESSAGE


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return size // BYTES_PER_TOKEN + 1


def check_whole(messages: Sequence[Message]) -> None:
    """Refuse a row of messages in which a call has no answer, or an answer no call.

    Raises:
        InvalidInputError: There is one.
    """
    owed: list[str] = []
    for message in messages:
        is_answer = isinstance(message, ToolMessage)
        answered = [each.call_id for each in message.results] if is_answer else []
        if answered != owed:
            raise InvalidInputError("a call without its answer, or an answer without its call")
        owed = [call.id for call in message.calls] if isinstance(message, AssistantMessage) else []
    if owed:
        raise InvalidInputError("the last calls have no answer")


def _estimate(messages: Sequence[Message]) -> int:
    return sum([tokens_of(message) for message in messages])


def _part(part: UserPart | Thinking | ToolCall) -> int:
    match part:
        case Text(text) | Thinking(text):
            return text_tokens(text)
        case ToolCall():
            return text_tokens(part.name) + text_tokens(part.arguments)
        case _:
            return ATTACHMENT


def _attached(attachments: Sequence[Attachment]) -> int:
    return ATTACHMENT * len(attachments)

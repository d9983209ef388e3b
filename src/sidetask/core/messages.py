"""What a conversation is made of: messages of parts, as small frozen values.

A history is append-only and valid at every turn's end: each tool call of an
`AssistantMessage` is answered by exactly one `ToolResult`, in the next `ToolMessage`.
The late result of a background call is no second answer: it is a `Notification`.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import TypeAlias, cast

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import CallId, TaskId, value
from sidetask.core.jsons import Json, JsonObject, digest

_call_ids = count(1)


@value
class Text:
    """Plain text."""

    text: str


@value
class Thinking:
    """What a model thought aloud. Providers that sign it want the signature back."""

    text: str
    signature: str | None = None


@value(kw_only=True)
class Image:
    """A picture: its bytes, or where to fetch it."""

    media_type: str = "image/png"
    data: bytes | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        _one_source(self.data, self.url)


@value(kw_only=True)
class File:
    """A document: its bytes, or where to fetch it."""

    media_type: str
    data: bytes | None = None
    url: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _one_source(self.data, self.url)


def _one_source(data: bytes | None, url: str | None) -> None:
    if (data is None) == (url is None):
        raise InvalidInputError("give either data= (bytes) or url=, and not both")


@value
class ToolCall:
    """What a model asked for: a tool's name, and its arguments as the JSON text it wrote."""

    id: CallId
    name: str
    arguments: str = "{}"

    @classmethod
    def make(cls, name: str, arguments: JsonObject | None = None, *, id: str = "") -> "ToolCall":
        """A call that a host makes, from arguments as a mapping."""
        text = json.dumps(arguments or {}, allow_nan=False, ensure_ascii=False)
        return cls(CallId(id or f"host-{next(_call_ids)}"), name, text)

    def parsed(self) -> dict[str, Json]:
        """The arguments as a dict.

        Raises:
            InvalidInputError: The text is not a JSON object.
        """
        try:
            value = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"the arguments are not JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidInputError("the arguments are not a JSON object")
        return value  # pyright: ignore[reportUnknownVariableType] - json.loads gives str keys

    def digest(self) -> str:
        """The SHA-256 of name and canonical arguments; key order does not matter.

        Raises:
            InvalidInputError: The arguments are not a JSON object.
        """
        try:
            return digest(self.name, self.parsed())
        except (ValueError, RecursionError) as error:  # NaN, half a surrogate, too deep
            raise InvalidInputError(f"the arguments are not JSON: {error}") from None


Attachment: TypeAlias = Image | File
UserPart: TypeAlias = Text | Image | File
AssistantPart: TypeAlias = Text | Thinking | ToolCall


@value
class ToolResult:
    """The one answer to one tool call."""

    call_id: CallId
    name: str
    content: str
    is_error: bool = False
    attachments: tuple[Attachment, ...] = ()


# The marker of a late result, and what an output could pass off as one: in any case, with
# blanks, signs or invisible characters strewn in. Between the letters of a forgery may stand
# anything but letters, digits and the next `<`, which keeps the search linear.
_TAG = "task-result"


@cache  # compiling takes a millisecond: not for whoever only imports this
def _forged() -> re.Pattern[str]:
    letters = "".join([f"[^a-z0-9<]*{each}" for each in _TAG.replace("-", "")])
    return re.compile(f"[<\ufe64\uff1c](?={letters})", re.IGNORECASE)


@value
class Notification:
    """The end of a task that was in the background, told to the model."""

    task_id: TaskId
    call_ids: tuple[CallId, ...]
    name: str
    status: str
    content: str
    attachments: tuple[Attachment, ...] = ()

    @property
    def framed(self) -> str:
        """The text in which a model reads it: framed as data, by one opening and one closing
        marker. A forged marker in the output is disarmed: its `<` becomes `&lt;`. All other
        text is as it was; attachments are no part of it."""
        task, tool, status = _quoted(self.task_id), _quoted(self.name), _quoted(self.status)
        content = _forged().sub("&lt;", self.content)
        return f"<{_TAG} task={task} tool={tool} status={status}>\n{content}\n</{_TAG}>"


@value
class UserMessage:
    """What a user said."""

    parts: tuple[UserPart, ...]

    @property
    def text(self) -> str:
        return _text(self.parts)


@value
class AssistantMessage:
    """What a model replied."""

    parts: tuple[AssistantPart, ...]
    partial: bool = False
    """The reply was cut: by a Stop, an interrupting result, or an error."""

    @property
    def text(self) -> str:
        return _text(self.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])


@value
class ToolMessage:
    """The answers to the calls of the message before, in the order of the calls."""

    results: tuple[ToolResult, ...]


@value
class NotificationMessage:
    """Results that became ready together: one message, one turn."""

    items: tuple[Notification, ...]


Message: TypeAlias = UserMessage | AssistantMessage | ToolMessage | NotificationMessage
Content: TypeAlias = str | Sequence[str | UserPart]


def user_message(content: Content) -> UserMessage:
    """Make a user's message of a text or a list of parts.

    Raises:
        InvalidInputError: It is empty or blank, or holds something that is no part.
    """
    parts: list[UserPart] = []
    says_something = False
    for given in (content,) if isinstance(content, str) else _listed(content):
        part = Text(given) if isinstance(given, str) else given
        # Callers may not be typed.
        if not isinstance(part, UserPart):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError(f"a message is made of texts, images and files, not {part!r}")
        says_something = says_something or not isinstance(part, Text) or bool(part.text.strip())
        parts.append(part)
    if not says_something:
        raise InvalidInputError("the message is empty: give it some text, an image or a file")
    return UserMessage(tuple(parts))


def _listed(given: object) -> Sequence[str | UserPart]:
    """What a caller who may not be typed gave: of a dict its keys would be what was said."""
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise InvalidInputError(
            f"a message is a text, or a list of texts, images and files, not {type(given).__name__}"
        )
    return cast("Sequence[str | UserPart]", given)


def _text(parts: Sequence[UserPart | AssistantPart]) -> str:
    return "".join([part.text for part in parts if isinstance(part, Text)])


def _quoted(value: str) -> str:
    """The value of a marker's attribute, on one line."""
    line = "".join([char if char.isprintable() else " " for char in value])
    return f'"{line.translate(_MARKS)}"'


# As `html.escape` has it, which would bring along a table of two thousand names.
_MARKS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

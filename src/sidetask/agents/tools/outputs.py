"""What a tool returned, as the JSON value a host gets and the text a model reads.

The value is whole, and is what JSON keeps of the result: later changes to a returned dict do
not reach it. The text is cut where it is too long for a model; the head and the tail stay,
and a line between them tells how much is missing, and how to read on where the whole is kept.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from sidetask.core.errors import ToolResultError
from sidetask.core.messages import Attachment, File, Image
from sidetask.tasks.values import Completed

MAX_BYTES = 50 * 1024
"""Of the text for the model, in UTF-8."""
MAX_LINES = 2_000

_TOLD = 160  # room for the line that tells what is missing
_HALF_BYTES = (MAX_BYTES - _TOLD) // 2
_HALF_LINES = (MAX_LINES - 1) // 2
_LONGEST_ID = 40  # of a text that is read on; ids that hosts make may be longer


Keep: TypeAlias = Callable[[str], str | None]
"""Keeps a whole text that is about to be cut. Returns the id by which a model reads on in it;
None: it was not kept."""


def to_completed(result: object, keep: Keep | None = None) -> Completed:
    """Turn a tool's return value into the outcome of its call.

    Text stays text and None is no text. An `Image` or `File`, by itself or in a list with
    strings, becomes an attachment. A `Completed` is what it is: a JSON value beside the text
    that a model reads of it. All else becomes JSON; dataclasses and pydantic models by
    their fields; dates, ids, paths and decimals as text.

    Raises:
        ToolResultError: The result is not JSON; the error says what to return instead.
    """
    match result:
        case str():
            return _of_text(str.__str__(result), keep)  # an enum of strings is its value
        case None:
            return Completed(None, "")
        case bool():
            return Completed(result, "true" if result else "false")
        case int():
            return _of_int(int(result))  # an enum of numbers is its value
        case Image() | File():
            return Completed(None, "", (result,))
        case Completed():
            return replace(result, content=_of_text(result.content, keep).content)
        case list() | tuple() if any(isinstance(item, Image | File) for item in result):  # pyright: ignore[reportUnknownVariableType]
            return _of_parts(result, keep)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return _of_json(result, keep)


def cut(text: str, keep: Keep | None = None) -> str:
    """Shorten a text to `MAX_BYTES` and `MAX_LINES`: its head, what is missing, its tail."""
    return _of_text(text, keep).content


def _of_text(text: str, keep: Keep | None, attachments: tuple[Attachment, ...] = ()) -> Completed:
    text, size = _encodable(text)
    return Completed(text, _shortened(text, size, keep), attachments)


def _encodable(text: str) -> tuple[str, int]:
    """The text as UTF-8 can carry it, and its size in bytes.

    Names of files may hold lone surrogates. They become `?`: a history with one in it could be
    neither stored nor sent.
    """
    if text.isascii():
        return text, len(text)
    try:
        return text, len(text.encode())
    except UnicodeEncodeError:
        data = text.encode(errors="replace")
        return data.decode(), len(data)


def _shortened(text: str, size: int, keep: Keep | None) -> str:
    lines = 1 if size < MAX_LINES else text.count("\n") + 1
    if size <= MAX_BYTES and lines <= MAX_LINES:
        return text
    # Slice before looking for lines: a text of 50 MB is never split as a whole.
    head = text[:_HALF_BYTES].encode()[:_HALF_BYTES].decode(errors="ignore")
    tail = text[-_HALF_BYTES:].encode()[-_HALF_BYTES:].decode(errors="ignore")
    head = "\n".join(head.split("\n", _HALF_LINES)[:_HALF_LINES])
    tail = "\n".join(tail.rsplit("\n", _HALF_LINES)[-_HALF_LINES:])
    missing = f"{size - len(head.encode()) - len(tail.encode()):,} bytes"
    whole_lines = lines - (head.count("\n") + 1) - (tail.count("\n") + 1)
    if whole_lines > 0:
        missing += f", {whole_lines:,} lines"
    return f"{head}\n[... {missing} left out{_read_on(text, len(head), keep)} ...]\n{tail}"


def _read_on(text: str, offset: int, keep: Keep | None) -> str:
    """How to read what is missing."""
    kept = keep(text) if keep is not None else None
    if kept is None or len(kept) > _LONGEST_ID:
        return ""
    return f': read_output(id="{kept}", offset={offset})'


def _of_parts(parts: Sequence[object], keep: Keep | None) -> Completed:
    texts: list[str] = []
    attachments: list[Attachment] = []
    for part in parts:
        match part:
            case str():
                texts.append(part)
            case Image() | File():
                attachments.append(part)
            case _:
                raise ToolResultError(
                    f"a list of images or files with a {type(part).__name__} in it",
                    "put only strings, Image and File into such a list",
                )
    if not texts:
        return Completed(None, "", tuple(attachments))
    return _of_text("\n".join(texts), keep, tuple(attachments))


def _of_int(number: int) -> Completed:
    """The common number, without a round trip through JSON."""
    try:
        return Completed(number, str(number))
    except ValueError as error:  # Python refuses to write thousands of digits
        raise _not_json(number, error) from error


def _of_json(result: object, keep: Keep | None) -> Completed:
    try:
        text, size = _encodable(_encode(result))
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(result, error) from error
    return Completed(value, _shortened(text, size, keep))


def _not_json(result: object, error: Exception) -> ToolResultError:
    return ToolResultError(
        f"{type(result).__name__} that is not JSON ({error})",
        "keys are strings, numbers are finite, and nothing holds itself",
    )


def _plain(value: object) -> object:
    # Loaded by the first result that JSON does not know: dates, ids and decimals are large.
    from sidetask.agents.tools.plain import plain  # noqa: PLC0415

    return plain(value)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain).encode

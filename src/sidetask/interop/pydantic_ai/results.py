"""What a tool of Pydantic AI returned, as a tool of ours would have."""

import json
from collections.abc import Sequence
from typing import Any, cast

from pydantic_ai import BinaryContent, ToolReturn
from pydantic_ai.messages import FileUrl, ImageUrl, TextContent, UploadedFile
from pydantic_core import PydanticSerializationError, to_jsonable_python

from sidetask.core.errors import ToolResultError
from sidetask.core.messages import Attachment, File, Image


def as_ours(result: object) -> object:
    """The result with its pictures and files as attachments, and all else as JSON.

    What a `ToolReturn` has to say beside its value is told with it; its metadata is the
    application's own and stays in the application.

    Raises:
        ToolResultError: It is not JSON, or a file that only its provider can read.
    """
    if isinstance(result, ToolReturn):
        return _returned(cast("ToolReturn[Any]", result))
    items = _with_files(result)
    if items is not None:
        return [_part(each) for each in items]
    return _part(result) if _is_file(result) else _json(result)


def _returned(returned: "ToolReturn[Any]") -> object:
    content: str | Sequence[object] | None = returned.content
    value: object = returned.return_value
    if content is None:
        return as_ours(value)
    said = [content] if isinstance(content, str) else content
    parts = [_part(each) for each in (*(_with_files(value) or [value]), *said) if each is not None]
    texts = [each for each in parts if isinstance(each, str)]
    return parts if len(texts) < len(parts) else "\n".join(texts)


def _with_files(value: object) -> Sequence[object] | None:
    """The items of a list that holds files; None: it is something else."""
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    return items if any(_is_file(each) for each in items) else None


def _part(item: object) -> str | Attachment:
    match item:
        case str():
            return item
        case TextContent(content=text):
            return text
        case BinaryContent(data=data, media_type=media_type):
            return _attachment(media_type, data=data)
        case FileUrl(url=url):
            return _attachment(_media_type(item), url=url)
        case UploadedFile():
            raise ToolResultError("a file uploaded to its provider", "return its bytes or its URL")
        case _:
            return json.dumps(_json(item), ensure_ascii=False)


def _attachment(
    media_type: str, *, data: bytes | None = None, url: str | None = None
) -> Attachment:
    if media_type.startswith("image/"):
        return Image(media_type=media_type, data=data, url=url)
    return File(media_type=media_type, data=data, url=url)


def _media_type(item: FileUrl) -> str:
    try:
        return item.media_type
    except ValueError:  # the address does not tell
        return "image/png" if isinstance(item, ImageUrl) else "application/octet-stream"


def _is_file(item: object) -> bool:
    return isinstance(item, BinaryContent | FileUrl | UploadedFile | TextContent)


def _json(value: object) -> Any:
    if value is None or isinstance(value, str):
        return value
    try:
        return to_jsonable_python(value, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise ToolResultError(
            f"{type(value).__name__} ({error})", "return what pydantic can serialize"
        ) from error

"""What a server answers to a call, as what a tool of ours returns.

Texts are joined; images, sounds and files are attachments; a link to a resource is a line that
names it. Structured content is the value that a host gets, and what a model reads where there is
no text beside it. What cannot be read is told in its place, so that nothing is lost in silence.
"""

import base64
import binascii
import json

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from sidetask.agents.tools.outputs import to_completed
from sidetask.core.errors import ToolError
from sidetask.core.messages import Attachment, File, Image
from sidetask.tasks.values import Completed

MAX_ATTACHMENT = 20 * 1024 * 1024
"""Bytes of one: what is larger, no provider takes, and each would be kept in the history."""


def to_result(result: CallToolResult) -> Completed:
    """Translate it.

    Raises:
        ToolError: The server says that the call failed: in its words.
        ToolResultError: The structured content is not JSON, as it may hold NaN.
    """
    texts: list[str] = []
    attachments: list[Attachment] = []
    for block in result.content:
        read = _read(block)
        if isinstance(read, str):
            texts.append(read)
        else:
            attachments.append(read)
    text = "\n".join(texts)
    if result.is_error:
        raise ToolError(text or "the server says that the call failed, and not why")
    if result.structured_content is None:
        return Completed(text, text, tuple(attachments))
    value = to_completed(result.structured_content).value
    return Completed(value, text or json.dumps(value, ensure_ascii=False), tuple(attachments))


def _read(block: object) -> str | Attachment:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return _attached(block.data, block.mime_type, "")
        case AudioContent():
            return _attached(block.data, block.mime_type, "")
        case EmbeddedResource(resource=TextResourceContents() as inner):
            return f"{inner.uri}:\n{inner.text}"
        case EmbeddedResource(resource=BlobResourceContents() as inner):
            kind = inner.mime_type or "application/octet-stream"
            return _attached(inner.blob, kind, str(inner.uri))
        case ResourceLink():
            told = [block.title or block.name, str(block.uri), block.description or ""]
            return f"[resource: {', '.join([each for each in told if each])}]"
        case _:
            return f"[{type(block).__name__}: content of a kind that is not known here]"


def _attached(data: str, kind: str, name: str) -> str | Attachment:
    what = f"{kind} {name}".rstrip()
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return f"[{what}: cannot be decoded]"
    if len(content) > MAX_ATTACHMENT:
        return f"[{what}: {len(content):,} bytes are too many]"
    if kind.startswith("image/"):
        return Image(media_type=kind, data=content)
    return File(media_type=kind, data=content, name=name.rpartition("/")[2] or None)

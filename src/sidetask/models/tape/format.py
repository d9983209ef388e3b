"""How a tape is written: JSON lines, appended, each of them complete.

    {"tape": 1, "session": "5f0c…", "model": "openai:gpt-5.2", …}    a recording begins
    {"part": "<digest>", "message": {…}}                              a message, once
    {"part": "<digest>", "tools": […]}                                a set of tools, once
    {"call": "5f0c…-3", "digest": "…", "like": "5f0c…-2", "same": 4, "messages": ["<digest>"], …}
    {"call": "5f0c…-3", "after": 0.31, "chunk": {"type": "text", "text": "Hel"}}
    {"call": "5f0c…-3", "after": 0.98, "end": "finished"}

A request names its messages by digest: the first `same` are those of the call `like`. `after`
is in seconds. What stands under a name that sounds like a secret is left out of the settings.
A line that was cut when a process died is skipped, if nothing of its session follows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from sidetask.core.codec import (
    message_from_json,
    message_to_json,
    value_from_json,
    value_to_json,
)
from sidetask.core.errors import CodecError, TapeError
from sidetask.core.jsons import Json, JsonObject, canonical
from sidetask.core.messages import Message
from sidetask.core.usage import Price
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
    ThinkingChunk,
    ToolSchema,
)

VERSION = 1
CHUNKS: Mapping[str, type[Chunk]] = {
    "text": TextChunk,
    "thinking": ThinkingChunk,
    "call": CallStarted,
    "arguments": CallArguments,
    "finished": Finished,
}
_WORDS = {kind: word for word, kind in CHUNKS.items()}
_SECRET = ("authorization", "cookie", "password", "secret", "token", "credential", "credentials")
_SECRET_ENDS = ("key", "_token", "-token", "_secret", "-secret", "_password", "-password")

End: TypeAlias = Literal["finished", "cut", "left", "error", "lost"]
"""`cut`: the stream ended without a last chunk; `left`: its reader went away; `lost`: whoever
recorded it has died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedError:
    """What a model raised."""

    type: str
    text: str
    retry_after: float | None = None


@dataclass(slots=True, kw_only=True)
class RecordedCall:
    """A request, and the reply that came."""

    model: str
    context_window: int | None
    price: Price | None
    digest: str
    request: ModelRequest
    chunks: list[tuple[float, Chunk]] = field(default_factory=list[tuple[float, Chunk]])
    """Each with the seconds since the request."""
    end: End = "lost"
    error: RecordedError | None = None
    seconds: float = 0.0
    """Until the end."""


# -- writing -------------------------------------------------------------------------------------


def line(**written: Json) -> str:
    """One line of a tape."""
    return json.dumps(written, allow_nan=False) + "\n"  # ASCII: half a surrogate is no error


def digest_of(written: object) -> str:
    """What a part of a request is called."""
    return sha256(canonical(written).encode(errors="surrogatepass")).hexdigest()[:20]


def plain(message: Message) -> dict[str, Json]:
    """A message as JSON."""
    return message_to_json(message)


def plain_tools(tools: Sequence[ToolSchema]) -> list[Json]:
    """Tools as JSON."""
    return [value_to_json(ToolSchema, tool) for tool in tools]


def plain_price(price: Price | None) -> Json:
    """A price as JSON."""
    return None if price is None else value_to_json(Price, price)


def plain_chunk(chunk: Chunk) -> dict[str, Json]:
    """A chunk as JSON."""
    kind = cast("type[Any]", type(chunk))
    written = value_to_json(kind, chunk)
    del written["v"]
    return {"type": _WORDS[kind], **written}


def without_secrets(settings: JsonObject) -> dict[str, Json]:
    """Settings as they are recorded."""
    return {key: _public(value) for key, value in settings.items() if not _is_secret(key)}


def _public(value: Json) -> Json:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    return value


def request_digest(
    messages: Sequence[str], tools: str, *, instructions: str, settings: JsonObject, tail: str
) -> str:
    """What a request is called: all of it counts but secrets."""
    return digest_of([instructions, list(messages), tools, settings, tail])


def digest_of_request(request: ModelRequest) -> str:
    """What a request is called, from its contents."""
    return request_digest(
        [digest_of(plain(message)) for message in request.messages],
        digest_of(plain_tools(request.tools)),
        instructions=request.instructions,
        settings=without_secrets(request.settings),
        tail=request.tail,
    )


def _is_secret(key: str) -> bool:
    name = key.casefold()
    return name in _SECRET or name.endswith(_SECRET_ENDS)


# -- reading -------------------------------------------------------------------------------------


def read_tape(path: str | Path) -> list[RecordedCall]:
    """The calls of a tape, in the order in which they began.

    Raises:
        TapeError: The file is not there, no tape, of a newer version, or corrupt.
    """
    reading = _Reading(str(path))
    for number, (text, is_last) in enumerate(_lines(path), 1):
        try:
            reading.take(_parsed(text))
        except (CodecError, ValueError, KeyError, TypeError) as error:
            if number > 1 and is_last:
                continue
            raise TapeError(str(path), _why(error), number) from None
    if reading.model is None:
        raise TapeError(str(path), "it is empty: nothing was recorded")
    return reading.calls


def check_tape(path: Path) -> None:
    """See that a file may be appended to.

    Raises:
        TapeError: It is something else than a tape.
    """
    with path.open("rb") as file:
        first = file.readline(10_000)
    try:
        _Reading(str(path)).take(_parsed(first.decode()))
    except (ValueError, KeyError, TypeError) as error:
        raise TapeError(str(path), _why(error), 1) from None


def _lines(path: str | Path) -> list[tuple[str, bool]]:
    """The lines, each with whether it was the last that its process wrote."""
    try:
        lines = Path(path).read_bytes().decode().split("\n")
    except OSError as error:
        raise TapeError(str(path), error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise TapeError(str(path), "it is no tape: not even text") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [
        (each, at == len(lines) - 1 or lines[at + 1].startswith('{"tape"'))
        for at, each in enumerate(lines)
    ]


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no tape, or this line is damaged: not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no tape, or this line is damaged: no JSON object")
    return cast("dict[str, Any]", found)


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it is damaged: {error.args[0]!r} is missing"
    return str(error)


class _Reading:
    """A tape, as far as it was read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._messages: dict[str, Message] = {}
        self._tools: dict[str, tuple[ToolSchema, ...]] = {}
        self._digests: dict[str, list[str]] = {}
        self._by_id: dict[str, RecordedCall] = {}
        self.model: str | None = None
        self._context_window: int | None = None
        self._price: Price | None = None
        self.calls: list[RecordedCall] = []

    def take(self, found: dict[str, Any]) -> None:
        match found:
            case {"tape": int(version), "model": str(model)}:
                if version > VERSION:
                    raise ValueError(f"version {version} is newer than {VERSION}: update sidetask")
                self.model = model
                price = found.get("price")
                self._price = None if price is None else value_from_json(Price, price)
                self._context_window = found.get("context_window")
            case _ if self.model is None:
                raise ValueError("it is no tape: it does not begin with one's first line")
            case {"part": str(part), "message": message}:
                self._messages[part] = message_from_json(cast("JsonObject", message))
            case {"part": str(part), "tools": tools}:
                self._tools[part] = _tools(cast("list[JsonObject]", tools))
            case {"call": str(call), "digest": str(digest)}:
                self._begin(call, digest, found)
            case {"call": str(call), "after": int() | float() as after, "chunk": chunk}:
                self._by_id[call].chunks.append((after, _chunk(chunk)))
            case {"call": str(call), "after": int() | float() as after, "end": str(end)}:
                self._end(call, after, end, found.get("error"))
            case _:
                pass  # of a later release

    def _begin(self, call: str, digest: str, found: dict[str, Any]) -> None:
        same = self._digests[found["like"]][: found["same"]] if "like" in found else []
        digests = self._digests[call] = [*same, *found["messages"]]
        request = ModelRequest(
            instructions=found["instructions"],
            messages=tuple([self._messages[each] for each in digests]),
            tools=self._tools[found["tools"]],
            settings=found["settings"],
            tail=found["tail"],
        )
        assert self.model is not None
        recorded = RecordedCall(
            model=self.model,
            context_window=self._context_window,
            price=self._price,
            digest=digest,
            request=request,
        )
        self._by_id[call] = recorded
        self.calls.append(recorded)

    def _end(self, call: str, after: float, end: str, error: dict[str, Any] | None) -> None:
        recorded = self._by_id[call]
        recorded.end = cast("End", end)
        recorded.seconds = after
        if error is not None:
            recorded.error = RecordedError(
                type=error["type"], text=error["text"], retry_after=error.get("retry_after")
            )


def _tools(found: list[JsonObject]) -> tuple[ToolSchema, ...]:
    return tuple([value_from_json(ToolSchema, each) for each in found])


def _chunk(found: dict[str, Any]) -> Chunk:
    kind = CHUNKS.get(found["type"])
    if kind is None:
        raise ValueError(f"a chunk of a kind that is not known: {found['type']!r}")
    return value_from_json(cast("type[Any]", kind), {**found, "v": 1})

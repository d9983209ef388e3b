"""What differs between two requests, and between two replies, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import CallId
from sidetask.core.jsons import Json, canonical
from sidetask.core.messages import ToolCall
from sidetask.core.usage import NO_USAGE, Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)
from sidetask.models.tape.format import plain, plain_tools, without_secrets

MOST = 5
"""Differences that are told of two requests."""
AROUND = 24
"""Characters that are shown of a text on each side of where it begins to differ."""


# -- requests ------------------------------------------------------------------------------------


def differences(recorded: ModelRequest, given: ModelRequest) -> list[str]:
    """Where two requests differ, the first few places: `messages[2].…: "a" became "b"`."""
    found = list(islice(_differing("", _laid_out(recorded), _laid_out(given)), MOST + 1))
    return [*found[:MOST], "and more"] if len(found) > MOST else found


def _laid_out(request: ModelRequest) -> dict[str, Json]:
    tools = cast("list[dict[str, Json]]", plain_tools(request.tools))
    return {
        "instructions": request.instructions,
        "messages": [plain(message) for message in request.messages],
        "tools": {str(tool["name"]): tool for tool in tools},
        "settings": without_secrets(request.settings),
        "tail": request.tail,
    }


def _differing(place: str, old: Json, new: Json) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *[each for each in new if each not in old]]:
            inside = f"{place}.{key}" if place else key
            if key not in new:
                yield f"{inside} is missing now"
            elif key not in old:
                yield f"{inside} is new: {_shown(new[key])}"
            else:
                yield from _differing(inside, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        for at, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from _differing(f"{place}[{at}]", one, other)
        if len(old) != len(new):
            yield f"{place}: {len(old)} became {len(new)}"
    elif isinstance(old, str) and isinstance(new, str):
        begin = max(0, _parting(old, new) - AROUND)
        yield f"{place}: {_shown(old, begin)} became {_shown(new, begin)}"
    else:
        yield f"{place}: {_shown(old)} became {_shown(new)}"


def _parting(one: str, other: str) -> int:
    """The first place where two texts differ."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _shown(value: Json, begin: int = 0) -> str:
    """A value on one line, of a long text the part after `begin`."""
    if not isinstance(value, str):
        text = canonical(value)
        return text if len(text) <= 2 * AROUND else f"{text[: 2 * AROUND]}…"
    end = begin + 2 * AROUND
    return f"{'…' if begin else ''}{value[begin:end]!r}{'…' if end < len(value) else ''}"


# -- replies -------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Said:
    """A reply, put together."""

    text: str = ""
    calls: list[str] = field(default_factory=list[str])
    """Each as `name {arguments}`, with its keys in order."""
    usage: Usage = NO_USAGE
    seconds: float = 0.0
    error: str = ""
    """What went wrong, if something did."""


def put_together(chunks: Iterable[Chunk]) -> Said:
    """A reply out of its chunks."""
    said = Said()
    pieces: list[str] = []
    calls: dict[int, tuple[str, list[str]]] = {}
    finished = False
    for chunk in chunks:
        match chunk:
            case TextChunk(text):
                pieces.append(text)
            case CallStarted(index, _, name):
                calls[index] = name, []
            case CallArguments(index, text) if index in calls:
                calls[index][1].append(text)
            case Finished(_, usage):
                said.usage = usage
                finished = True
            case _:
                pass
    said.text = "".join(pieces)
    said.calls = [_call(name, "".join(arguments)) for name, arguments in calls.values()]
    if not finished:
        said.error = "the reply was cut off"
    return said


def unlike(one: Said, other: Said, *, calls_only: bool = False) -> Sequence[str]:
    """In what two replies differ: `error`, `calls`, `text`. The tokens may."""
    words = [
        ("error", bool(one.error) != bool(other.error)),
        ("calls", one.calls != other.calls),
        ("text", not calls_only and one.text.strip() != other.text.strip()),
    ]
    return [word for word, differs in words if differs]


def _call(name: str, arguments: str) -> str:
    try:
        return f"{name} {canonical(ToolCall(CallId(''), name, arguments).parsed())}"
    except (InvalidInputError, ValueError):
        return f"{name} {arguments}"

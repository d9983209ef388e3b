"""Texts with holes: `"Review {file} for {user.name}."`, filled from the state.

    {key}        a value of the state: a text as it is, anything else as JSON
    {key.path}   what is inside one: keys of objects, positions in arrays (from 0)
    {{ and }}    a brace

Keys of the state hold dots and colons themselves (`review:main.py:result`), and so do those of
objects. On every level the longest key that is there wins: `{a.b.c}` is the key `a.b.c`, else
`c` in `a.b`, else `b.c` in `a`. Filling is one pass: what a value holds is never read as a
template.
"""

import json
import re
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias

from sidetask.core.errors import ConfigurationError, TemplateError
from sidetask.core.errors.checks import check_kind
from sidetask.core.jsons import Json
from sidetask.state.values import ABSENT, Absent

Missing: TypeAlias = Literal["error", "empty"]
"""What a name stands for that the state does not have: a `TemplateError`, or no text."""

_TOKEN = re.compile(r"\{\{|\}\}|[{}]")
_INDEX = re.compile(r"[0-9]{1,9}\Z")
_EXCERPT = 40


class Values(Protocol):
    """Where the holes are filled from: any view of a state, or a dict."""

    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: str, /) -> Json: ...


class Template:
    """A text with holes, read once and filled any number of times.

    Raises:
        TemplateError: A brace is not closed, stands alone, or holds no name.
        ConfigurationError: It is no text, or `missing` is neither `"error"` nor `"empty"`.
    """

    __slots__ = ("_pieces", "missing", "names", "text")

    def __init__(self, text: str, *, missing: Missing = "error") -> None:
        if missing not in ("error", "empty"):
            raise ConfigurationError(f"missing is 'error' or 'empty', not {missing!r}")
        check_kind("a template", text, str)
        self.text: Final = text
        self.missing: Final = missing
        self._pieces = _parse(text)
        names = [each.name for each in self._pieces if isinstance(each, Name)]
        self.names: Final = tuple(dict.fromkeys(names))
        """What it asks for, in order, each once."""

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def render(self, values: Values) -> str:
        """The text, with its holes filled.

        Raises:
            TemplateError: A name is missing, and that is an error here.
        """
        lenient = self.missing == "empty"
        return "".join(
            [
                each if isinstance(each, str) else _as_text(each.find(values, lenient=lenient))
                for each in self._pieces
            ]
        )


class Name:
    """A key of the state, and perhaps the way to something inside its value."""

    __slots__ = ("_parts", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts = name.split(".")

    def find(self, values: Values, *, lenient: bool = False) -> "Json | Absent":
        """The value; ABSENT if there is none, and that is fine.

        Raises:
            TemplateError: There is none, and that is an error.
        """
        found = _inside(values, self._parts)
        if found is ABSENT and not lenient:
            raise TemplateError(
                self.name, "the state has no such value: set it first, or allow missing='empty'"
            )
        return found


def escape(text: str) -> str:
    """The template that gives this very text, whatever braces it holds."""
    return text.replace("{", "{{").replace("}", "}}")


def _inside(values: "Values | Json", parts: Sequence[str]) -> "Json | Absent":
    """Follow the parts of a path; on every level the longest key that is there wins."""
    if isinstance(values, str | int | float | None):
        return ABSENT
    if isinstance(values, Sequence):
        position = int(parts[0]) if _INDEX.match(parts[0]) else len(values)
        return _rest(values[position], parts[1:]) if position < len(values) else ABSENT
    for size in range(len(parts), 0, -1):
        key = ".".join(parts[:size])
        if key in values:
            return _rest(values[key], parts[size:])
    return ABSENT


def _rest(value: Json, parts: Sequence[str]) -> "Json | Absent":
    return _inside(value, parts) if parts else value


def _as_text(value: "Json | Absent") -> str:
    if isinstance(value, str):
        return value
    return "" if value is ABSENT else json.dumps(value, ensure_ascii=False)


# -- reading a template ----------------------------------------------------------------------


def _parse(text: str) -> tuple[str | Name, ...]:
    pieces: list[str | Name] = []
    literal: list[str] = []
    at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        literal.append(text[at : token.start()])
        at = token.end()
        if len(token[0]) == 2:
            literal.append(token[0][0])
            continue
        if token[0] == "}":
            raise TemplateError(_near(text, token.start()), "this } closes nothing: write }}")
        end = _closing(text, token.start())
        pieces += ["".join(literal), _named(text, token.start(), end)]
        literal = []
        at = end + 1
    pieces.append("".join([*literal, text[at:]]))
    return tuple([piece for piece in pieces if piece != ""])


def _closing(text: str, start: int) -> int:
    """Where the hole ends that begins at `start`."""
    end, other = text.find("}", start), text.find("{", start + 1)
    if end < 0 or 0 <= other < end:
        raise TemplateError(_near(text, start), "this { is not closed: close it, or write {{")
    return end


def _named(text: str, start: int, end: int) -> Name:
    name = text[start + 1 : end].strip()
    if not name:
        raise TemplateError(_near(text, start), "these braces hold no name: give one, or write {{")
    return Name(name)


def _near(text: str, at: int) -> str:
    """The text from a fault on, as far as it helps to find it."""
    return text[at : at + _EXCERPT] + ("…" if len(text) > at + _EXCERPT else "")

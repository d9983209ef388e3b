"""The language of the seat: a line of text as tool calls, read by the tools' schemas alone.

    read_file path=README.md; shell "sleep 20 && echo done"     two calls
    > That is all.                                              a text reply

It knows no tool's name and no phrase, so a tool that a stranger wrote can be called. A line
that means no call (no such tool or parameter, too many values, an open quote) is refused with
a `SeatError`. Missing and ill-typed values are not: they are the tool's to judge.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sidetask.core.errors import ModelError
from sidetask.core.jsons import Json
from sidetask.models.base import ToolSchema
from sidetask.models.human.parameters import Parameters
from sidetask.models.human.words import Word, scan

_REPLY = ">"
_NAME_LIKE = re.compile(r"[A-Za-z_][\w.-]*")


class SeatError(ModelError):
    """The line means no tool call; nothing of it was done. Its text says what would."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A tool call as a person wrote it."""

    tool: str
    arguments: dict[str, Json]


def spoken(line: str) -> str | None:
    """The text of a line that is a reply; None if it is one of tool calls."""
    head, mark, text = line.partition(_REPLY)
    return text.strip() if mark and not head.strip() else None


def asked(line: str, tools: Sequence[ToolSchema]) -> list[Ask]:
    """The tool calls of a line, in order.

    Raises:
        SeatError: It cannot be read as calls of these tools.
    """
    statements = scan(line)
    for word in statements[-1]:
        if word.unclosed >= 0:
            quote = line[word.unclosed]
            raise SeatError(
                f"the {quote} at column {word.unclosed + 1} is never closed: close it, "
                f"or write \\{quote} for the character itself"
            )
    return [_ask(words, tools) for words in statements if words]


def complete(line: str, tools: Sequence[ToolSchema]) -> list[str]:
    """What the last word of `line` may become: tool names, then `parameter=`, then values.

    Each may stand in place of `current_word(line)`. Values are offered where the schema lists
    them; what a path or a text may be is not the seat's to know.
    """
    if spoken(line) is not None:
        return []
    words, current = _at_the_end(line)
    begun = current.text if current else ""
    if not words:
        return [shlex.quote(tool.name) for tool in tools if tool.name.startswith(begun)]
    tool = _named(words[0].text, tools)
    if tool is None:
        return []
    parameters = Parameters(tool.parameters)
    if current is not None and current.name in parameters.names:
        choices = parameters.choices(current.name)
        found = [word for word in choices if word.startswith(current.value)]
        return [f"{shlex.quote(current.name)}={shlex.quote(word)}" for word in found]
    given = {word.name for word in words}
    names = (name for name in parameters.names if name.startswith(begun) and name not in given)
    return [f"{shlex.quote(name)}=" for name in names]


def current_word(line: str) -> str:
    """The word at the end of the line as it is written, quotes and all; empty between words."""
    _, current = _at_the_end(line)
    return line[current.start :] if current else ""


def usage(tool: ToolSchema) -> str:
    """How a tool is called, in one line: `read_file path=<string> [limit=<integer>]`."""
    parameters = Parameters(tool.parameters)
    words = [shlex.quote(tool.name)]
    for name in parameters.names:
        word = f"{shlex.quote(name)}={parameters.described(name)}"
        words.append(word if name in parameters.required else f"[{word}]")
    return " ".join(words)


def _ask(words: Sequence[Word], tools: Sequence[ToolSchema]) -> Ask:
    tool = _named(words[0].text, tools)
    if tool is None:
        unknown = _unknown("tool", words[0].text, [tool.name for tool in tools])
        raise SeatError(f"{unknown}; what you would say begins with {_REPLY}")
    parameters = Parameters(tool.parameters)
    arguments: dict[str, Json] = {}
    unnamed: list[Word] = []
    for word in words[1:]:
        if not _names_parameter(word, parameters):
            unnamed.append(word)
        elif word.name in arguments:
            raise SeatError(f"{word.name}= is given twice: {usage(tool)}")
        elif not parameters.accepts(word.name):
            unknown = _unknown("parameter", word.name, parameters.names)
            raise SeatError(f"{unknown}; a text that holds = is quoted; {usage(tool)}")
        else:
            arguments[word.name] = parameters.read(word.name, word.value, quoted=word.quoted)
    free = [name for name in parameters.names if name not in arguments]
    if len(unnamed) > len(free):
        extra = unnamed[len(free)].text
        raise SeatError(f"{extra!r} is one value too many: {usage(tool)}; quote a text with blanks")
    for name, word in zip(free, unnamed, strict=False):
        arguments[name] = parameters.read(name, word.text, quoted=word.quoted)
    return Ask(tool.name, arguments)


def _names_parameter(word: Word, parameters: Parameters) -> bool:
    """Whether it is `parameter=value`, also with a wrong name. `https://host/?q=1` is not."""
    if word.equals < 0:
        return False
    return word.name in parameters.names or _NAME_LIKE.fullmatch(word.name) is not None


def _at_the_end(line: str) -> tuple[list[Word], Word | None]:
    """The whole words of the last statement, and the word that is being written."""
    words = scan(line)[-1]
    if words and words[-1].end == len(line):
        return words[:-1], words[-1]
    return words, None


def _named(name: str, tools: Sequence[ToolSchema]) -> ToolSchema | None:
    return next((tool for tool in tools if tool.name == name), None)


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known)
    guess = f": did you mean {' or '.join(close)}?" if close else ";"
    return f"no {kind} {name!r}{guess} there are: {', '.join(known) or 'none'}"

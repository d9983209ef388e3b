"""What is written in the seat, cut into statements and words.

Shell-like: blanks separate words, `;` and line breaks separate statements, quotes and
backslashes take a character as it is. `'…'` keeps everything; in `"…"` a backslash keeps the
next quote or backslash. One thing is not of the shell: a value that begins as a JSON array or
object is one word with its quotes and blanks, so that `tags=["a", "b"]` needs no second quotes.
"""

import json
from dataclasses import dataclass

_BREAKS = ";\n"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the line, with quotes and backslashes resolved."""

    text: str
    start: int
    """Where it begins in the line, and where it ends:"""
    end: int
    equals: int
    """Where in `text` the first `=` outside of quotes stands; -1: nowhere."""
    quoted: bool
    """Its value was quoted: the part behind `=`, or all of it."""
    unclosed: int
    """Where in the line a quote opens that nothing closes; -1: nowhere."""

    @property
    def name(self) -> str:
        return self.text[: self.equals] if self.equals >= 0 else ""

    @property
    def value(self) -> str:
        return self.text[self.equals + 1 :]


def scan(line: str) -> list[list[Word]]:
    """Return the statements of a line, each a list of words. Some may be empty."""
    statements: list[list[Word]] = [[]]
    at = 0
    while at < len(line):
        if line[at] in _BREAKS:
            statements.append([])
            at += 1
        elif line[at].isspace():
            at += 1
        else:
            word = _word(line, at)
            statements[-1].append(word)
            at = word.end
    return statements


def _word(line: str, start: int) -> Word:
    text = ""
    at, equals, quoted, unclosed = start, -1, False, -1
    while at < len(line) and line[at] not in _BREAKS and not line[at].isspace():
        char = line[at]
        if char in "[{" and len(text) == equals + 1 and not quoted:
            end = _end_of_json(line, at) or at + 1
            text += line[at:end]
            at = end
        elif char in "'\"":
            piece, end = _quotation(line, at)
            if end < 0:
                unclosed, end = at, len(line)
            text += piece
            at, quoted = end, True
        elif char == "\\" and at + 1 < len(line):
            text += line[at + 1]
            at += 2
        else:
            if char == "=" and equals < 0:
                equals, quoted = len(text), False
            text += char
            at += 1
    return Word(text, start, at, equals, quoted, unclosed)


def _quotation(line: str, at: int) -> tuple[str, int]:
    """The text in the quotes that open at `at`, and where they end; -1: nowhere."""
    quote, text = line[at], ""
    at += 1
    while at < len(line):
        char = line[at]
        if char == quote:
            return text, at + 1
        if char == "\\" and quote == '"' and line[at + 1 : at + 2] in ('"', "\\"):
            at += 1
            char = line[at]
        text += char
        at += 1
    return text, -1


def _end_of_json(line: str, at: int) -> int:
    """Where the JSON array or object ends that is the word from `at` on; 0: it is none."""
    try:
        _, end = _DECODER.raw_decode(line, at)
    except (ValueError, RecursionError):
        return 0
    is_word = end == len(line) or line[end] in _BREAKS or line[end].isspace()
    return end if is_word else 0

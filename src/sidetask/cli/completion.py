"""What Tab offers to somebody who drives: the seat's words, and paths where a text may stand.

It knows the tools' schemas only. Whether a text is a path is found out by looking: what exists
below the working directory under the name that was begun.
"""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sidetask.models.base import ToolSchema
from sidetask.models.human import complete, current_word
from sidetask.models.human.parameters import Parameters
from sidetask.models.human.words import Word, scan

_MOST = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may stand in place of the word that is being written."""

    text: str
    shown: str
    hint: str = ""


def candidates(line: str, tools: Sequence[ToolSchema], root: Path) -> list[Candidate]:
    """What the last word of `line` may become. It stands in place of `current_word(line)`."""
    words = scan(line)[-1]
    begun = words.pop() if words and words[-1].end == len(line) else None
    if not words:
        hints = {shlex.quote(tool.name): _first_line(tool.description) for tool in tools}
        found = complete(line, tools)
        return [Candidate(f"{word} ", word, hints.get(word, "")) for word in found]
    tool = next((each for each in tools if each.name == words[0].text), None)
    if tool is None:
        return []
    parameters = Parameters(tool.parameters)
    offered = [_offered(word, parameters) for word in complete(line, tools)]
    return [*offered, *_paths(words[1:], begun, parameters, root)]


def replaced(line: str) -> int:
    """How many characters at the end of `line` a candidate stands in for."""
    return len(current_word(line))


def _offered(word: str, parameters: Parameters) -> Candidate:
    if word.endswith("="):
        return Candidate(word, word, parameters.described(scan(word)[0][0].name))
    return Candidate(f"{word} ", word)


def _paths(
    before: Sequence[Word], begun: Word | None, parameters: Parameters, root: Path
) -> list[Candidate]:
    """Files and directories that the word may name, if its parameter takes any text."""
    if begun is None:
        return []
    if begun.name in parameters.names:
        name, text, prefix = begun.name, begun.value, f"{shlex.quote(begun.name)}="
    else:
        name, text, prefix = _place(before, parameters), begun.text, ""
    kinds = parameters.described(name) if name else ""
    if not kinds.startswith("<") or "string" not in kinds.strip("<>").split("|"):
        return []
    return [
        Candidate(f"{prefix}{shlex.quote(path)}{'' if path.endswith('/') else ' '}", path)
        for path in _below(root, text)
    ]


def _place(before: Sequence[Word], parameters: Parameters) -> str:
    """The parameter that an unnamed word stands for: the first that nothing was given for."""
    named = {word.name for word in before}
    unnamed = sum(word.name not in parameters.names for word in before)
    free = [name for name in parameters.names if name not in named]
    return free[unnamed] if unnamed < len(free) else ""


def _below(root: Path, begun: str) -> list[str]:
    """Paths that begin like this, directories with a slash; nothing outside of `root`."""
    folder, _, name = begun.rpartition("/")
    found: list[str] = []
    with suppress(OSError, ValueError, RuntimeError):  # no such place, or no path at all
        place = (root / folder).resolve()
        if begun.startswith("/") or not place.is_relative_to(root.resolve()):
            return []
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    found.append(f"{path}/" if entry.is_dir() else path)
    return sorted(path for path in found if path.isprintable())[:_MOST]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

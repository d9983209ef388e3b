"""Reading, listing, searching and counting files below the working directory.

Every result has a bound, and says how to get what is beyond it. Files with a NUL character near
their beginning are binary; in others, bytes that are not UTF-8 become replacement characters.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sidetask.cli.toolbox.paths import Fence, matches, walk
from sidetask.cli.toolbox.slices import Work, in_slices
from sidetask.core.errors import ToolError
from sidetask.tasks.context import RunContext

# Below what the loop lets through to a model, so that it never cuts a middle out.
_MAX_BYTES = 48 * 1024
_MAX_ENTRIES = 1_000
_MAX_MATCHES = 200
_MAX_LINE = 300
_PIECE = 64 * 1024  # a line may be as long as its file
_SEARCHED = 2_000  # a piece of a line: many expressions take time by the square of its length


class Files:
    """The file tools, for one working directory."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    async def read_file(
        self, ctx: RunContext[object], path: str, offset: int = 0, limit: int = 1_000
    ) -> str:
        """Read a text file.

        Args:
            path: The file, relative to the working directory.
            offset: How many lines to skip.
            limit: How many lines to read at most.
        """
        if offset < 0 or limit < 1:
            raise ToolError("offset is at least 0 and limit at least 1")
        return await in_slices(ctx, self._read(path, offset, limit))

    async def list_files(self, ctx: RunContext[object], path: str = ".", pattern: str = "*") -> str:
        """List a directory, one name a line; directories end with / and links with @.

        Args:
            path: The directory, relative to the working directory.
            pattern: Which names to list: *.md here, **/*.md also in the directories below.
        """
        return await in_slices(ctx, self._list(path, pattern))

    async def search_files(
        self, ctx: RunContext[object], pattern: str, path: str = ".", glob: str = "*"
    ) -> str:
        """Search the lines of text files for a regular expression.

        Args:
            pattern: The regular expression, as Python knows it.
            path: The file or directory to search, relative to the working directory.
            glob: Which files of the directory to search: *.py, or docs/**/*.md.
        """
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise ToolError(f"{pattern!r} is no regular expression: {error}") from None
        return await in_slices(ctx, self._search(path, wanted, glob))

    async def count_words(self, ctx: RunContext[object], path: str = ".") -> dict[str, int]:
        """Count files, lines, words and bytes of the text files in a file or directory.

        Args:
            path: The file or directory, relative to the working directory.
        """
        return await in_slices(ctx, self._count(path))

    # -- on a thread, in slices ------------------------------------------------------------

    def _read(self, path: str, offset: int, limit: int) -> Work[str]:
        kept: list[bytes] = []
        size = line = 0
        piece = b"\n"
        with self._text_file(self._fence.inside(path)) as file:
            while line < offset + limit and (read := file.readline(_PIECE)):
                piece = read
                if line >= offset:
                    size += len(piece)
                    if size > _MAX_BYTES:
                        break
                    kept.append(piece)
                line += piece.endswith(b"\n")
                yield None, f"line {line}"
            more = size > _MAX_BYTES or bool(file.read(1))
        text = b"".join(kept).decode(errors="replace")
        if more and kept:
            return f"{text}[there is more: go on with offset={line}]"
        if more:
            text = piece[:_MAX_BYTES].decode(errors="replace")
            return f"{text}\n[that line is longer: go on behind it with offset={line + 1}]"
        lines = line + (not piece.endswith(b"\n"))
        return text if kept else f"[nothing there: the file has {lines} lines]"

    def _list(self, path: str, pattern: str) -> Work[str]:
        start = self._fence.inside(path)
        if not start.is_dir():
            raise ToolError(f"{path} is no directory")
        lines: list[str] = []
        for entry in walk(start, deep="**" in pattern or "/" in pattern):
            name = Path(entry.path).relative_to(start)
            yield None, name.as_posix()
            if not matches(name, pattern):
                continue
            if len(lines) == _MAX_ENTRIES:
                lines.append("[there is more: narrow the pattern, or list a directory below]")
                break
            is_directory = entry.is_dir(follow_symlinks=False)
            mark = "@" if entry.is_symlink() else "/" if is_directory else ""
            lines.append(name.as_posix() + mark)
        return "\n".join(lines) or "[nothing]"

    def _search(self, path: str, wanted: re.Pattern[str], glob: str) -> Work[str]:
        found: list[str] = []
        for file in _files(self._fence.inside(path), glob):
            shown = self._fence.shown(file)
            yield None, shown
            for number, line in self._lines(file):
                yield None, shown
                if wanted.search(line) is None:
                    continue
                if len(found) == _MAX_MATCHES:
                    found.append("[there is more: narrow the pattern or the glob]")
                    return "\n".join(found)
                found.append(f"{shown}:{number}: {_shortened(line)}")
        return "\n".join(found) or "[nothing]"

    def _count(self, path: str) -> Work[dict[str, int]]:
        counts = {"files": 0, "lines": 0, "words": 0, "bytes": 0, "skipped": 0}
        paths: list[Path] = []
        for file in _files(self._fence.inside(path), "*"):
            paths.append(file)
            yield None, f"{len(paths)} files"
        for number, file in enumerate(paths):
            told = number / len(paths), self._fence.shown(file)
            yield told
            try:
                for lines, words, size in self._counted(file):
                    counts["lines"] += lines
                    counts["words"] += words
                    counts["bytes"] += size
                    yield told
                counts["files"] += 1
            except ToolError:
                counts["skipped"] += 1
        return counts

    def _counted(self, path: Path) -> Iterator[tuple[int, int, int]]:
        """Lines, words and bytes of a text file, a piece at a time."""
        in_word = False
        with self._text_file(path) as file:
            while piece := file.read(_PIECE):
                # A word that goes on from the piece before was counted there.
                words = len(piece.split()) - (in_word and not piece[:1].isspace())
                in_word = not piece[-1:].isspace()
                yield piece.count(b"\n"), words, len(piece)

    def _lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """The numbered lines of a text file, long ones in pieces; none of one that is no text."""
        number = 1
        with suppress(ToolError), self._text_file(path) as file:
            while piece := file.readline(_SEARCHED):
                yield number, piece.decode(errors="replace").rstrip("\r\n")
                number += piece.endswith(b"\n")

    def _text_file(self, path: Path) -> BinaryIO:
        """Open a text file.

        Raises:
            ToolError: It is binary, or no file, or can't be read.
        """
        file = self._fence.open(path)
        if b"\0" in file.read(8 * 1024):
            file.close()
            raise ToolError(f"{self._fence.shown(path)} is binary ({path.stat().st_size:,} bytes)")
        file.seek(0)
        return file


def _files(start: Path, glob: str) -> Iterator[Path]:
    """The regular files below a directory; or the file itself, whatever its name."""
    if not start.is_dir():
        yield start
        return
    for entry in walk(start):
        path = Path(entry.path)
        if entry.is_file(follow_symlinks=False) and matches(path.relative_to(start), glob):
            yield path


def _shortened(line: str) -> str:
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"

"""The fence around the working directory.

* A path that a model gives is followed to where it really leads, through links and `..`, and
  refused if that is outside.
* What is met while walking is not followed if it is a link, wherever it leads.
* Only regular files are opened: a named pipe would hold its reader for ever.

It keeps a model from straying. It is no sandbox: somebody who changes directories into links
while a file is being opened can still get around it.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from sidetask.core.errors import ToolError

# Windows knows neither; there a link cannot be swapped in so easily, and pipes are no files.
_CAREFULLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Fence:
    """A directory, and the paths below it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def inside(self, path: str) -> Path:
        """Where a path leads, relative to the root or absolute.

        Raises:
            ToolError: There is nothing there, or it is outside of the root.
        """
        try:
            found = (self.root / path).resolve()
            if found.is_relative_to(self.root):
                found.lstat()
                return found
        except FileNotFoundError:
            raise ToolError(f"there is no {path!r} below the working directory") from None
        except (OSError, RuntimeError, ValueError) as error:  # loops of links, NUL characters
            raise ToolError(f"{path!r} is no usable path: {error}") from None
        # Said whether or not it exists: what is outside is not to be learned.
        raise ToolError(f"{path!r} is outside of the working directory: that is off limits")

    def shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def open(self, path: Path) -> BinaryIO:
        """Open a regular file for reading.

        Raises:
            ToolError: It is something else, or can't be read.
        """
        try:
            descriptor = os.open(path, _CAREFULLY)
        except OSError as error:
            raise ToolError(f"{self.shown(path)}: {error.strerror}") from None
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise ToolError(f"{self.shown(path)} is {what}")


def walk(start: Path, *, deep: bool = True) -> Iterator[os.DirEntry[str]]:
    """What is below a directory, by name, each directory before what is in it.

    Links are told and not followed. Directories whose names begin with a dot are told and not
    entered, and what may not be read is left out.
    """
    for entry in _entries(start):
        yield entry
        if deep and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from walk(Path(entry.path))


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def matches(path: Path, pattern: str) -> bool:
    """Whether a relative path fits a glob pattern. One without `/` is about the name alone;
    `**` stands for any number of directories."""
    if "/" not in pattern:
        return fnmatchcase(path.name, pattern)
    wanted = pattern.split("/")
    # All places in the pattern at once: trying them one by one takes exponential time.
    places = _skipping({0}, wanted)
    for part in path.parts:
        open_ = [at for at in places if at < len(wanted)]
        stay = {at for at in open_ if wanted[at] == "**"}
        moved = {at + 1 for at in open_ if at not in stay and fnmatchcase(part, wanted[at])}
        places = _skipping(stay | moved, wanted)
    return len(wanted) in places


def _skipping(places: set[int], wanted: Sequence[str]) -> set[int]:
    """The places, and those behind a `**` that stands for nothing."""
    found = set(places)
    for at, part in enumerate(wanted):
        if at in found and part == "**":
            found.add(at + 1)
    return found

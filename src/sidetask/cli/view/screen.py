"""Where lines are written: a terminal in colour, a pipe in plain text."""

import io
import os
import shutil
import sys

from rich.console import Console
from rich.text import Text

from sidetask.cli.view.render import GUTTER


class Screen:
    """Standard output.

    On a terminal, what a tool wrote is folded behind its gutter. Other long lines are left to
    the terminal, and all of them to a pipe, so that they can be copied.
    """

    def __init__(self, *, styled: bool) -> None:
        """`styled`: for a terminal. `NO_COLOR` and `TERM` are heeded."""
        self._styled = styled
        self._console = Console(
            file=io.StringIO(), force_terminal=True, highlight=False, markup=False, emoji=False
        )

    def show(self, *lines: Text) -> None:
        """Write lines. `sys.stdout` is looked up each time: a prompt may have replaced it."""
        if lines:
            folded = [part for line in lines for part in self._folded(line)]
            sys.stdout.write("".join([self.drawn(line) + "\n" for line in folded]))
            sys.stdout.flush()

    def drawn(self, line: Text) -> str:
        """A line with its escape sequences, if there are to be any."""
        if not self._styled:
            return line.plain
        with self._console.capture() as capture:
            self._console.print(line, soft_wrap=True, end="")
        return capture.get()

    def _folded(self, line: Text) -> list[Text]:
        width = shutil.get_terminal_size().columns - len(GUTTER)
        if not self._styled or not line.plain.startswith(GUTTER):
            return [line]
        gutter, content = line[: len(GUTTER)], line[len(GUTTER) :]
        content.expand_tabs(8)
        if content.cell_len <= width:
            return [line]
        return [gutter + part for part in content.wrap(self._console, max(width, 20))]


def complain(text: str) -> None:
    """Say something on standard error."""
    print(f"sidetask: {text}", file=sys.stderr, flush=True)


def tolerate() -> None:
    """Let no closed stream and no character that the terminal lacks end the command."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def abandon_output() -> None:
    """Whoever read the output is gone: let nothing be flushed to it when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

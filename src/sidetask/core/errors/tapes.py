"""Errors of tapes: recorded requests and replies of a model."""

from collections.abc import Sequence

from sidetask.core.errors.base import SidetaskError
from sidetask.core.errors.turns import ModelError


class TapeError(SidetaskError, ValueError):
    """A file is no tape, or one that cannot be read. It was not changed."""

    def __init__(self, path: str, why: str, line: int | None = None) -> None:
        super().__init__(path, why, line)
        self.path = path
        self.why = why
        self.line = line
        """Counted from 1; None: it is about the whole file."""

    def __str__(self) -> str:
        where = "" if self.line is None else f", line {self.line}"
        return f"{self.path}{where}: {self.why}"


class TapeMismatchError(ModelError):
    """A tape was asked something else than what was recorded: record it anew, or see what has
    changed."""

    def __init__(self, call: int, differences: Sequence[str]) -> None:
        super().__init__(call, differences)
        self.call = call
        """The recorded call that comes nearest, counted from 1; or the one that is not there."""
        self.differences = tuple(differences)

    def __str__(self) -> str:
        return f"this is not request {self.call} of the tape: {'; '.join(self.differences)}"

"""The results of runs by name: one convention, whoever started the run.

A run named `n` owns three keys, `n:status`, `n:result` and `n:error`, and writes them in one step
each time, in one writer's name: nobody sees a result beside a stale error. The status words are
those of `TaskStatus`. Each start takes the status key over, and so ends the right of older runs
of that name to write: a run's *generation* is the version at which it left that key.
"""

from dataclasses import replace

from sidetask.core.errors import InvalidInputError, StateConflictError
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TERMINAL, TaskStatus
from sidetask.state.provenance import Origin
from sidetask.state.spaces import DERIVED, PREFIXES, check_key
from sidetask.state.state import StateView

_WITH_ERROR = (TaskStatus.FAILED, TaskStatus.TIMED_OUT, TaskStatus.DENIED)
_RESERVED = frozenset(prefix.removesuffix(":") for prefix in PREFIXES)


def check_name(name: object) -> str:
    """The name itself, if a run may have it; `review:main.py` is fine.

    Raises:
        InvalidInputError: It is blank, one of the prefix words, ends in a colon, would be
            derived, or no key of the state could hold it.
    """
    word = _checked(name)
    check_key(f"{word}:status")
    return word


def _checked(name: object) -> str:
    """The same, for who writes the keys, which looks at them."""
    if not isinstance(name, str) or not name.strip() or _is_taken(name):
        raise InvalidInputError(
            f"a run cannot be named {name!r:.80}: a name is a text, is not empty, ends in no "
            f"colon, and is none of {', '.join(sorted(_RESERVED))}"
        )
    return name


def _is_taken(name: str) -> bool:
    return name in _RESERVED or name.endswith(":") or name.startswith(DERIVED)


def result_key(name: str) -> str:
    """Where the result of a run is."""
    return f"{check_name(name)}:result"


def error_key(name: str) -> str:
    """Where the text of a run's error is; its type and details are in its provenance."""
    return f"{check_name(name)}:error"


def status_key(name: str) -> str:
    """Where the status of a run is."""
    return f"{check_name(name)}:status"


class NamedRun:
    """One run's right to its name's keys. Made by `start_result`."""

    __slots__ = ("_keys", "_writer", "generation")

    def __init__(
        self,
        writer: StateView,
        keys: tuple[str, str, str],
        generation: int,
    ) -> None:
        self.generation = generation
        """The version at which it left the status key."""
        self._writer = writer
        self._keys = keys

    @property
    def is_current(self) -> bool:
        """Nobody else has written the status since."""
        return self._writer.version(self._keys[0]) == self.generation

    def mark(self, status: TaskStatus) -> bool:
        """Say how far it is: queued, running, awaiting approval. False: a newer run has the name,
        and nothing was written."""
        return self._write({self._keys[0]: _known(status).value}, ())

    def settle(
        self,
        status: TaskStatus,
        *,
        value: object = None,
        error: BaseException | str = "",
        error_type: str | None = None,
        details: Json = None,
    ) -> bool:
        """End the run in one step. False: a newer run has the name, and nothing was written.

        Success removes the error, failure the result, and a cancelled run leaves neither. The
        type (an exception's own, unless it is told) and details go into the provenance. An
        error's text is cut where it is bigger than a value may be: no end fails for its words.

        Raises:
            InvalidInputError: The status is no end.
            StateValueError: The value is not JSON; nothing was written, so settle it as failed.
        """
        key, result, failure = self._keys
        status = _known(status)
        if status not in TERMINAL:
            raise InvalidInputError(f"a run does not end as {status}: mark() it")
        if status is TaskStatus.SUCCEEDED:
            return self._write({key: status.value, result: value}, (failure,))
        if status not in _WITH_ERROR:
            return self._write({key: status.value}, (result, failure))
        if error_type is None and isinstance(error, BaseException):
            error_type = type(error).__name__
        origin = replace(self._writer.origin, error_type=error_type, error_details=details)
        writer = self._writer.as_writer(origin)
        text = _fitting(text_of(error), writer.limit)
        return self._write({key: status.value, failure: text}, (result,), writer)

    def _write(
        self, values: dict[str, object], gone: tuple[str, ...], writer: StateView | None = None
    ) -> bool:
        key, writer = self._keys[0], writer or self._writer
        try:
            versions = writer.update(values, delete=gone, expect={key: self.generation})
        except StateConflictError:
            return False
        self.generation = versions[key]
        return True


def start_result(
    state: StateView,
    name: str,
    *,
    origin: Origin | None = None,
    status: TaskStatus = TaskStatus.RUNNING,
    keep_stale: bool = False,
) -> NamedRun:
    """Begin a run: its status is set, and the last result and error are gone, unless they are to
    stay while the new ones are made (`keep_stale`). Older runs of the name write nothing more.
    Without an `origin` the state's own writer is told as the one who writes.

    Raises:
        InvalidInputError: The name cannot be one, or there is no such status.
    """
    name, status = _checked(name), _known(status)
    keys = key, result, error = f"{name}:status", f"{name}:result", f"{name}:error"
    writer = state if origin is None else state.as_writer(origin)
    versions = writer.update({key: status.value}, delete=() if keep_stale else (result, error))
    return NamedRun(writer, keys, versions[key])


def text_of(error: object) -> str:
    """The text of an error, or of what it notes, whatever that is made of."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the one boundary: an error that cannot say what it is
        return "an error that has no text"


def _fitting(text: str, limit: int) -> str:
    """The text, as far as a value may go, without what no UTF-8 can write."""
    if text.isascii() and len(text) + 2 <= limit:  # the usual case
        return text
    return text.encode(errors="replace")[: max(limit - 2, 0)].decode(errors="ignore")


def _known(status: TaskStatus | str) -> TaskStatus:
    """The status, which may be given as its word."""
    if type(status) is TaskStatus:  # the usual case
        return status
    try:
        return TaskStatus(status)
    except ValueError:
        words = ", ".join(sorted(_WORDS))
        raise InvalidInputError(f"no status {status!r}: {words}") from None


# -- asking --------------------------------------------------------------------------------


def status_of(state: StateView, name: str) -> TaskStatus | None:
    """The status of the latest run of a name; None without one, or if it is no status."""
    written = state.get(status_key(name))
    return TaskStatus(written) if isinstance(written, str) and written in _WORDS else None


def resolved(state: StateView, name: str) -> bool:
    """Whether the run succeeded, whatever its value is: `""`, 0 and null too."""
    return status_of(state, name) is TaskStatus.SUCCEEDED


def failed(state: StateView, name: str) -> bool:
    """Whether the run ended with an error: it failed, timed out or was denied."""
    return status_of(state, name) in _WITH_ERROR


def settled(state: StateView, name: str) -> bool:
    """Whether the run ended, in any way."""
    return status_of(state, name) in TERMINAL


_WORDS = frozenset(status.value for status in TaskStatus)

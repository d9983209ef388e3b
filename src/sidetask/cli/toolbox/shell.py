"""Commands, each in a process group of its own that ends with it.

Whatever ends a command (its own exit, a cancel, a timeout, the interpreter's exit), nothing of
its group is left: SIGTERM, SIGKILL two seconds later. The ending is shielded, so that a second
cancel cuts nothing short.

It stands on asyncio's subprocess *protocol* and not on its streams: callbacks need no task to
read with, and a command that has ended is told although a child of it still holds the pipe.
"""

import asyncio
import atexit
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import cast

from sidetask.core.errors import ToolError
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.context import RunContext

_DRAIN = 0.5  # seconds that the rest of the output may take when the group is dead
_POLL = 0.02
_NOTE_EVERY = 0.2
_HALF = 512 * 1024  # bytes kept of the output's head, and of its tail
_MAX_NOTE = 200

_groups: set[int] = set()  # alive, for the exit of the interpreter


@atexit.register
def _end_groups() -> None:
    for group in _groups:
        _signal(group, signal.SIGKILL)


class Shell:
    """The shell tool, for one working directory."""

    def __init__(self, root: Path, *, grace: float = 2.0) -> None:
        self._root = root
        self._grace = grace
        """Seconds from SIGTERM to SIGKILL."""

    async def shell(self, ctx: RunContext[object], command: str) -> str:
        """Run a command with /bin/sh in the working directory, and give its output.

        Standard error is part of the output. There is no standard input. Processes that the
        command leaves behind are ended with it.

        Args:
            command: The command line.
        """
        running = _Command()
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: running,
                *("/bin/sh", "-c", command),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._root,
                start_new_session=True,
            )
            await running.follow(ctx)
        except (OSError, ValueError) as error:  # no /bin/sh, no directory, a NUL character
            raise ToolError(f"the command could not be started: {error}") from None
        finally:
            if running.transport is not None:
                end = running.end(running.transport, self._grace)
                await run_to_end(end, within=self._grace + 2 * _DRAIN)
        return running.told()


class _Command(asyncio.SubprocessProtocol):
    """A command at work: what it wrote, and whether it has ended."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport: asyncio.SubprocessTransport | None = None
        self._output = Output()
        self._news = asyncio.Event()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] = loop.create_future()
        self._code: int | None = None

    # -- called by asyncio -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.SubprocessTransport, transport)
        _groups.add(self.transport.get_pid())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._output.add(data)
        self._news.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._drained.set_result(None)

    def process_exited(self) -> None:
        if self.transport is not None:
            self._code = self.transport.get_returncode()
        self._exited.set_result(None)
        self._news.set()

    # -- called by the tool ----------------------------------------------------------------

    async def follow(self, ctx: RunContext[object]) -> None:
        """Wait for the exit; meanwhile tell the last line, now and then."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._exited.done():
                return
            await ctx.progress(None, self._output.last_line())
            await asyncio.wait({self._exited}, timeout=_NOTE_EVERY)

    async def end(self, transport: asyncio.SubprocessTransport, grace: float) -> None:
        """End what is left of the group, take in the rest of the output, and let go."""
        group = transport.get_pid()
        loop = asyncio.get_running_loop()
        try:
            _signal(group, signal.SIGTERM)
            deadline = loop.time() + grace
            while self._is_alive(group) and loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)  # nothing tells when the last of a group is gone
        finally:
            _signal(group, signal.SIGKILL)
            _groups.discard(group)
        # A process that made itself a new session has escaped, and may hold the pipe for ever.
        await asyncio.wait({self._exited, self._drained}, timeout=_DRAIN)
        transport.close()

    def _is_alive(self, group: int) -> bool:
        """Whether something of the group still runs."""
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # Who holds the pipe is alive. Else it may be that only zombies are left: in a container
        # there is often nobody who reaps them, and the group would never be empty.
        return not self._drained.done() or _has_more_than_zombies(group)

    def told(self) -> str:
        """The output and how the command ended, as the tool's result."""
        output = self._output.text()
        gap = "" if output.endswith("\n") or not output else "\n"
        code = self._code
        if code is None or code >= 0:
            return f"{output}{gap}[exit code {code}]"
        return f"{output}{gap}[ended by {signal.Signals(-code).name}]"


class Output:
    """The first and the last 512 KiB of what a command writes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = _HALF - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * _HALF:  # seldom, as it moves what is kept
            self._trim()

    def _trim(self) -> None:
        extra = max(0, len(self._tail) - _HALF)
        del self._tail[:extra]
        self._left_out += extra

    def text(self) -> str:
        self._trim()
        gap = f"\n[{self._left_out:,} bytes left out]\n".encode() if self._left_out else b""
        return (self._head + gap + self._tail).decode(errors="replace")

    def last_line(self) -> str:
        """The last line that is not blank, without control characters, shortened."""
        end = bytes((self._tail or self._head)[-4096:]).decode(errors="replace")
        lines = [line for line in end.splitlines() if line.strip()]
        line = "".join(char for char in lines[-1] if char.isprintable()) if lines else ""
        return line[:_MAX_NOTE]


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _has_more_than_zombies(group: int) -> bool:
    """Looked up where the system has /proc; elsewhere taken for granted."""
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return True
    for process in processes:
        with suppress(OSError):  # it has ended meanwhile
            told = Path("/proc", process, "stat").read_text("utf-8", "replace")
            state, _parent, its_group, *_ = told.rpartition(")")[2].split()
            if its_group == str(group) and state not in "ZX":
                return True
    return False

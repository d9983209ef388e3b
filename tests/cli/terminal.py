"""A terminal to start the command line at, as a person would."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.limits import HANG


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        # Nobody here answers the question where the cursor is.
        environ = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from sidetask.cli.main import main; main()", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
        os.close(slave)
        self._raw = b""
        self._read = 0

    def type(self, text: str) -> None:
        """Press keys; \\r is Enter, \\x03 Ctrl-C."""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, of a program that does not read keys itself: until it ends. Between a prompt and
        the wait for its answer nobody hears it."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)  # nor is it sent to one that is on its way out

    def sees(self, *wanted: str) -> str:
        """Wait until a text, or one of several, stands after what was seen before; returns what
        came up to it."""
        end = time.monotonic() + HANG
        while True:
            plain = self.text[self._read :]
            ends = [at + len(each) for each in wanted if (at := plain.find(each)) >= 0]
            if ends:
                self._read += min(ends)
                return plain[: min(ends)]
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            if not ready or not self._pull():
                raise AssertionError(f"no {wanted!r} in {plain!r}")

    @property
    def text(self) -> str:
        """All that was shown, without escape sequences. What is drawn over something else, a
        prompt say, stands in a line of its own."""
        text = self._raw.decode("utf-8", "replace")
        text = re.sub(r"\x1b\[\d*D(\x1b\[\d*A)?\x1b\[J", "\n", text)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", text)

    def ends(self) -> int:
        """The exit code."""
        while self._pull():
            pass
        return self.process.wait(HANG)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _pull(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the program has ended
            return False
        self._raw += data
        return bool(data)

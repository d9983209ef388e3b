import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.limits import HANG

from sidetask.cli.toolbox.shell import Output, Shell
from sidetask.core.errors import ToolError
from sidetask.tasks.context import RunContext

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd")

Ctx = RunContext[object]
Notes = asyncio.Queue[tuple[float | None, str]]

SLEEPER = "sleep 90 & echo $!; wait"  # tells the process that must not be left


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def is_running(process: str, *, after: float = HANG) -> bool:
    """Whether a process still runs after so many seconds; an end is noticed at once."""
    try:
        handle = os.pidfd_open(int(process))
    except ProcessLookupError:
        return False
    with open(handle, "rb"):
        return not select.select([handle], [], [], after)[0]


async def started(
    shell: Shell, ctx: Ctx, notes: Notes, command: str
) -> tuple[asyncio.Task[str], str]:
    """A command at work, and the first line that it wrote."""
    task = asyncio.create_task(shell.shell(ctx, command))
    async with asyncio.timeout(HANG):
        return task, (await notes.get())[1]


async def ended(task: asyncio.Task[str]) -> asyncio.Task[str]:
    async with asyncio.timeout(HANG):
        await asyncio.wait({task})
    return task


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo out; echo err >&2", "out\nerr\n[exit code 0]"),
        ("printf half; exit 3", "half\n[exit code 3]"),
        ("true", "[exit code 0]"),
        ("kill -9 $$", "[ended by SIGKILL]"),
        ("cat; echo end", "end\n[exit code 0]"),
        ("no-such-command-at-all 2>/dev/null", "[exit code 127]"),
        (r"printf '\377'", "\ufffd\n[exit code 0]"),
    ],
)
async def test_output_and_exit_are_told(shell: Shell, ctx: Ctx, command: str, told: str) -> None:
    assert await shell.shell(ctx, command) == told


async def test_a_command_starts_in_the_working_directory(
    shell: Shell, ctx: Ctx, tmp_path: Path
) -> None:
    await shell.shell(ctx, "touch here")
    assert (tmp_path / "here").exists()


async def test_the_last_line_is_told_as_progress(shell: Shell, ctx: Ctx, notes: Notes) -> None:
    task, line = await started(shell, ctx, notes, r"printf 'a\n\033[1mb\n\n'; sleep 90")
    assert line == "[1mb"
    task.cancel()
    await ended(task)


async def test_a_cancel_ends_the_whole_group(shell: Shell, ctx: Ctx, notes: Notes) -> None:
    task, sleeper = await started(shell, ctx, notes, SLEEPER)
    assert is_running(sleeper, after=0)
    task.cancel()
    assert (await ended(task)).cancelled()
    assert not is_running(sleeper)


async def test_what_a_command_leaves_behind_ends_with_it(shell: Shell, ctx: Ctx) -> None:
    told = await shell.shell(ctx, "sleep 90 & echo $!")
    sleeper, end = told.splitlines()
    assert end == "[exit code 0]"
    assert not is_running(sleeper)


@pytest.mark.slow
async def test_what_ignores_sigterm_is_killed_after_the_grace(
    tmp_path: Path, ctx: Ctx, notes: Notes
) -> None:
    stubborn = Shell(tmp_path, grace=0.1)
    task, process = await started(
        stubborn, ctx, notes, "trap '' TERM; echo $$; while :; do sleep 0.05; done"
    )
    task.cancel()
    assert (await ended(task)).cancelled()
    assert not is_running(process)


async def test_a_second_cancel_does_not_cut_the_ending_short(
    tmp_path: Path, ctx: Ctx, notes: Notes
) -> None:
    asked, go = tmp_path / "asked", tmp_path / "go"
    os.mkfifo(asked)
    os.mkfifo(go)
    clean_up = "echo > asked; read x < go; echo > cleaned; exit"
    command = f"trap '{clean_up}' TERM; echo $$; while :; do sleep 0.05; done"
    task, process = await started(Shell(tmp_path, grace=HANG), ctx, notes, command)
    task.cancel()
    async with asyncio.timeout(HANG):
        await asyncio.to_thread(asked.read_text)
        task.cancel()
        await asyncio.to_thread(go.write_text, "go")
    assert (await ended(task)).cancelled()
    assert (tmp_path / "cleaned").exists()
    assert not is_running(process)


@pytest.mark.slow
async def test_a_process_that_escaped_does_not_hold_the_result(
    tmp_path: Path, shell: Shell, ctx: Ctx
) -> None:
    os.mkfifo(tmp_path / "escaped")
    escape = "import os, time; os.setsid(); print(os.getpid(), file=open('escaped', 'w'))"
    command = f'{sys.executable} -c "{escape}; time.sleep(90)" & read process < escaped'
    async with asyncio.timeout(HANG):
        told = await shell.shell(ctx, f"{command}; echo $process")
    os.kill(int(told.split()[0]), signal.SIGKILL)


async def test_a_flood_of_output_keeps_its_head_and_its_tail(shell: Shell, ctx: Ctx) -> None:
    told = await shell.shell(ctx, "echo first; yes | head -c 3000000; echo last")
    assert told.startswith("first\ny\n")
    assert told.endswith("y\nlast\n[exit code 0]")
    assert "[1,951,435 bytes left out]" in told
    assert len(told) < 1024 * 1024 + 100


def test_output_is_whole_up_to_its_bound() -> None:
    output = Output()
    for _ in range(1024):
        output.add(b"x" * 1024)
    assert output.text() == "x" * 1024 * 1024
    output.add(b"y")
    assert output.text().count("x") == 1024 * 1024 - 1


async def test_a_command_that_cannot_start_is_told(tmp_path: Path, ctx: Ctx) -> None:
    with pytest.raises(ToolError, match="could not be started"):
        await Shell(tmp_path / "none").shell(ctx, "true")
    with pytest.raises(ToolError, match="could not be started"):
        await Shell(tmp_path).shell(ctx, "a\0b")


ABANDONED = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from sidetask.cli.toolbox.shell import Shell

async def main():
    told = asyncio.Queue()
    async def progress(fraction, note):
        told.put_nowait(note)
    ctx = SimpleNamespace(progress=progress)
    task = asyncio.create_task(Shell(Path()).shell(ctx, sys.argv[1]))
    print(await told.get(), flush=True)
    return task

loop = asyncio.new_event_loop()
task = loop.run_until_complete(main())
sys.exit()  # with the loop open and the command at work
"""


@pytest.mark.slow
def test_no_command_outlives_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABANDONED, SLEEPER],
        capture_output=True, text=True, check=True, timeout=HANG,
    )  # fmt: skip
    assert done.stdout.strip().isdigit()
    assert not is_running(done.stdout.strip())

"""The command line itself: options, exit codes, pipes and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sidetask.cli.main import main
from tests.limits import HANG

Capture = pytest.CaptureFixture[str]
WORKSHOP = Path(__file__).parents[1] / "interop" / "mcp" / "workshop.py"
SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()")


def ran(*arguments: str) -> int:
    """The exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def folder(app_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and `sys.path` as it was afterwards."""
    monkeypatch.setattr(sys, "path", [str(app_folder), *sys.path])
    monkeypatch.chdir(app_folder)
    return app_folder


def test_one_shot_shows_what_a_model_would_see(folder: Path, capsys: Capture) -> None:
    assert ran("run", "read_file path=flour.txt") == 0
    assert "  │ flour" in capsys.readouterr().out.splitlines()


def test_one_shot_prints_events_as_json(folder: Path, capsys: Capture) -> None:
    assert ran("run", "--json", "-m", "you", "--app", "kitchen:agent", "> ü") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["kind"] == "run_completed"
    assert events[-1]["text"] == "ü"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "-m", "nope", "> hi"], "sidetask: no model 'nope'"),
        (["run", "--app", "nope:agent", "> hi"], "sidetask: no module 'nope'"),
        (["run", "--cwd", "nowhere", "> hi"], "sidetask: --cwd nowhere: No such file"),
        (["run", "--mcp", "/nowhere/at/all", "> hi"], "sidetask: the server 'all': there is no"),
        (["run", "--timeout", "0", "> hi"], "--timeout 0: it is a number of seconds above 0"),
        (["run", "--timeout", "nan", "> hi"], "--timeout nan: it is"),
        (["events", "c", "--store", "sqlite:///none.db"], "there is no none.db"),
        (["conversations", "--store", "sqlite:///none.db"], "there is no none.db"),
        (["demo", "-p", "nowhere/x.svg"], "--picture nowhere/x.svg: No such file"),
        (["run"], "requires an argument"),
        (["run", "--nope", "> hi"], "--nope"),
        (["caht"], 'Did you mean "chat"?'),
    ],
)
def test_what_cannot_be_is_told_and_ends_with_2(
    arguments: list[str], why: str, folder: Path, capsys: Capture
) -> None:
    assert ran(*arguments) == 2
    told = capsys.readouterr()
    assert why in told.err
    assert told.out == ""
    assert not (folder / "none.db").exists()


@pytest.mark.slow
def test_the_tools_of_a_server_are_there_and_nothing_of_it_is_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = f"{sys.executable} {WORKSHOP}"
    assert ran("run", "--mcp", server, "workshop_add a=1 b=2; workshop_complain") == 0
    told = capfd.readouterr()
    assert "3" in told.out
    assert "something is not right" not in told.out + told.err


def test_a_refused_line_ends_with_1_in_the_directory_that_was_asked_for(
    folder: Path, capsys: Capture
) -> None:
    (folder / "sub").mkdir()
    assert ran("run", "--cwd", "sub", "read_file flour.txt; nope") == 1
    assert Path.cwd() == folder / "sub"
    assert "refused: no tool 'nope'" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["chat"], ["run"]])
def test_every_command_has_help(command: list[str], capsys: Capture) -> None:
    assert ran(*command, "--help") == 0
    assert "Usage: sidetask" in capsys.readouterr().out


def test_the_version_is_told(capsys: Capture) -> None:
    assert ran("--version") == 0
    assert re.fullmatch(r"\d+\.\d+.*\n", capsys.readouterr().out)


# -- in processes of their own --------------------------------------------------------------


@pytest.mark.slow
def test_help_loads_no_model_library_and_no_prompt() -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*(n.split('.')[0] for n in sys.modules), file=sys.stderr))\n"
        "from sidetask.cli.main import main\nmain(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pydantic_ai", "prompt_toolkit", "pydantic", "dbos"} & set(done.stderr.split()) == set()


@pytest.mark.slow
def test_ctrl_c_while_it_loads_ends_it_without_a_word(tmp_path: Path) -> None:
    # Whatever loads next is where the signal comes: sent by the process itself.
    (tmp_path / "cyclopts.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from sidetask.cli import begin; begin()", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_in_the_first_moment_of_a_command_is_ctrl_c(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = signal.signal

    def interrupted(number: int, handler: Any) -> Any:
        before = install(number, handler)
        if isinstance(handler, partial):  # that of `asyncio.run`, which begins to count later
            signal.raise_signal(signal.SIGINT)
        return before

    monkeypatch.setattr(signal, "signal", interrupted)
    assert ran("run", "read_file path=flour.txt") == 128 + signal.SIGINT


def test_lines_from_a_pipe_are_turns_and_late_results_come_before_the_end(folder: Path) -> None:
    with subprocess.Popen(
        [*SIDETASK, "chat", "--app", "kitchen:agent", "--yes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write("# cakes\n\nbake cake\nread_file flour.txt\n> meanwhile\n")
        chat.stdin.close()
        shown = ""
        while "\nmeanwhile\n" not in shown:
            line = chat.stdout.readline()
            assert line, shown
            shown += line
        (folder / "cake").touch()
        late = chat.stdout.read()
        assert chat.wait(HANG) == 1  # the kitchen has no `read_file`
    assert "refused: no tool 'read_file'" in shown
    assert "baked cake" not in shown
    assert late.endswith("  │ baked cake\n  │ </task-result>\n")


@pytest.mark.slow
def test_ctrl_c_at_a_pipe_stops_everything_and_tells_it(folder: Path) -> None:
    with subprocess.Popen(
        [*SIDETASK, "chat", "--yes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        assert chat.stderr is not None
        chat.stdin.write("shell 'touch begun; sleep 90'\n")
        chat.stdin.flush()  # and not closed: it still waits for more
        while not (folder / "begun").exists():
            assert chat.poll() is None
            time.sleep(0.02)
        chat.send_signal(signal.SIGINT)
        assert "sidetask: stopping ● task-1 shell" in chat.stderr.read()
        assert chat.wait(HANG) == 128 + signal.SIGINT


@pytest.mark.slow
def test_a_reader_who_leaves_ends_the_command_quietly(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*SIDETASK, "run", "> hi"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_an_empty_message_is_refused_before_anything_runs(folder: Path, capsys: Capture) -> None:
    assert ran("run", "  ") == 2
    assert "the message is empty" in capsys.readouterr().err

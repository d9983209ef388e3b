"""A chat without a model offers the demo by one key, and only where there is somebody to ask."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from sidetask.cli.welcome import Wish, ask
from sidetask.runtime.models.finding import KEYS, VARIABLE, probe
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.slow

SIDETASK = (sys.executable, "-c", "from sidetask.cli.main import main; main()")
OFFER = "d: see the demo first"
Start = Callable[..., Terminal]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, *KEYS):
        monkeypatch.delenv(name, raising=False)
    if asyncio.run(probe()):
        pytest.skip("a model serves on this machine: it would be chosen")


def pressed(keys: str) -> Wish:
    with create_pipe_input() as pipe, create_app_session(pipe, DummyOutput()):
        pipe.send_text(keys)
        return ask()


@pytest.mark.parametrize(
    ("keys", "wish"),
    [
        ("d", "demo"),
        ("D", "demo"),
        ("\r", "demo"),
        ("y", "drive"),
        ("Y", "drive"),
        ("xq?y", "drive"),
    ],
)
def test_one_key_decides_and_others_say_nothing(keys: str, wish: str) -> None:
    assert pressed(keys) == wish


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_leave(key: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        pressed(key)


def test_at_a_terminal_without_a_model_you_may_drive_at_once(
    no_model: None, terminal: Start
) -> None:
    chat = terminal("chat")
    chat.sees("No model found: you drive")
    chat.sees(OFFER)
    chat.type("y")
    chat.sees("You drive: you are the model")
    chat.type("> hello\r")
    chat.sees("\nhello")
    chat.type("/quit\r")
    assert chat.ends() == 0


def test_the_demo_plays_when_it_is_wanted_and_leaves_nothing_here(
    no_model: None, terminal: Start, app_folder: Path
) -> None:
    before = sorted(app_folder.iterdir())
    chat = terminal("chat")
    chat.sees(OFFER)
    chat.type("\r")
    chat.sees("The model is scripted. All else is real")
    chat.process.send_signal(signal.SIGINT)  # its terminal is nobody's, and sends none
    assert chat.ends() == 128 + signal.SIGINT
    assert sorted(app_folder.iterdir()) == before


@pytest.mark.parametrize("arguments", [["-m", "you"], ["--app", "kitchen:agent"]])
def test_who_says_what_the_model_is_gets_no_offer(
    arguments: list[str], no_model: None, terminal: Start
) -> None:
    chat = terminal("chat", *arguments)
    chat.sees("You drive")
    chat.type("/quit\r")
    assert chat.ends() == 0
    assert OFFER not in chat.text


def test_a_pipe_is_not_asked_and_told_of_the_demo(no_model: None, app_folder: Path) -> None:
    done = subprocess.run(
        [*SIDETASK, "chat"],
        input="> hello\n",
        capture_output=True,
        text=True,
        cwd=app_folder,
        check=False,
    )
    assert done.returncode == 0
    assert "hello" in done.stdout
    assert "no model found: you drive" in done.stderr
    assert "`sidetask demo` shows" in done.stderr
    assert OFFER not in done.stdout + done.stderr

"""The chat at a real terminal, in a process of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

pytestmark = pytest.mark.slow

Start = Callable[..., Terminal]


def test_an_approved_call_detaches_and_its_result_arrives_by_itself(
    terminal: Start, app_folder: Path
) -> None:
    chat = terminal("chat", "--app", "kitchen:agent")
    chat.sees("You drive")
    chat.type("bake cake\r")
    chat.sees('→ bake {"what": "cake"}')
    chat.sees("? approval-1  task-1 asks to run bake")
    chat.sees("waits for /approve approval-1")
    chat.type("/app\t")
    chat.sees("rove")  # the rest of the word is all that is drawn anew
    chat.type("\r")  # no id: there is one question
    chat.sees("approval-1 approved by you")
    chat.sees("Running in the background as task-1")
    chat.type("> meanwhile\r")
    chat.sees("\nmeanwhile")
    chat.sees("● task-1 bake  0:")
    chat.sees("  cake")
    (app_folder / "cake").touch()
    chat.sees("● task-1 bake succeeded after")
    chat.sees('<task-result task="task-1" tool="bake" status="succeeded">')
    chat.sees("baked cake")
    chat.type("/quit\r")
    assert chat.ends() == 0
    assert "stopping" not in chat.text


@pytest.mark.parametrize(("key", "code"), [("Ctrl-C", 130), ("\x04", 2)])
def test_who_is_asked_whether_to_forget_may_leave(
    terminal: Start, app_folder: Path, key: str, code: int
) -> None:
    (app_folder / "kept.db").touch()
    asked = terminal("store", "erase", "--user", "ana", "--store", "sqlite:///kept.db")
    asked.sees("[y/N]")
    if key == "Ctrl-C":
        asked.interrupt()
    else:
        asked.type(key)
    assert asked.ends() == code
    assert "Traceback" not in asked.text


def test_ctrl_c_ends_the_turn_and_a_second_one_leaves_and_tells_what_is_stopped(
    terminal: Start,
) -> None:
    chat = terminal("chat", "--app", "kitchen:agent", "--yes")
    chat.sees("You drive")
    chat.type("bake cake\r")
    chat.sees("Running in the background as task-1")
    chat.type("stir\r")
    chat.sees("● task-2 stir  0:")
    chat.sees("━━━━━━━━━━ 50%  stirring")
    chat.type("\x03")
    chat.sees("✗ stir")
    chat.sees("the turn is over: the user interrupted the turn")
    chat.sees("● task-1 bake  0:")
    chat.type("\x03")
    while chat.sees("stopping ● task-1 bake", "nothing to interrupt").endswith("interrupt"):
        chat.type("\x03")  # it came too late for a second one, and so was a first one
    chat.sees("● task-1 bake cancelled after")
    assert chat.ends() == 0
    assert "stopping ● task-2" not in chat.text

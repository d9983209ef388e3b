"""Where lines are written: folded on a terminal, as they are in a pipe."""

import sys

import pytest
from rich.text import Text

from sidetask.cli.view.render import GUTTER
from sidetask.cli.view.screen import Screen, tolerate

Capture = pytest.CaptureFixture[str]
WIDE = GUTTER + "word " * 5 + "x" * 30


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 24 columns, without colours."""
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("TERM", "dumb")


def test_what_a_tool_wrote_is_folded_behind_its_gutter(narrow: None, capsys: Capture) -> None:
    Screen(styled=True).show(Text(WIDE))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "  │ word word word word",
        "  │ word",
        "  │ xxxxxxxxxxxxxxxxxxxx",
        "  │ xxxxxxxxxx",
    ]


def test_a_pipe_gets_the_lines_as_they_are(narrow: None, capsys: Capture) -> None:
    Screen(styled=False).show(Text(WIDE))
    assert capsys.readouterr().out == WIDE + "\n"


def test_on_a_terminal_styles_are_drawn_unless_colours_are_unwanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen(styled=True).drawn(Text("x", "red")) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(styled=True).drawn(Text("x", "red")) == "x"


def test_a_closed_stream_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    tolerate()
    with sys.stdin as nothing:
        assert nothing.read() == ""

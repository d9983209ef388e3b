"""What Tab offers: the seat's words, and paths that exist."""

from pathlib import Path

import pytest

from sidetask import tool
from sidetask.agents.agent import AgentConfig
from sidetask.cli.completion import candidates, replaced
from sidetask.models.base import ToolSchema


@tool
def read(path: str, depth: int = 1, mode: str | None = None, hot: bool = False) -> str:
    """Read it.

    All of it.
    """
    return path


@tool
def reheat(hot: bool) -> str:
    """Heat it again."""
    return str(hot)


@pytest.fixture
def tools() -> tuple[ToolSchema, ...]:
    config = AgentConfig("you", tools=[read, reheat])
    return tuple(each.schema for each in config.toolbox)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "a b").mkdir(parents=True)
    (tmp_path / "docs" / "index.md").touch()
    (tmp_path / "data.csv").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "out").symlink_to("/")
    (tmp_path / "bad\x1bname").touch()
    return tmp_path


def offered(line: str, tools: tuple[ToolSchema, ...], root: Path) -> list[str]:
    """The line as each candidate would make it."""
    kept = line[: len(line) - replaced(line)]
    return [kept + each.text for each in candidates(line, tools, root)]


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("re", ["read ", "reheat "]),
        ("read d", ["read depth=", "read data.csv ", "read docs/"]),
        ("read path=d", ["read path=data.csv ", "read path=docs/"]),
        ("read path=docs/", ["read path='docs/a b/'", "read path=docs/index.md "]),
        ("read path='docs/a", ["read path='docs/a b/'"]),
        ("read docs/i", ["read docs/index.md "]),
        ("reheat true; read docs/i", ["reheat true; read docs/index.md "]),
        ("read path=.h", ["read path=.hidden "]),
        ("read mode=da", ["read mode=data.csv "]),
        ("read data.csv 1 da", ["read data.csv 1 data.csv "]),
        ("reheat hot=t", ["reheat hot=true "]),
        # no text may stand there, it is outside, or there is nothing
        ("read depth=d", []),
        ("read data.csv da", []),
        ("reheat da", []),
        ("read path=../", []),
        ("read path=/et", []),
        ("read path=out/et", []),
        ("read path=nowhere/", []),
        ("read a 1 b true data", []),
        ("nope da", []),
        ("read path=ba", []),
        ("> d", []),
    ],
)
def test_tab_offers(
    line: str, becomes: list[str], tools: tuple[ToolSchema, ...], root: Path
) -> None:
    assert offered(line, tools, root) == becomes


def test_between_words_the_parameters_are_offered_with_their_kinds(
    tools: tuple[ToolSchema, ...], root: Path
) -> None:
    assert [(each.text, each.hint) for each in candidates("read ", tools, root)] == [
        ("path=", "<string>"),
        ("depth=", "<integer>"),
        ("mode=", "<string>"),
        ("hot=", "true|false"),
    ]


def test_a_tool_is_offered_with_what_it_does(tools: tuple[ToolSchema, ...], root: Path) -> None:
    assert [(each.shown, each.hint) for each in candidates("", tools, root)] == [
        ("read", "Read it."),
        ("reheat", "Heat it again."),
    ]

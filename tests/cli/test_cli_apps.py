"""What a chat is opened with, and what is said when it cannot be."""

import sys
from pathlib import Path

import pytest

from sidetask.cli.apps import find_agent, find_server, is_driven, load_agent
from sidetask.core.errors import ConfigurationError, SidetaskError, UnknownModelError
from sidetask.interop.mcp.server import Endpoint, Process
from sidetask.models.human import HumanModel
from sidetask.models.scripted import ScriptedModel


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of modules; what they add to `sys.path` is taken back."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules = {
        "app_good": (
            "from sidetask import Agent\n"
            "from sidetask.testing import ScriptedModel\n"
            "helper = Agent(ScriptedModel('hi'))\n"
            "class inner:\n    agent = helper\n"
            "thing = {}\n"
        ),
        "app_needs": "import surely_not_installed\n",
        "app_raises": "import json\n\njson.loads('{')\n",
        "app_syntax": "def\n",
        "app_twice": (
            "from sidetask import Agent, tool\n@tool\ndef a() -> str: ...\n"
            "agent = Agent('you', tools=[a, a])\n"
        ),
        "app_model": "from sidetask import Agent\nagent = Agent('no-such-model')\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
    return tmp_path


def test_without_an_app_you_drive_with_the_toolbox(tmp_path: Path) -> None:
    agent = find_agent(None, None, tmp_path)
    assert is_driven(agent)
    assert "read_file" in [each.name for each in agent.toolbox]


def test_an_app_keeps_its_model_unless_another_is_named(apps: Path) -> None:
    assert isinstance(find_agent("app_good:helper", None, apps).model, ScriptedModel)
    assert isinstance(find_agent("app_good:inner.agent", "you", apps).model, HumanModel)


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("app_good", "--app takes module:agent, not 'app_good'"),
        (":agent", "--app takes module:agent, not ':agent'"),
        ("app_none:agent", "no module 'app_none' here or among the installed"),
        ("app_good.sub:agent", "no module 'app_good.sub' here or among the installed"),
        ("app_good:agent", "app_good has no 'agent'; did you mean app_good:helper?"),
        ("app_needs:agent", "No module named 'surely_not_installed' (app_needs.py, line 1)"),
        ("app_raises:agent", "JSONDecodeError: Expecting property name"),
        ("app_syntax:agent", "app_syntax cannot be loaded: SyntaxError"),
        ("app_twice:agent", "agent 'agent' has two tools named a"),
        ("app_good:thing", "app_good:thing is a dict, not an Agent"),
        ("app_good:inner.nope", "app_good has no 'nope'; did you mean app_good:agent?"),
    ],
)
def test_what_is_wrong_with_an_app_is_one_clear_line(app: str, why: str, apps: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_agent(app, apps)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_nobody_knows_is_refused_before_anything_runs(apps: Path) -> None:
    with pytest.raises(UnknownModelError):
        find_agent(None, "nope", apps)
    with pytest.raises(SidetaskError, match="no-such-model"):
        find_agent("app_model:agent", None, apps)


def test_a_server_is_a_command_as_in_a_shell_or_an_address() -> None:
    started = find_server("KEY='a b' npx -y @scope/files@2 '/my files'")
    assert (started.name, started.options) == ("files", {"prefix": True})
    assert isinstance(started.at, Process)
    assert started.at.args == ("-y", "@scope/files@2", "/my files")
    assert started.at.env == {"KEY": "a b"}
    assert isinstance(find_server("https://docs.example.com/mcp").at, Endpoint)


@pytest.mark.parametrize("wanted", ["", "KEY=1", "npx 'open", "https://"])
def test_what_is_no_server_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigurationError):
        find_server(wanted)


def test_servers_are_added_to_the_toolbox_and_to_an_app(apps: Path) -> None:
    for app in (None, "app_good:helper"):
        agent = find_agent(app, "you", apps, mcp=["npx a", "npx b"])
        assert [each.name for each in agent.sources] == ["a", "b"]

"""The other side of a store, from the command line."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.cli.kept.place import Place
from sidetask.core.errors import SidetaskError
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import ORDERS
from sidetask.testing import ScriptedModel, call
from tests.cli.test_cli_main import SIDETASK, Capture, ran
from tests.limits import HANG

pytestmark = pytest.mark.slow


@tool(approval="ask", route=background())
async def pay(ctx: RunContext[object], amount: int) -> str:
    """Pay somebody."""
    return f"paid {amount}"


async def talk(url: str) -> None:
    """A process that asks for an approval, and ends."""
    agent = Agent(ScriptedModel(call("pay", amount=5), "Begun."), name="clerk", tools=[pay])
    async with Runtime(store=url, on_approval="host") as runtime:
        chat = await runtime.open(agent, conversation_id="mine", user="ana")
        await chat.ask("Pay.")
        await chat.disconnect()


async def orders(url: str) -> list[str]:
    """The texts of what was ordered."""
    store = open_store(url)
    try:
        await store.start()
        return [each.value.text for each in await store.find(ORDERS)]
    finally:
        await store.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    asyncio.run(talk(url))
    monkeypatch.setenv("SIDETASK_STORE", url)
    return url


def words(capsys: Capture) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_what_a_store_keeps_is_listed(store: str, capsys: Capture) -> None:
    assert ran("conversations", "--user", "ana") == 0
    assert [line[:3] for line in words(capsys)] == [["mine", "clerk", "1"]]
    assert ran("tasks", "--store", store) == 0
    assert [line[1] for line in words(capsys)] == ["awaiting_approval"]
    assert ran("tasks", "-c", "yours", "--all") == 0
    nothing = capsys.readouterr()
    assert (nothing.out, nothing.err) == ("", "sidetask: no tasks\n")
    assert ran("tasks", "-c", "yours", "--json") == 0
    nothing = capsys.readouterr()
    assert (nothing.out, nothing.err) == ("", "")
    assert ran("approvals", "--json") == 0
    asked = json.loads(capsys.readouterr().out)
    assert (asked["call"]["name"], asked["decision"]) == ("pay", "open")


def test_a_question_is_decided_once(store: str, capsys: Capture) -> None:
    assert ran("approvals") == 0
    [[asked, *_]] = words(capsys)
    assert ran("approve", asked, "--by", "ana", "--note", "ok") == 0
    assert capsys.readouterr().out == f"{asked} approved by ana\n"
    assert ran("deny", asked, "too", "dear", "--by", "bob") == 2
    assert "already approved by ana" in capsys.readouterr().err
    assert ran("approvals") == 0
    assert words(capsys) == []
    assert ran("approvals", "--all") == 0
    assert words(capsys)[0][:2] == [asked, "approved"]


def test_a_task_is_cancelled(store: str, capsys: Capture) -> None:
    assert ran("tasks") == 0
    [[task, *_]] = words(capsys)
    assert ran("cancel", task, "not", "needed") == 0
    assert f"sidetask why {task}" in capsys.readouterr().out
    assert asyncio.run(orders(store)) == ["not needed"]
    assert ran("cancel", "task-0") == 2
    assert "no task 'task-0'" in capsys.readouterr().err


def test_without_a_store_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("SIDETASK_STORE", raising=False)
    for command in (["tasks"], ["events", "c"], ["store", "vacuum", "--older-than", "1d"]):
        assert ran(*command) == 2
        told = capsys.readouterr().err
        assert "--store" in told
        assert "SIDETASK_STORE" in told


def chat(folder: Path, lines: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """A chat of its own process, whose model is driven by these lines."""
    return subprocess.run(
        [*SIDETASK, "chat", "-m", "you", *options],
        cwd=folder,
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )


def test_a_chat_is_kept_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///chats.db"
    assert chat(tmp_path, "> one\n", "--store", url).returncode == 0
    assert chat(tmp_path, "> two\n", "--store", url, "--resume", "last").returncode == 0
    assert ran("conversations", "--store", url) == 0
    [[kept, _, turns, *_]] = words(capsys)
    assert turns == "2"
    monkeypatch.setenv("SIDETASK_STORE", url)
    assert chat(tmp_path, "> three\n", "--resume", kept).returncode == 0
    refused = chat(tmp_path, "> four\n", "--resume", "nope")
    assert (refused.returncode, "'nope'" in refused.stderr) == (2, True)


def test_going_on_needs_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDETASK_STORE", raising=False)
    refused = chat(tmp_path, "> one\n", "--resume", "last")
    assert (refused.returncode, "--resume needs --store" in refused.stderr) == (2, True)


@pytest.mark.parametrize("which", ["last", "mine"])
def test_what_is_gone_on_with_has_to_be_there_and_looking_makes_no_file(
    which: str, tmp_path: Path
) -> None:
    file = tmp_path / "none.db"
    with pytest.raises(SidetaskError, match="nothing was kept there"):
        asyncio.run(Place(f"sqlite:///{file}", which).find())
    assert not file.exists()


def test_the_last_of_a_store_that_is_empty_is_none(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    with pytest.raises(SidetaskError, match="keeps no conversation to go on with"):
        asyncio.run(Place(f"sqlite:///{tmp_path / 'new.db'}", "last").find())

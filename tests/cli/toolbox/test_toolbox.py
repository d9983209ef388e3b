from pathlib import Path
from typing import cast

from sidetask.cli.toolbox import toolbox
from sidetask.core.ids import CallId
from sidetask.core.jsons import JsonObject
from sidetask.core.messages import ToolCall
from sidetask.core.routing import detach_after, foreground
from sidetask.models.human import usage
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import ApprovalNeeded, Completed, Errored, ToolOutcome


async def run(root: Path, ctx: RunContext[object], name: str, arguments: str) -> ToolOutcome:
    [found] = [tool for tool in toolbox(root) if tool.name == name]
    return await found.execute(ToolCall(CallId("call-1"), name, arguments), ctx)


def test_the_tools_are_told_to_a_model_without_their_context(tmp_path: Path) -> None:
    assert [usage(tool.schema) for tool in toolbox(tmp_path)] == [
        "read_file path=<string> [offset=<integer>] [limit=<integer>]",
        "list_files [path=<string>] [pattern=<string>]",
        "search_files pattern=<string> [path=<string>] [glob=<string>]",
        "count_words [path=<string>]",
        "shell command=<string>",
        "fetch_url url=<string> [timeout=<number>]",
    ]


def test_every_parameter_is_described(tmp_path: Path) -> None:
    for tool in toolbox(tmp_path):
        assert tool.description
        properties = tool.parameters["properties"]
        assert isinstance(properties, dict)
        for told in cast("dict[str, JsonObject]", properties).values():
            assert told["description"]


def test_only_the_shell_asks_and_is_detached(tmp_path: Path) -> None:
    routes = {tool.name: (tool.route, tool.approval) for tool in toolbox(tmp_path)}
    assert routes.pop("shell") == (detach_after(5), "ask")
    assert set(routes.values()) == {(foreground(), None)}


async def test_a_call_is_carried_out(tmp_path: Path, ctx: RunContext[object]) -> None:
    (tmp_path / "a.md").write_text("one two\nthree\n")
    outcome = await run(tmp_path, ctx, "count_words", "{}")
    assert isinstance(outcome, Completed)
    assert outcome.value == {"files": 1, "lines": 2, "words": 3, "bytes": 14, "skipped": 0}


async def test_a_refused_path_is_told_to_the_model(tmp_path: Path, ctx: RunContext[object]) -> None:
    outcome = await run(tmp_path, ctx, "read_file", '{"path": "../x"}')
    assert isinstance(outcome, Errored)
    assert outcome.error == "'../x' is outside of the working directory: that is off limits"


async def test_nothing_of_a_command_happens_before_it_is_approved(
    tmp_path: Path, ctx: RunContext[object]
) -> None:
    outcome = await run(tmp_path, ctx, "shell", '{"command": "touch made"}')
    assert isinstance(outcome, ApprovalNeeded)
    assert not (tmp_path / "made").exists()

"""The demo's story on a virtual clock, its audit, and its picture."""

import asyncio
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sidetask.agents.tools import AnyTool, tool
from sidetask.cli.demo.audit import audit
from sidetask.cli.demo.command import report
from sidetask.cli.demo.story import CAP, SUB_AGENTS, Stage, files_below, play
from sidetask.cli.demo.timeline import draw
from sidetask.core.events import (
    Event,
    NotificationsCommitted,
    TaskDetached,
    TaskEnded,
    TaskStarted,
    ToolMessageCommitted,
)
from sidetask.testing import VirtualClock


@tool(name="shell")
async def slept(command: str) -> str:
    """Stand in for a process on the virtual clock."""
    await asyncio.sleep(6)
    return command


def stage(tmp_path: Path, shell: AnyTool = slept) -> Stage:
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(f"{name}\nhas lines\n")
    return Stage(files_below(tmp_path), shell, "sleep 6", lambda _line: None)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return VirtualClock().run(play(stage(tmp_path_factory.mktemp("files"))))


def test_the_audit_of_the_story_finds_no_broken_promise(log: list[Event]) -> None:
    result = audit(log)
    assert result.broken == ()
    assert (result.calls, result.answered, result.answered_twice) == (53, 53, 0)
    assert (result.launched, result.ended, result.approvals_open) == (53, 52, 1)
    assert (result.delivered, result.delivered_twice) == (SUB_AGENTS + 1, 0)
    assert result.turns_cut == 1
    assert result.most_at_once > 1


def test_never_more_sub_agents_work_at_once_than_the_cap_allows(log: list[Event]) -> None:
    at_work = most = 0
    for event in log:
        if isinstance(event, TaskStarted | TaskEnded) and event.name == "review":
            at_work += 1 if isinstance(event, TaskStarted) else -1
            most = max(most, at_work)
    assert (at_work, most) == (0, CAP)


def test_the_process_detaches_and_its_result_is_told_later(log: list[Event]) -> None:
    detached = [event for event in log if isinstance(event, TaskDetached)]
    assert [event.name for event in detached] == ["shell"]
    told = [e for e in log if isinstance(e, NotificationsCommitted)]
    assert "shell" in {item.name for each in told for item in each.message.items}


def test_the_audit_says_loudly_what_was_answered_twice_or_never(
    log: list[Event], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(event for event in log if isinstance(event, ToolMessageCommitted))
    twice = audit([*log, first])
    assert twice.answered_twice == SUB_AGENTS
    assert any("answered 2 times" in line for line in twice.broken)
    never = audit([event for event in log if event is not first])
    assert any("answered 0 times" in line for line in never.broken)
    assert report(never, tmp_path / "t.svg") == 1
    assert "BROKEN" in capsys.readouterr().err
    assert report(audit(log), tmp_path / "t.svg") == 0


def test_a_result_that_is_told_twice_and_a_turn_without_an_end_are_broken(
    log: list[Event],
) -> None:
    told = next(event for event in log if isinstance(event, NotificationsCommitted))
    again = replace(told, seq=told.seq + 10_000)
    assert any("told twice" in line for line in audit([*log, again]).broken)
    unfinished = [event for event in log if not (event.terminal and event.run_id == "run:turn-1")]
    assert any("turn run:turn-1 was ended 0" in line for line in audit(unfinished).broken)


def test_the_picture_is_well_formed_and_has_a_lane_for_each_task(log: list[Event]) -> None:
    svg = draw(log, title="a <title> & more", subtitle="sums")
    root = ElementTree.fromstring(svg)
    texts = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert "a <title> & more" in texts
    assert len([text for text in texts if text.endswith(" review")]) == SUB_AGENTS
    assert "prefers-color-scheme: dark" in svg


def test_a_picture_of_nothing_is_a_picture() -> None:
    ElementTree.fromstring(draw([], title="empty", subtitle=""))


def test_hidden_files_and_links_are_not_reviewed(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert files_below(tmp_path) == []
    (tmp_path / "seen").write_text("x")
    assert files_below(tmp_path) == [tmp_path / "seen"] * SUB_AGENTS

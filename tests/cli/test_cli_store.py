"""A store that forgets, from the command line."""

import asyncio
from pathlib import Path
from time import time

import pytest

from sidetask.cli.kept.durations import seconds
from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import ConversationId
from sidetask.stores.base import ConversationRecord
from sidetask.stores.opening import open_store
from tests.cli.test_cli_main import Capture, ran

pytestmark = pytest.mark.slow

DAY = 86_400.0


async def fill(url: str) -> None:
    store = open_store(url)
    for id, user, days in (("old", "ana", 100), ("mid", "ana", 20), ("new", "bob", 0)):
        at = time() - days * DAY
        store.save(
            ConversationRecord(
                id=ConversationId(id), agent="a", user=user, created_at=at, updated_at=at
            )
        )
    await store.close()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    asyncio.run(fill(url))
    monkeypatch.setenv("SIDETASK_STORE", url)


def left(capsys: Capture) -> list[str]:
    capsys.readouterr()
    assert ran("conversations") == 0
    return sorted(line.split()[0] for line in capsys.readouterr().out.splitlines())


def test_a_dry_run_tells_and_changes_nothing(capsys: Capture) -> None:
    assert ran("store", "vacuum", "--older-than", "30d", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "would forget 1 conversation, and of the others events and closed records older than 30d",
        "  old",
    ]
    assert left(capsys) == ["mid", "new", "old"]


def test_what_is_old_is_forgotten_when_somebody_says_yes(capsys: Capture) -> None:
    assert ran("store", "vacuum", "--older-than", "1w12h") == 2
    assert "add --yes" in capsys.readouterr().err
    assert left(capsys) == ["mid", "new", "old"]
    assert ran("store", "vacuum", "--older-than", "1w12h", "--yes") == 0
    assert "forgot 2 conversations" in capsys.readouterr().out
    assert left(capsys) == ["new"]


def test_old_events_can_be_forgotten_without_their_conversations(capsys: Capture) -> None:
    assert ran("store", "vacuum", "--older-than", "1d", "--keep-conversations") == 0
    assert left(capsys) == ["mid", "new", "old"]


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("", False), ("n", False)])
def test_at_a_terminal_it_is_asked_for(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool
) -> None:
    def answered(_: str) -> str:
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answered)
    assert ran("store", "delete", "old") == (0 if gone else 2)
    assert ("old" in left(capsys)) is not gone


def test_a_conversation_or_a_user_is_forgotten(capsys: Capture) -> None:
    assert ran("store", "delete", "new", "-y") == 0
    assert capsys.readouterr().out == "forgot new\n"
    assert ran("store", "delete", "new", "-y") == 2
    assert "no conversation 'new'" in capsys.readouterr().err
    assert ran("store", "erase", "--user", "ana", "-y") == 0
    assert capsys.readouterr().out.splitlines()[0] == "forgot the state and 2 conversations of ana"
    assert left(capsys) == []


def test_lengths_of_time_are_read_as_people_write_them() -> None:
    assert [seconds(each) for each in ("45s", "90m", "12h", "30d", "2w", "1d12h", "0.5 H")] == [
        45,
        5_400,
        43_200,
        30 * DAY,
        14 * DAY,
        1.5 * DAY,
        1_800,
    ]


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1y", "1d!", "1e3s", "1d 2"])
def test_what_is_no_length_of_time_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(InvalidInputError, match="30d, 12h"):
        seconds(text)

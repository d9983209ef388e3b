"""`sidetask replay`: a tape's requests to another model, and what it replies otherwise."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from sidetask.cli.main import main
from sidetask.cli.replay.command import run
from sidetask.core.errors import ModelError
from sidetask.core.messages import user_message
from sidetask.core.usage import Usage
from sidetask.models.base import Finished, ModelRequest
from sidetask.models.tape import RecordedCall, RecordingModel, read_tape
from sidetask.testing import ScriptedModel, call, cut, reply

Capture = pytest.CaptureFixture[str]


def tokens(given: int, made: int) -> Finished:
    return Finished("stop", Usage(requests=1, input_tokens=given, output_tokens=made))


async def record(path: Path, *script: object) -> list[RecordedCall]:
    model = RecordingModel(ScriptedModel(*script), path)  # pyright: ignore[reportArgumentType]
    for number in range(len(script)):
        request = ModelRequest(instructions="", messages=(user_message(str(number)),))
        with suppress(ModelError):
            async with model.stream(request) as chunks:
                _ = [chunk async for chunk in chunks]
    return read_tape(path)


async def test_each_reply_is_a_row_and_what_differs_stands_below_it(
    tmp_path: Path, capsys: Capture
) -> None:
    recorded = await record(
        tmp_path / "a.tape",
        reply("Hello.", tokens(7, 2)),
        reply("Let me see.", call("dig", site="a", deep=True), tokens(1200, 9)),
        "Bye.",
    )
    other = ScriptedModel(
        reply("Hello.\n", tokens(8, 3)),
        reply("Well.", call("dig", deep=True, site="b"), tokens(1300, 9)),
        ModelError("over\x1b[2Jloaded"),
        name="other",
    )
    assert await run(recorded, other, calls_only=False, as_json=False) == 1
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "then: scripted; now: other",
        "reply  text     calls    tokens in        tokens out       seconds",
        "    1  same     same     7 → 8            2 → 3            0.0 → 0.0",
        "    2  differs  differs  1,200 → 1,300    9 → 9            0.0 → 0.0",
        "       - text: Let me see.",
        '       - call: dig {"deep":true,"site":"a"}',
        "       + text: Well.",
        '       + call: dig {"deep":true,"site":"b"}',
        "    3  differs  same     0 → 0            0 → 0            0.0 → 0.0",
        "       - no error",
        "       - text: Bye.",
        "       + error: ModelError: overloaded",
        "       + text: none",
        "3 replies, 2 of them different",
    ]


async def test_a_model_that_replies_the_same_is_no_failure_whatever_the_order_of_keys(
    tmp_path: Path, capsys: Capture
) -> None:
    recorded = await record(tmp_path / "a.tape", call("dig", site="a", deep=True), "Bye.")
    other = ScriptedModel(call("dig", deep=True, site="a"), "Bye.")
    assert await run(recorded, other, calls_only=False, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 replies, none of them different"


async def test_texts_may_differ_if_the_calls_matter(tmp_path: Path, capsys: Capture) -> None:
    recorded = await record(tmp_path / "a.tape", reply("One.", call("dig")), "Two.")
    other = ScriptedModel(reply("First.", call("dig")), "Second.")
    assert await run(recorded, other, calls_only=True, as_json=False) == 0
    assert "differs" not in capsys.readouterr().out


async def test_a_reply_that_fails_is_a_failure_even_if_it_failed_then(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.tape", ModelError("no"))
    assert await run(recorded, ScriptedModel(cut("a")), calls_only=True, as_json=True) == 1


async def test_as_json_each_line_is_a_reply(tmp_path: Path, capsys: Capture) -> None:
    recorded = await record(tmp_path / "a.tape", call("dig", site="a"))
    await run(recorded, ScriptedModel("No."), calls_only=False, as_json=True)
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["differs"] == ["calls", "text"]
    assert told["then"]["calls"] == ['dig {"site":"a"}']
    assert told["now"]["text"] == "No."


async def test_a_reply_that_never_comes_is_given_up(tmp_path: Path, capsys: Capture) -> None:
    async def never(_: object) -> str:
        await asyncio.Event().wait()
        return ""

    recorded = await record(tmp_path / "a.tape", "Hello.")
    assert await run(recorded, ScriptedModel(never), calls_only=False, as_json=False) == 1
    assert "not done within 300 s" in capsys.readouterr().out


APP = '''
"""An app of a stranger, whose model is scripted."""

from sidetask import Agent
from sidetask.testing import ScriptedModel

agent = Agent(ScriptedModel("Hello."))
'''


def test_what_is_said_in_a_command_goes_on_a_tape(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recorded_app.py").write_text(APP, "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", "Hi.", "--app", "recorded_app:agent", "--record", "a.tape"])
    assert ended.value.code == 0
    assert "Hello." in capsys.readouterr().out
    [recorded] = read_tape(tmp_path / "a.tape")
    assert recorded.request.messages == (user_message("Hi."),)
    with pytest.raises(SystemExit) as ended:
        main(["run", "Hi.", "-m", "you", "--record", "b.tape"])
    assert ended.value.code == 2
    assert "there is no model to record" in capsys.readouterr().err


def refused(capsys: Capture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_replayed_is_said_in_a_line(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "a.tape"
    assert "No such file" in refused(capsys, str(path), "-m", "you")
    path.write_text("hello\n")
    assert "line 1: it is no tape" in refused(capsys, str(path), "-m", "you")
    asyncio.run(record(tmp_path / "b.tape", "Hello."))
    assert "name one with -m" in refused(capsys, str(tmp_path / "b.tape"), "-m", "you")
    assert "no model 'nobody'" in refused(capsys, str(tmp_path / "b.tape"), "-m", "nobody")

"""The doctor tells of a model what works and what does not."""

import pytest

from sidetask.cli.doctor import Finding, examine, line
from sidetask.cli.main import main
from sidetask.core.errors import ModelError
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.testing import ScriptedModel, call, reply, stall

TOKENS = Finished("stop", Usage(requests=1, input_tokens=3, output_tokens=2, usd=0.01))
OSLO, ROME = call("weather", city="Oslo"), call("weather", city="Rome")


async def findings(*script: object) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    model = ScriptedModel(*script, delta=4)  # pyright: ignore[reportArgumentType] - replies
    await examine(model, lambda finding: found.setdefault(finding.name, finding))  # pyright: ignore
    return found


async def test_a_healthy_model_passes_all_five() -> None:
    found = await findings(
        "one two three", OSLO, reply(OSLO, ROME), "a long story", reply("hello", TOKENS)
    )
    assert [each.works for each in found.values()] == [True] * 5
    assert found["tool"].told == 'weather {"city": "Oslo"}'
    assert found["usage"].told == "3 tokens in, 2 out, 0.010000 US dollars"


async def test_what_does_not_work_is_said_in_a_line_each() -> None:
    found = await findings("", "no tools here", OSLO, ModelError("overloaded"), "hello")
    assert [each.works for each in found.values()] == [False] * 5
    assert found["stream"].told == "it said nothing"
    assert found["tool"].told == "one call was asked for, and 0 came"
    assert found["parallel tools"].told == "two calls at once were asked for, and 1 came"
    assert found["cancel"].told == "overloaded"
    assert "does not tell its tokens" in found["usage"].told
    assert line(found["stream"]) == "✗ stream          it said nothing"


async def test_a_model_that_says_nothing_at_all_has_a_time_limit() -> None:
    found = await findings(stall(), OSLO, reply(OSLO, ROME), "story", reply("hello", TOKENS))
    assert found["stream"].told == "nothing within 60 s"
    assert found["usage"].works


def test_you_cannot_be_examined(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "-m", "you"])
    assert ended.value.code == 2
    assert "name a model with -m" in capsys.readouterr().err

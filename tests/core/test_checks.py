"""What a host gives is checked where it is given, whatever type it has."""

from collections.abc import Callable
from typing import Any

import pytest

from sidetask import Agent, Limits, Runtime, TaskPolicy, detach_after
from sidetask.core.budget import Budget
from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import check_count, check_positive, check_seconds
from sidetask.testing import ScriptedModel

NO_NUMBERS = ("5", None, True, [5], 1j, float("nan"))


@pytest.mark.parametrize("given", [*NO_NUMBERS, -1, -0.5])
def test_a_time_is_a_number_above_0_or_from_0_on(given: object) -> None:
    check_seconds("a wait", 0.5)
    check_seconds("a wait", float("inf"))
    check_seconds("a wait", 0, or_zero=True)
    for or_zero in (True, False):
        with pytest.raises(ConfigurationError, match="a wait is seconds"):
            check_seconds("a wait", given, or_zero=or_zero)
    with pytest.raises(ConfigurationError, match="a wait is seconds > 0, not 0"):
        check_seconds("a wait", 0)


@pytest.mark.parametrize("given", [*NO_NUMBERS, 1, 2.0])
def test_a_count_is_a_whole_number_from_the_least_on(given: object) -> None:
    check_count("a cap", 2, least=2)
    with pytest.raises(ConfigurationError, match="a cap is at least 2, not"):
        check_count("a cap", given, least=2)


@pytest.mark.parametrize("given", [*NO_NUMBERS, 0, -1])
def test_a_limit_is_a_number_above_0(given: object) -> None:
    check_positive("a limit", 0.01)
    with pytest.raises(ConfigurationError, match="a limit is above 0, not"):
        check_positive("a limit", given)


MODEL = ScriptedModel("Hi.")
ANY: Any = "5"
WRONG: dict[str, Callable[[], object]] = {
    "detach_after is seconds >= 0, not '5'": lambda: detach_after(ANY),
    "timeout is seconds > 0, not '5'": lambda: TaskPolicy(timeout=ANY),
    "cap is at least 1, not '5'": lambda: TaskPolicy(cap=ANY),
    "step is at least 1, not '5'": lambda: Limits(step=ANY),
    "usd is above 0, not '5'": lambda: Budget(usd=ANY),
    "max_steps is at least 1, not '5'": lambda: Agent(MODEL, max_steps=ANY),
    "settings is of type Mapping, not '5'": lambda: Agent(MODEL, settings=ANY),
    "instructions is of type str, not b'5'": lambda: Agent(MODEL, instructions=b"5"),  # pyright: ignore[reportArgumentType] - the point of it
    "a model is the name of one, or has": lambda: Agent(None),  # pyright: ignore[reportArgumentType] - the point of it
    "limits is of type Limits, not '5'": lambda: Runtime(limits=ANY),
    "redact is a function, not '5'": lambda: Runtime(redact=ANY),
    "max_auto_turns is at least 0, not -1": lambda: Runtime(max_auto_turns=-1),
    "max_depth is at least 0, not -1": lambda: Runtime(max_depth=-1),
    "an agent is registered itself, not by name: '5'": lambda: Runtime(agents=[ANY]),
}


@pytest.mark.parametrize("says", WRONG)
def test_who_gives_the_wrong_type_hears_what_it_should_be(says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        WRONG[says]()


@pytest.mark.parametrize("given", [{"user": 3}, {"user": ""}, {"conversation_id": 3}])
async def test_a_name_that_no_store_could_keep_is_refused_by_each(given: dict[str, Any]) -> None:
    agent = Agent(ScriptedModel("Hi."))
    async with Runtime() as runtime:
        with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
            await runtime.open(agent, **given)
        async with runtime.open(agent) as chat:
            assert str(await chat.ask("Hello.")) == "Hi."

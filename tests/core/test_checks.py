"""What a host gives is checked where it is given, whatever type it has."""

from collections.abc import Callable
from typing import Any

import pytest

from sidetask import Agent, Limits, Runtime, TaskPolicy, detach_after
from sidetask.core.budget import Budget
from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import (
    check_count,
    check_like,
    check_list,
    check_positive,
    check_seconds,
)
from sidetask.orchestration import BackgroundAgentDispatcher
from sidetask.server import Doorkeeper, sse
from sidetask.stores.opening import open_store
from sidetask.testing import ScriptedModel, VirtualClock
from sidetask.worker import Worker

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


def test_what_behaves_like_one_is_one_and_a_class_of_them_is_none() -> None:
    check_like("clock", VirtualClock(), "Clock", has="now")
    for given in (3, VirtualClock):
        with pytest.raises(ConfigurationError, match="clock is of type Clock, not"):
            check_like("clock", given, "Clock", has="now")


@pytest.mark.parametrize("given", [3, None, "names", b"names"])
def test_a_list_can_be_gone_through_and_is_no_text(given: object) -> None:
    check_list("names", [])
    check_list("names", iter(()))
    with pytest.raises(ConfigurationError, match="names are given in a list, not as"):
        check_list("names", given)


async def an_app(*_: object) -> None: ...


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
    "an agent is of type Agent, not b'5'": lambda: Runtime(agents=[b"5"]),  # pyright: ignore[reportArgumentType] - the point of it
    "agents are given in a list, not as '5'": lambda: Runtime(agents=ANY),
    "tools are given in a list, not as '5'": lambda: Runtime(tools=ANY),
    "hooks are given in a list, not as '5'": lambda: Runtime(hooks=ANY),
    "models is of type Mapping, not '5'": lambda: Runtime(models=ANY),
    "models: 'mine' is of type Model, not '5'": lambda: Runtime(models={"mine": ANY}),
    "engine is of type Engine, not 5": lambda: Runtime(engine=5),  # pyright: ignore[reportArgumentType] - as above
    "clock is of type Clock, not '5'": lambda: Runtime(clock=ANY),
    "clock is of type Clock, not 0": lambda: Runtime(clock=0),  # pyright: ignore[reportArgumentType] - as above
    "routing is a function, not '5'": lambda: Runtime(routing=ANY),
    "quota is of type Quota, not '5'": lambda: Runtime(quota=ANY),
    "quota is of type Quota, not 0": lambda: Runtime(quota=0),  # pyright: ignore[reportArgumentType] - as above
    "policy is of type Policy, not '5'": lambda: Runtime(policy=ANY),
    "store_content is of type bool, not '5'": lambda: Runtime(store_content=ANY),
    "the URL of a store is of type str, not 5": lambda: open_store(5),  # pyright: ignore[reportArgumentType] - as above
    "triggers are given in a list, not as '5'": lambda: Runtime().open("a", triggers=ANY),
    "triggers are given in a list, not as 5": lambda: Runtime().resume("c", triggers=5),  # pyright: ignore[reportArgumentType] - as above
    "conversation is of type AgentHandle, not '5'": lambda: BackgroundAgentDispatcher(
        1, conversation=ANY
    ),
    "runtime is of type Runtime, not '5'": lambda: Worker(ANY),
    "app is a function, not '5'": lambda: Doorkeeper(ANY),
    "token is of type str, not 5": lambda: Doorkeeper(an_app, token=5),  # pyright: ignore[reportArgumentType] - as above
    "hosts are given in a list, not as '5'": lambda: Doorkeeper(an_app, hosts="5"),
    "each of hosts is of type str, not 5": lambda: Doorkeeper(an_app, hosts=[5]),  # pyright: ignore[reportArgumentType] - as above
    "each of origins is of type str, not 5": lambda: Doorkeeper(an_app, origins=[5]),  # pyright: ignore[reportArgumentType] - as above
    "chat is of type AgentHandle or tuple, not '5'": lambda: sse(ANY),
    "the first of chat is of type Runtime, not '5'": lambda: sse((ANY, "c")),
    "ping is of type int or float, not '5'": lambda: sse((Runtime(), "c"), ping=ANY),
    "retry is of type int or float, not '5'": lambda: sse((Runtime(), "c"), retry=ANY),
    "last_event_id is of type str, not 5": lambda: sse((Runtime(), "c"), 5),  # pyright: ignore[reportArgumentType] - as above
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

"""Resolvers that ask a model."""

import pytest

from sidetask.core.budget import Meter, ambient_meter
from sidetask.core.errors import ModelUnavailableError
from sidetask.orchestration.resolvers import Resolver
from sidetask.state.state import State
from sidetask.testing import ScriptedModel, VirtualClock, fails, running_runtime


async def test_a_model_is_asked_with_the_prompt_and_its_words_are_the_value() -> None:
    state, model = State(), ScriptedModel("It is fine.")
    state.set("file", "main.py")
    resolver = Resolver.llm("verdict", model, "Review {file}.")
    assert await resolver(state) == "It is fine."
    told = state.provenance("verdict:result")
    assert told is not None
    assert (told.source, told.resolver) == ("llm", "verdict")
    assert "Review main.py." in str(model.requests[0].messages)
    assert model.requests[0].tools == ()


async def test_what_a_model_is_asked_is_spent_where_it_was_asked() -> None:
    meter = Meter()
    before = ambient_meter.set(meter)
    try:
        await Resolver.llm("verdict", ScriptedModel("Fine."), "Review.")(State())
    finally:
        ambient_meter.reset(before)
    assert meter.steps == 1


async def test_a_model_that_could_not_be_reached_is_asked_again(clock: VirtualClock) -> None:
    model = ScriptedModel(fails(error=ModelUnavailableError("down")), "Fine.")
    assert await Resolver.llm("verdict", model, "Review.", retries=1)(State()) == "Fine."
    assert 0 < clock.time() < 5


async def test_a_model_that_is_named_is_one_of_the_runtime_that_asks() -> None:
    model = ScriptedModel("Fine.")
    async with running_runtime(models={"fast": model}) as runtime:
        resolver = Resolver.llm("verdict", "fast", "Review.")
        state = State()
        assert await resolver(state, tasks=runtime) == "Fine."
    assert len(model.requests) == 1


async def test_a_prompt_without_its_values_asks_no_model() -> None:
    model = ScriptedModel()
    with pytest.raises(ValueError, match="file"):
        await Resolver.llm("verdict", model, "Review {file}.")(State())
    assert len(model.requests) == 0

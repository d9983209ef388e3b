"""A runtime whose conversations are in a database."""

from collections.abc import Callable

import pytest

from sidetask import Agent
from sidetask.core.events import EventKind
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store
from sidetask.testing import ScriptedModel, running_runtime
from tests.stores.conftest import DATABASES

pytestmark = pytest.mark.parametrize("url", DATABASES, indirect=True)


async def test_a_conversation_is_there_when_its_runtime_is_gone(
    url: str, opened: Callable[[], Store]
) -> None:
    async with (
        running_runtime(store=url) as runtime,
        runtime.open(Agent(ScriptedModel("Hello.")), conversation_id="mine") as chat,
    ):
        await chat.ask("hi")
    store = opened()
    history = await store.history(ConversationId("mine"))
    assert [type(message).__name__ for message in history] == ["UserMessage", "AssistantMessage"]
    facts = await store.facts(ConversationId("mine"))
    assert [fact.seq for fact in facts] == list(range(1, len(facts) + 1))
    assert facts[-1].kind is EventKind.RUN_COMPLETED


async def test_conversations_without_a_name_of_two_runtimes_are_two(url: str) -> None:
    ids: set[str] = set()
    for _ in range(2):
        async with (
            running_runtime(store=url) as runtime,
            runtime.open(Agent(ScriptedModel("Hello."))) as chat,
        ):
            await chat.ask("hi")
            ids.add(chat.conversation_id)
    assert len(ids) == 2

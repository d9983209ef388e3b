"""Opening a model by its name.

An adapter is imported when one of its models is opened: importing this costs nothing.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Protocol

from sidetask.agents.agent import AgentConfig
from sidetask.core.errors import ConfigurationError, MissingExtraError, UnknownModelError
from sidetask.core.errors.checks import check_kind, check_like
from sidetask.models.base import Model
from sidetask.runtime.models.local import SERVERS

EXTRAS: Mapping[str, str] = {
    "openai": "openai",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "google-cloud": "google",
    "azure": "openai",
    "deepseek": "openai",
    "litellm": "openai",
    "openrouter": "openai",
} | dict.fromkeys(SERVERS, "openai")
"""Provider -> the extra that installs it. pydantic-ai knows more, with extras of its own."""


class OpenedModel(Model, Protocol):
    """A model with connections."""

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        ...


class Models:
    """The models of one runtime: those registered with it, and those it opens by name.

    Agents that name the same model share it and its connections. Those are closed with the
    runtime; a model that was handed in is its owner's to close.
    """

    def __init__(self, registered: Mapping[str, Model] | None = None) -> None:
        self._registered: Mapping[str, Model] = {} if registered is None else registered
        check_kind("models", self._registered, Mapping)
        for name, model in self._registered.items():
            check_like(f"models: {name!r}", model, "Model", has="stream")
        self._opened: dict[str, OpenedModel] = {}

    def open(self, wanted: str | Model) -> Model:
        """As `open_model`, which says what is raised."""
        if not isinstance(wanted, str):
            return wanted
        provider = _provider(wanted, self._registered)
        if provider is None:
            return open_model(wanted, self._registered)
        if wanted not in self._opened:
            self._opened[wanted] = _open_provider(wanted, provider, self._registered)
        return self._opened[wanted]

    def open_for(self, config: AgentConfig) -> tuple[Model, Model | None]:
        """An agent's model, and the one that writes its summaries if that is another."""
        writer = config.compaction and config.compaction.model
        return self.open(config.model), self.open(writer) if writer else None

    async def aclose(self) -> None:
        """Close what was opened by name. Twice is fine; a later `open` opens anew."""
        while self._opened:
            _, model = self._opened.popitem()
            await model.aclose()


def open_model(wanted: str | Model, registered: Mapping[str, Model]) -> Model:
    """Return a model: itself, one registered under the name, `"you"`, or `"provider:model"`.

    Raises:
        UnknownModelError: No model has this name.
        MissingExtraError: The provider is known and not installed.
        MissingKeyError: The provider's key is not in the environment.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted in registered:
        return registered[wanted]
    if wanted == "you":
        from sidetask.models.human import HumanModel  # noqa: PLC0415 - opened by name

        return HumanModel()
    provider = _provider(wanted, registered)
    if provider is None:
        raise _unknown(wanted, registered)
    return _open_provider(wanted, provider, registered)


def _provider(wanted: str, registered: Iterable[str]) -> str | None:
    """The provider that a name speaks of; None: it is no name of that kind."""
    if wanted in registered:
        return None
    provider, _, model = wanted.partition(":")
    return provider if provider and model else None


def _open_provider(wanted: str, provider: str, registered: Iterable[str]) -> OpenedModel:
    try:
        # The adapter is opened by name: here, and nowhere else, pydantic-ai is imported.
        from sidetask.models.pydantic_ai import open_named, openai_compatible  # noqa: PLC0415

        local = SERVERS.get(provider)
        if local is None:
            return open_named(wanted)
        address = os.environ.get(local.variable("BASE_URL")) or local.base_url
        key = os.environ.get(local.variable("API_KEY"))
        model = wanted.removeprefix(f"{provider}:")
        return openai_compatible(model, address, key, dialect=local.dialect, name=wanted)
    except UnknownModelError:
        raise _unknown(wanted, registered) from None
    except ImportError as error:
        if provider in EXTRAS:
            raise MissingExtraError(wanted, EXTRAS[provider]) from None
        if (error.name or "").startswith(("pydantic_ai", "genai_prices")):  # no extra at all
            raise _unknown(wanted, registered) from None
        raise ConfigurationError(f"{wanted}: {error}") from None


def _unknown(wanted: str, registered: Iterable[str]) -> UnknownModelError:
    return UnknownModelError(wanted, ["you", *registered, "openai:…", "anthropic:…", "google:…"])

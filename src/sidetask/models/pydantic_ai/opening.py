"""Finding the model that a name means, and telling in one line what is missing."""

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.models import infer_model
from pydantic_ai.providers import Provider, infer_provider_class

from sidetask.core.errors import ConfigurationError, MissingKeyError, UnknownModelError
from sidetask.core.jsons import Json
from sidetask.models.pydantic_ai.model import PydanticAIModel

VARIABLE = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`")
NO_KEY = "none"
"""Sent to servers that want no key: the vendor's client refuses to be made without one."""


def open_named(name: str) -> PydanticAIModel:
    """The model that `provider:model` means; the key comes from the environment.

    Raises:
        UnknownModelError: There is no such provider.
        MissingKeyError: The provider's key is not in the environment.
        ConfigurationError: Something else that the provider needs is not there.
        ImportError: The provider's own library is not installed.
    """
    provider = name.partition(":")[0]
    try:
        infer_provider_class(provider)
    except ValueError:
        raise UnknownModelError(name) from None
    _refuse_empty_key(name, provider)
    try:
        return PydanticAIModel(partial(infer_model, name), name=name)
    except UserError as error:
        raise _in_one_line(name, str(error)) from None


def openai_compatible(
    model: str,
    base_url: str,
    api_key: str | None = None,
    *,
    dialect: str = "openai-chat",
    name: str | None = None,
    settings: Mapping[str, Json] | None = None,
) -> PydanticAIModel:
    """A model behind any server that speaks OpenAI's Chat Completions.

        openai_compatible("qwen3-32b", "http://127.0.0.1:8080/v1")

    `dialect` is a provider of pydantic-ai whose ways the server has: `ollama`, `vllm`,
    `litellm`, or `openai-responses` for a server that speaks OpenAI's Responses.

    Raises:
        ImportError: OpenAI's library, which speaks that wire, is not installed.
    """

    def provider(named: str) -> Provider[Any]:
        make: Any = infer_provider_class(named)
        return make(base_url=base_url, api_key=api_key or NO_KEY)

    make = partial(infer_model, f"{dialect}:{model}", provider)
    return PydanticAIModel(make, name=name or f"{dialect}:{model}", settings=settings)


def _refuse_empty_key(name: str, provider: str) -> None:
    """A variable that is set to nothing would pass for a key and be refused by the provider."""
    variable = f"{provider.partition('-')[0].upper()}_API_KEY"
    if not os.environ.get(variable, "set").strip():
        raise MissingKeyError(name, variable)


def _in_one_line(name: str, said: str) -> ConfigurationError:
    variable = VARIABLE.search(said)
    if variable is None:
        return ConfigurationError(f"{name}: {said.splitlines()[0]}")
    if variable[1].endswith(("_KEY", "_TOKEN")):
        return MissingKeyError(name, variable[1])
    return ConfigurationError(f"{name} needs to know more: set {variable[1]}")

"""Opening a model by its name.

An adapter is imported when one of its models is opened: importing this costs nothing.
"""

from collections.abc import Iterable, Mapping

from sidetask.core.errors import ConfigurationError, MissingExtraError, UnknownModelError
from sidetask.models.base import Model
from sidetask.models.human import HumanModel
from sidetask.models.local import SERVERS

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
        return HumanModel()
    provider, _, model = wanted.partition(":")
    if not provider or not model:
        raise _unknown(wanted, registered)
    return _open_provider(wanted, provider, registered)


def _open_provider(wanted: str, provider: str, registered: Iterable[str]) -> Model:
    try:
        from sidetask.models.pydantic_ai import open_named  # noqa: PLC0415 - opened by name

        return open_named(wanted)
    except UnknownModelError:
        raise _unknown(wanted, registered) from None
    except ImportError as error:
        if provider in EXTRAS:
            raise MissingExtraError(wanted, EXTRAS[provider]) from None
        if (error.name or "").startswith("pydantic_ai"):
            raise _unknown(wanted, registered) from None
        raise ConfigurationError(f"{wanted}: {error}") from None


def _unknown(wanted: str, registered: Iterable[str]) -> UnknownModelError:
    return UnknownModelError(wanted, ["you", *registered, "openai:…", "anthropic:…", "google:…"])

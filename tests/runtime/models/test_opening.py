"""Opening a model by its name: one line says what is missing."""

import subprocess
import sys

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    MissingExtraError,
    MissingKeyError,
    UnknownModelError,
)
from sidetask.models.human import HumanModel
from sidetask.models.pydantic_ai import PydanticAIModel, openai_compatible
from sidetask.models.scripted import ScriptedModel
from sidetask.runtime.models.opening import Models, open_model
from tests.limits import HANG

VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "DEEPSEEK_API_KEY",
    "OLLAMA_BASE_URL",
    "OLLAMA_API_KEY",
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def opened(name: str) -> PydanticAIModel:
    model = open_model(name, {})
    assert isinstance(model, PydanticAIModel)
    return model


def test_a_model_is_itself_and_a_registered_one_is_found_by_name() -> None:
    model = ScriptedModel()
    assert open_model(model, {}) is model
    assert open_model("openai:mine", {"openai:mine": model}) is model
    assert isinstance(open_model("you", {}), HumanModel)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai:gpt-5.2", "OPENAI_API_KEY"),
        ("openai-chat:gpt-5.2", "OPENAI_API_KEY"),
        ("anthropic:claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("google:gemini-2.5-flash", "GOOGLE_API_KEY"),
        ("deepseek:deepseek-chat", "DEEPSEEK_API_KEY"),
    ],
)
def test_a_missing_key_is_one_line_that_names_it(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingKeyError) as caught:
        open_model(name, {})
    assert str(caught.value) == f"{name} needs an API key: set {variable}"
    monkeypatch.setenv(variable, "k")
    assert opened(name).name == name


def test_a_key_that_is_set_to_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(MissingKeyError):
        open_model("openai:gpt-5.2", {})


@pytest.mark.parametrize("name", ["nonsense", "nonsense:x", "openai:", ":x", ""])
def test_an_unknown_name_says_what_there_is(name: str) -> None:
    with pytest.raises(UnknownModelError, match="there are: you, mine, openai:"):
        open_model(name, {"mine": ScriptedModel()})


def test_a_provider_whose_library_is_not_there_says_how_to_get_it() -> None:
    # Groq's is in no extra of ours, and so not in the development one.
    with pytest.raises(ConfigurationError, match="pydantic-ai-slim"):
        open_model("groq:llama-3.3-70b", {})


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ollama:qwen3", "http://127.0.0.1:11434/v1"),
        ("lmstudio:qwen3", "http://127.0.0.1:1234/v1"),
        ("vllm:qwen3", "http://127.0.0.1:8000/v1"),
        ("llama-server:qwen3", "http://127.0.0.1:8080/v1"),
    ],
)
def test_a_server_on_this_machine_needs_neither_key_nor_address(name: str, address: str) -> None:
    dialect = name.partition(":")[0]
    known = dialect if dialect in {"ollama", "vllm"} else "openai-chat"
    model = opened(name)
    assert model.name == name
    assert model.quota_key == openai_compatible("qwen3", address, dialect=known).quota_key


def test_a_local_server_may_be_told_to_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    here = opened("ollama:qwen3").quota_key
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://10.0.0.1:11434/v1")
    assert opened("ollama:qwen3").quota_key != here


async def test_agents_that_name_one_model_share_it_until_the_runtime_closes() -> None:
    mine = ScriptedModel()
    models = Models({"mine": mine})
    model = models.open("ollama:qwen3")
    assert models.open("ollama:qwen3") is model
    assert models.open("mine") is mine
    assert models.open(mine) is mine
    assert models.open("you") is not models.open("you")
    await models.aclose()
    await models.aclose()
    assert models.open("ollama:qwen3") is not model


@pytest.mark.parametrize("name", ["nonsense", "nonsense:x"])
def test_an_unknown_name_is_unknown_to_a_runtime_too(name: str) -> None:
    with pytest.raises(UnknownModelError, match="there are: you, mine, openai:"):
        Models({"mine": ScriptedModel()}).open(name)


@pytest.mark.slow
def test_a_missing_extra_is_one_line_that_names_it() -> None:
    wanted = {"openai:gpt-5.2": "openai", "anthropic:x": "anthropic", "ollama:qwen3": "openai"}
    *said, unknown = _without("pydantic_ai", *wanted, "nonsense:x")
    assert said == [str(MissingExtraError(name, extra)) for name, extra in wanted.items()]
    assert unknown.startswith("no model 'nonsense:x'")


@pytest.mark.slow
def test_the_library_of_one_provider_may_be_missing_by_itself() -> None:
    assert _without("anthropic", "anthropic:x") == [
        str(MissingExtraError("anthropic:x", "anthropic"))
    ]


def _without(hidden: str, *names: str) -> list[str]:
    """What opening each name says in a process where the module `hidden` cannot be imported."""
    code = f"""
import sys
sys.modules[{hidden!r}] = None
from sidetask.runtime.models.opening import Models, open_model
for name in {names!r}:
    try:
        open_model(name, {{}})
    except Exception as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=True
    )
    return done.stdout.splitlines()

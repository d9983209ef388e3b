"""Models that are made and not named: a server of one's own, and a provider with settings."""

from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from sidetask import Agent
from sidetask.models.pydantic_ai import PydanticAIModel, openai_compatible


def main() -> None:
    # region make
    mine = openai_compatible("qwen3-32b", "http://127.0.0.1:8080/v1")

    def make() -> AnthropicModel:
        provider = AnthropicProvider(api_key="sk-from-my-vault")
        return AnthropicModel("claude-sonnet-5-5", provider=provider)

    claude = PydanticAIModel(make, settings={"cache": "1h"})
    # endregion make
    # region settings
    agent = Agent(claude, settings={"temperature": 0.2, "max_tokens": 4_000})
    # endregion settings
    print(mine.name, "|", claude.name, "|", claude.context_window)
    print(dict(agent.settings))


if __name__ == "__main__":
    main()

"""Asking once, from a script: the answer comes when all is done, late results included."""

from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call


@tool(route=background())
def count_words(path: str) -> int:
    """Count the words of a file."""
    return len(f"the text of {path}".split())


model = ScriptedModel(
    call("count_words", path="notes.txt"),
    "I am counting.",
    "notes.txt has 4 words.",
)


def main() -> None:
    result = Agent(model, tools=[count_words]).run_sync("How long are my notes?", timeout=60)
    print(result)
    print(result.turns, "turns,", result.usage.requests, "model calls")


if __name__ == "__main__":
    main()

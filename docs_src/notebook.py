"""The synchronous face, for scripts and notebooks: the background goes on between two lines."""

import time

import sidetask
from sidetask import Agent, background, tool
from sidetask.core.messages import AssistantMessage
from sidetask.models.scripted import ScriptedModel, call


@tool(route=background())
def train(epochs: int) -> str:
    """Train the model."""
    time.sleep(0.02 * epochs)
    return f"{epochs} epochs, loss 0.1"


model = ScriptedModel(
    call("train", epochs=2), "Training has begun.", "It is trained: the loss is 0.1."
)


def main() -> None:
    with sidetask.open(Agent(model, tools=[train])) as chat:
        print(chat.ask("Train it."))
        print([task.name for task in chat.tasks()], "at work")
        chat.wait_for_idle(timeout=10)  # or go on in the next cell
        last = chat.history()[-1]
        print(last.text if isinstance(last, AssistantMessage) else last)


if __name__ == "__main__":
    main()

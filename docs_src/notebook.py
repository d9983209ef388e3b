"""The synchronous face, for scripts and notebooks: the background goes on between two lines."""

import time

import sidetask
from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call


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
        for turn in chat.turns(until="idle"):  # or go on in the next cell
            print(turn.text)


if __name__ == "__main__":
    main()

"""A chat that finds no model, at a terminal: one key says whether the demo comes first."""

import tempfile
from pathlib import Path
from typing import Literal

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from sidetask.cli.demo.command import demo
from sidetask.cli.view import render
from sidetask.cli.view.screen import Screen

Wish = Literal["demo", "drive"]

PICTURE = "sidetask-timeline.svg"


def greet(root: Path, why: str) -> None:
    """Ask, and play the demo if it is wanted. Afterwards the chat begins.

    Raises:
        KeyboardInterrupt: Ctrl-C or Ctrl-D: nothing of it is wanted.
    """
    screen = Screen(styled=True)
    screen.show(render.note(f"{why[:1].upper()}{why[1:]}."))
    if ask() == "demo":
        # Nobody asked for a file here: the picture stands where such things may.
        demo(root=root, picture=Path(tempfile.gettempdir()) / PICTURE)
        screen.show(render.note("\nThat was scripted. From here you drive.\n"))


def ask() -> Wish:
    """Wait for one key.

    Raises:
        KeyboardInterrupt: It was Ctrl-C or Ctrl-D.
    """
    keys = KeyBindings()

    def press(event: KeyPressEvent) -> None:
        match event.data.lower():
            case "d" | "\r" | "\n":
                event.app.exit(result="demo")
            case "y":
                event.app.exit(result="drive")
            case "\x03" | "\x04":
                event.app.exit(exception=KeyboardInterrupt)
            case _:
                pass  # another key says nothing

    for key in (Keys.Any, "enter", "c-c", "c-d"):
        keys.add(key)(press)
    prompt: PromptSession[Wish] = PromptSession(
        "d: see the demo first (15 seconds)   y: you drive   [d] ", key_bindings=keys
    )
    return prompt.prompt()

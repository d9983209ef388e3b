"""What the guide of moving in promises: few lines differ. Both files are run as examples."""

import difflib
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs_src" / "move_in"


def lines(name: str) -> list[str]:
    text = (FOLDER / name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()]


def test_moving_in_changes_at_most_five_lines() -> None:
    diff = list(difflib.ndiff(lines("before.py"), lines("after.py")))
    new = [line for line in diff if line.startswith("+ ")]
    old = [line for line in diff if line.startswith("- ")]
    assert 0 < len(new) <= 5
    assert len(old) <= len(new)

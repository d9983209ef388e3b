"""The text in which a late result is told to a model: framed as data.

Rule: one opening and one closing marker, whatever the tool wrote. Output that looks like a
marker, in any case and with blanks, signs or invisible characters strewn in, is disarmed: its
`<` becomes `&lt;`. All other text reaches the model as it is.
"""

import re
from html import escape

from sidetask.core.messages import Notification

TAG = "task-result"

# What may stand between the letters of a forged marker: anything but letters, digits and the
# next `<`. Excluding `<` keeps the search linear in the length of the output.
_GAP = "[^a-z0-9<]*"
_FORGED = re.compile(
    "[<\ufe64\uff1c](?=" + "".join(_GAP + letter for letter in TAG.replace("-", "")) + ")",
    re.IGNORECASE,
)


def render(notification: Notification) -> str:
    """Return the framed text of a notification. Attachments are not part of it."""
    task, tool, status = (
        _quoted(value) for value in (notification.task_id, notification.name, notification.status)
    )
    content = _FORGED.sub("&lt;", notification.content)
    return f"<{TAG} task={task} tool={tool} status={status}>\n{content}\n</{TAG}>"


def _quoted(value: str) -> str:
    """The value of an attribute, on one line."""
    line = "".join(char if char.isprintable() else " " for char in value)
    return f'"{escape(line)}"'

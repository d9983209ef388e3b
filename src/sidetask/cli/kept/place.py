"""Where a chat is kept, and which conversation is gone on with."""

from dataclasses import dataclass
from os import environ

from sidetask.core.errors import SidetaskError

LAST = "last"
"""Names the conversation that was touched last."""


def to_look_into(url: str) -> str:
    """The store's URL again: who only looks makes no database.

    Raises:
        SidetaskError: It is empty, or names a file that is not there.
    """
    if not url:
        raise SidetaskError(
            "no store is named: --store sqlite:///file.db or postgresql://host/database, or"
            " SIDETASK_STORE"
        )
    from sidetask.stores.opening.urls import sqlite_path  # noqa: PLC0415

    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise SidetaskError(f"there is no {path}: nothing was kept there")
    return url


@dataclass(frozen=True, slots=True)
class Place:
    """What `--store` and `--resume` say."""

    store: str | None = None
    """None: in memory, or where SIDETASK_STORE says."""
    resume: str | None = None
    """The id of a conversation, or `last`."""

    @property
    def url(self) -> str | None:
        """Where it is kept; None: it is forgotten at the end."""
        url = self.store or environ.get("SIDETASK_STORE") or "memory:"
        return None if url == "memory:" else url

    async def find(self) -> str | None:
        """The conversation that is gone on with; None: a new one begins.

        Raises:
            SidetaskError: There is no store to find it in, or none is there to go on with.
            ConversationNotFoundError: The store has no such one.
        """
        if self.resume is None:
            return None
        if self.url is None:
            raise SidetaskError("--resume needs --store, or SIDETASK_STORE")
        from sidetask.client import Client  # noqa: PLC0415
        from sidetask.stores.opening.urls import shown  # noqa: PLC0415

        async with Client(to_look_into(self.url)) as client:
            if self.resume != LAST:
                return (await client.conversation(self.resume)).id
            for found in await client.conversations():
                if found.status == "open":
                    return found.id
        raise SidetaskError(f"{shown(self.url)} keeps no conversation to go on with")


NOWHERE = Place()
"""What not saying anything says."""

"""Errors of the stores."""

from sidetask.core.errors.base import SidetaskError


class StoreError(SidetaskError):
    """The store did not do what was asked. Nothing of it was written, unless it says so."""


class StoreUnavailableError(StoreError):
    """The database takes nothing now: full disk, lost connection, locked, read-only.

    The store keeps trying what was handed over before; when it succeeds, work goes on.
    """

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why, instead)
        self.why = why
        self.instead = instead
        """What the caller may do about it."""

    def __str__(self) -> str:
        return f"the store takes nothing now: {self.why}; {self.instead}"


class StoreRefusedError(StoreError):
    """The database refuses what this process writes of a conversation, and always will.

    What happens in it is no longer stored. Other conversations go on.
    """

    def __init__(self, conversation_id: str, why: str) -> None:
        super().__init__(conversation_id, why)
        self.conversation_id = conversation_id
        self.why = why

    def __str__(self) -> str:
        return f"conversation {self.conversation_id} can be stored no more: {self.why}"


class ConversationTakenError(StoreRefusedError):
    """Another process has taken the conversation up: it goes on there, and not here.

    What was begun here and had not ended is that one's to end; nothing more of it is stored here.
    """

    def __init__(self, conversation_id: str, why: str = "another process has gone on with it"):
        super().__init__(conversation_id, why)

    def __str__(self) -> str:
        return (
            f"conversation {self.conversation_id} is not open here any more: {self.why}. Ask it"
            " there, or resume it here"
        )


class StoreVersionError(StoreError):
    """The database was written by a newer sidetask."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(found, known)
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"the database has version {self.found} and this sidetask knows {self.known}: "
            "upgrade sidetask, or open another database; nothing was changed"
        )


class StoreCorruptError(StoreError):
    """What the database holds cannot be read: not a database, or a damaged row."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where = where
        self.why = why

    def __str__(self) -> str:
        return f"{self.where} cannot be read: {self.why}; restore it from a backup, or delete it"


class StoreClosedError(StoreError):
    """The store is closed."""

    def __str__(self) -> str:
        return "the store is closed: open another one with open_store(...)"

"""`sidetask store vacuum`, `delete`, `erase`: what a store forgets, and when."""

from typing import Annotated

from cyclopts import App, Parameter

from sidetask.cli.kept.commands import UNSAID, StoreUrl, flag

Yes = Annotated[bool, flag("Do not ask back.", "--yes", "-y")]
OlderThan = Annotated[
    str, Parameter(help="For how long nobody has touched it: 30d, 12h, 2w, 1d12h.")
]
DryRun = Annotated[bool, flag("Only tell what would be forgotten.")]
KeepConversations = Annotated[bool, flag("Forget old events and records, no conversation.")]

app = App(name="store", help="Let a store forget.")


@app.command
def vacuum(
    *,
    older_than: OlderThan,
    store: StoreUrl = UNSAID,
    dry_run: DryRun = False,
    keep_conversations: KeepConversations = False,
    yes: Yes = False,
) -> int:
    """Forget what is old: conversations that nobody has touched and in which nothing is open, and
    of the others old events and closed records. What resuming them needs stays."""
    from sidetask.cli.kept import forgetting  # noqa: PLC0415

    wanted = forgetting.Vacuum(store, older_than, dry_run, keep_conversations, yes)
    return forgetting.vacuum(wanted)


@app.command
def delete(conversation: str, /, *, store: StoreUrl = UNSAID, yes: Yes = False) -> int:
    """Forget all of a conversation. End it first where it is open.

    Parameters
    ----------
    conversation
        Its id, as `sidetask conversations` lists it.
    """
    from sidetask.cli.kept import forgetting  # noqa: PLC0415

    return forgetting.delete(store, conversation, yes=yes)


@app.command
def erase(*, user: str, store: StoreUrl = UNSAID, yes: Yes = False) -> int:
    """Forget a user: all their conversations, and their state.

    Parameters
    ----------
    user
        As the conversations were opened for them.
    """
    from sidetask.cli.kept import forgetting  # noqa: PLC0415

    return forgetting.erase(store, user, yes=yes)

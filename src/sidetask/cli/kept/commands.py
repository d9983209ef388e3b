"""`sidetask conversations`, `tasks`, `why`, `approvals`, ...: the other side of a store.

The process that has the conversations may run or not. No code of an agent is loaded.
"""

from typing import Annotated

from cyclopts import Parameter


def flag(help: str, *names: str) -> Parameter:
    """An option that takes no value, and is off where it is not given."""
    return Parameter(names or None, negative="", show_default=False, help=help)


StoreUrl = Annotated[
    str,
    Parameter(
        env_var="SIDETASK_STORE",
        show_default=False,
        help="Where they are kept: sqlite:///file.db, postgresql://host/database. Else"
        " SIDETASK_STORE.",
    ),
]
UNSAID = ""
"""Where nothing is said: SIDETASK_STORE has been looked at, and names none."""
User = Annotated[str | None, Parameter(help="Of this user alone.")]
Of = Annotated[str | None, Parameter(["--conversation", "-c"], help="Of this conversation alone.")]
All = Annotated[bool, flag("Those that are over, too.", "--all", "-a")]
AsJson = Annotated[bool, flag("Print one a line, as JSON.", "--json")]
OneAsJson = Annotated[bool, flag("Print it as JSON.", "--json")]
OnlyParked = Annotated[
    bool, flag("Those alone that have killed the workers that tried them.", "--parked")
]
By = Annotated[str | None, Parameter(help="Who decides. Else your name on this machine.")]


def conversations(*, store: StoreUrl = UNSAID, user: User = None, json: AsJson = False) -> int:
    """List the conversations that a store keeps, the last touched first."""
    from sidetask.cli.kept import showing  # noqa: PLC0415

    return showing.list_conversations(showing.Wanted(store, user=user, as_json=json))


def tasks(
    *,
    store: StoreUrl = UNSAID,
    conversation: Of = None,
    user: User = None,
    all: All = False,
    parked: OnlyParked = False,
    json: AsJson = False,
) -> int:
    """List the background tasks that a store keeps, by creation: what each is, and where."""
    from sidetask.cli.kept import operating, showing  # noqa: PLC0415

    wanted = showing.Wanted(store, conversation, user, all, json)
    return operating.list_parked(wanted) if parked else operating.list_tasks(wanted)


def why(task: str, /, *, store: StoreUrl = UNSAID, json: OneAsJson = False) -> int:
    """Say what a task waits for: a worker, a person, a cap, a result, nothing.

    Parameters
    ----------
    task
        Its id, as `sidetask tasks` lists it.
    """
    from sidetask.cli.kept import operating  # noqa: PLC0415

    return operating.why(store, task, as_json=json)


def retry(task: str, /, *, store: StoreUrl = UNSAID) -> int:
    """Let workers try a parked task again. What has killed them should be gone.

    Parameters
    ----------
    task
        Its id, as `sidetask tasks --parked` lists it.
    """
    from sidetask.cli.kept import operating  # noqa: PLC0415

    return operating.retry(store, task)


def workers(*, store: StoreUrl = UNSAID, json: AsJson = False) -> int:
    """List the workers that live, and what they have to do."""
    from sidetask.cli.kept import operating  # noqa: PLC0415

    return operating.list_workers(store, as_json=json)


def approvals(
    *,
    store: StoreUrl = UNSAID,
    conversation: Of = None,
    user: User = None,
    all: All = False,
    json: AsJson = False,
) -> int:
    """List what waits for a person's decision, oldest first."""
    from sidetask.cli.kept import showing  # noqa: PLC0415

    return showing.list_approvals(showing.Wanted(store, conversation, user, all, json))


def approve(
    approval: str, /, *, store: StoreUrl = UNSAID, by: By = None, note: str | None = None
) -> int:
    """Say yes to an open question. Who has its conversation open goes on, or a worker opens it.

    Parameters
    ----------
    approval
        Its id, as `sidetask approvals` lists it.
    note
        What is kept with the decision.
    """
    from sidetask.cli.kept import showing  # noqa: PLC0415

    return showing.approve(store, approval, by, note)


def deny(approval: str, /, *reason: str, store: StoreUrl = UNSAID, by: By = None) -> int:
    """Say no to an open question. The model is told the reason.

    Parameters
    ----------
    approval
        Its id, as `sidetask approvals` lists it.
    reason
        Why not.
    """
    from sidetask.cli.kept import showing  # noqa: PLC0415

    return showing.deny(store, approval, by, " ".join(reason) or None)


def cancel(task: str, /, *reason: str, store: StoreUrl = UNSAID, by: By = None) -> int:
    """Ask for the end of a task. Who has its conversation open stops it, or a worker opens it.

    Parameters
    ----------
    task
        Its id, as `sidetask tasks` lists it.
    reason
        What the model is told.
    """
    from sidetask.cli.kept import showing  # noqa: PLC0415

    return showing.cancel(store, task, by, " ".join(reason))


LOOKING = (conversations, tasks, approvals, why, workers)
STEERING = (approve, deny, cancel, retry)

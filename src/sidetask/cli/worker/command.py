"""`sidetask worker`: carries out background calls of conversations that are open elsewhere."""

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

AppName = Annotated[
    str,
    Parameter(
        help="Whose tools are run, as module:attribute: a Runtime with its agents registered, or a"
        " function that makes one. The working directory is looked in first."
    ),
]
StoreUrl = Annotated[
    str | None,
    Parameter(
        help="The Postgres that the conversations are kept in: postgresql://host/database. Else"
        " what the app says, or SIDETASK_STORE."
    ),
]
Concurrency = Annotated[
    int, Parameter(["--concurrency", "-n"], help="Calls that are carried out at once.")
]
Conversations = Annotated[
    int,
    Parameter(
        help="Conversations with something to do and no living home that are carried on here at"
        " once; 0: none."
    ),
]
Grace = Annotated[
    float, Parameter(help="Seconds that running calls get to end, when it is to stop.")
]
HealthPort = Annotated[
    int | None,
    Parameter(
        help="Answer /healthz, /readyz and /metrics (Prometheus) at this port; 0: any that is free."
        " Else it answers nothing."
    ),
]
Host = Annotated[str, Parameter(help="Where it answers. Beyond the loopback a token is needed.")]
Token = Annotated[
    str | None,
    Parameter(
        env_var="SIDETASK_WORKER_TOKEN",
        help="What who asks has to bring, as `Authorization: Bearer ...`. Better said by"
        " SIDETASK_WORKER_TOKEN than here, where other users of the machine can read it.",
    ),
]


def worker(  # noqa: PLR0913 - the options of a command
    *,
    app: AppName,
    store: StoreUrl = None,
    concurrency: Concurrency = 20,
    conversations: Conversations = 100,
    grace: Grace = 30.0,
    health_port: HealthPort = None,
    host: Host = "127.0.0.1",
    token: Token = None,
) -> int:
    """Carry out background calls of conversations that other processes have open.

    Whoever has a conversation open puts its background calls into the store as soon as a worker
    lives that knows the agent and its tool by name. Policies, approvals, progress and results stay
    with the conversation; what runs here is the tool alone. When a worker is killed, others go on
    with its calls: finished steps are not repeated, and a tool that is not declared idempotent is
    not run twice.

    A conversation that has something to do and is open nowhere - something was said by a Client, or
    its process was killed - is taken up here, carried on until it is idle, and let go again.

    Start as many as you like, on as many machines. One of the release before works beside one of
    this: each call goes to the one that has its tool as it was called.

    SIGTERM or Ctrl-C: it takes no more calls, those that run get their grace, and the rest is
    handed back to the others. Twice: at once; a third time: as it is. The exit code is 0 then; 1 if
    the database is not there, or its connection was lost, and it stopped because others may have
    taken its calls: start it again; 2 if it could not begin at any time.
    """
    from sidetask.cli.worker import serving  # noqa: PLC0415 - `--help` is quick

    wanted = serving.Wanted(
        app=app,
        store=store,
        concurrency=concurrency,
        conversations=conversations,
        grace=grace,
        health_port=health_port,
        host=host,
        token=token,
    )
    return asyncio.run(serving.serve(wanted, Path.cwd()))

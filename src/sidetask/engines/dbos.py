"""DBOS Transact as an engine: a job is a workflow, and its finished steps are DBOS's.

* One generic workflow carries out every job, so the application's version is a constant: a task
  is a registered name with JSON arguments, and what the name means is found one floor up.
* A job is awaited where it was submitted: no queue, no poll, and cancelling it is cancelling its
  asyncio task. DBOS takes up nothing by itself after a crash, for every process is an executor of
  its own: which tasks run again is known one floor up, and a job that does reads the steps of all
  workflows of its task.
* DBOS is one for the whole process. A second engine is refused, and so is one beside a DBOS of
  the application: that one is handed in (`existing=`), and stays the application's.
* SQLite as DBOS opens it waits for the disk at every commit, and asks SQLite for functions that
  older ones lack: it gets connections that are prepared here.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4
from weakref import WeakSet

import dbos._dbos as dbos_inside
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from dbos._context import (
    WorkflowStartOptions,
    _set_local_dbos_context,  # pyright: ignore[reportPrivateUsage] - there is no public way out
    _workflow_start_options_var,  # pyright: ignore[reportPrivateUsage]
)
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine
from sqlalchemy.event import listen

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.errors.checks import check_count, check_kind
from sidetask.core.ids import TaskId
from sidetask.core.jsons import Json
from sidetask.engines.base import (
    Body,
    Capabilities,
    Context,
    Ended,
    JobSpec,
    JournalingEngine,
    StepJournal,
)

APPLICATION_VERSION = "1"
"""Changes only when a stored workflow could not go on with this code."""
SCHEMA = "sidetask_dbos"
"""Where DBOS keeps its tables in Postgres."""
STOPPING = 0.5
"""Seconds that jobs get to stop before their database is closed."""

_NAME = "sidetask.job"
_OVER = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_KILLED = 7 * 86_400.0  # seconds; no job of a turn that still runs is older
_AT_ONCE = 500  # workflows that are deleted in one transaction
_WITHOUT_SUBSEC = sqlite3.sqlite_version_info < (3, 42)


class DbosEngine(JournalingEngine, StepJournal):
    """Runs each job as a workflow of DBOS, in this process."""

    capabilities = Capabilities(durable=True, distributed=False)

    def __init__(
        self, url: str | None = None, *, existing: DBOS | None = None, threads: int = 16
    ) -> None:
        """`url`: `sqlite:///file.db` or `postgresql://...`; `existing`: the DBOS that the
        application runs already. `threads`: of DBOS, for its database.

        Raises:
            ConfigurationError: Neither or both of them; or DBOS runs in this process already.
        """
        if (url is None) == (existing is None):
            raise ConfigurationError("DbosEngine takes the URL of a database, or existing=DBOS")
        if existing is None and _is_taken():
            raise ConfigurationError(
                "DBOS runs in this process already, and there is one of it: share the runtime, or "
                "hand the application's own in: DbosEngine(existing=dbos)"
            )
        if url is not None:
            check_kind("the URL of a database", url, str)
        if existing is not None:
            check_kind("existing", existing, DBOS)
        check_count("threads", threads)
        super().__init__(self)
        self._url = url
        self._owns = existing is None
        self._threads = threads
        self._carry_out: Body | None = None
        self._opening: asyncio.Lock | None = None
        self._is_open = not self._owns
        self._connections: SqlEngine | None = None
        self._life = uuid4().hex[:12]
        self._left: dict[str, Mapping[str, Json]] = {}
        self._executors: dict[asyncio.AbstractEventLoop, Executor | None] = {}
        if self._owns:
            _taken.add(self)

    def start(self, body: Body, ended: Ended) -> None:
        self._carry_out = body
        super().start(self._as_workflow, ended)

    async def open(self) -> None:
        """Connect, and bring DBOS's tables up to date. The first job would, too."""
        loop = asyncio.get_running_loop()
        if loop not in self._executors:
            self._executors[loop] = getattr(loop, "_default_executor", None)
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._is_open:
                await _in_a_thread(self._launch)
                self._is_open = True

    async def close(self) -> None:
        await super().close()
        tasks = {job.task for job in self.jobs.values() if job.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=STOPPING)
        if self._owns and self in _taken:
            _taken.remove(self)
            if self._is_open:
                await _in_a_thread(self._destroy)
        self._is_open = False
        loop = asyncio.get_running_loop()
        if loop in self._executors:  # DBOS has put its own in its place
            before = self._executors.pop(loop) or ThreadPoolExecutor()
            loop.set_default_executor(cast("ThreadPoolExecutor", before))

    async def vacuum(self, older_than: float, living: Collection[TaskId]) -> None:
        if not self._is_open:
            return
        old = await _old_workflows(older_than)
        gone = [
            each
            for each in old
            if each not in _bodies and each.partition("@")[0].rpartition(":")[0] not in living
        ]
        for start in range(0, len(gone), _AT_ONCE):
            await DBOS.delete_workflows_async(gone[start : start + _AT_ONCE])

    # -- jobs -------------------------------------------------------------------------------------

    async def _as_workflow(self, spec: JobSpec, job: Context) -> None:
        carry_out = self._carry_out
        assert carry_out is not None
        _step_out()
        if not spec.journal:
            return await carry_out(spec, job)
        await self.open()
        workflow_id = f"{spec.id}@{self._life}"
        if spec.replays:
            self._left[spec.id] = await _steps_of(_family(spec), but=workflow_id)
        _bodies[workflow_id] = lambda: carry_out(spec, job)
        try:
            with SetWorkflowID(workflow_id):
                await _job(workflow_id)
        except asyncio.CancelledError:
            if self._is_open:
                _forget(workflow_id)
            raise
        except Exception:  # the one boundary: work that outlasts its engine has nowhere to write
            if self._is_open:
                raise
        finally:
            self._left.pop(spec.id, None)
            _bodies.pop(workflow_id, None)
        return None

    # -- the journal of steps ---------------------------------------------------------------------

    async def read(self, spec: JobSpec, key: str) -> tuple[Json] | None:
        left = self._left.get(spec.id, {})
        return (left[key],) if key in left else None

    async def write(self, spec: JobSpec, key: str, value: object) -> Json:
        try:
            kept = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"a step returns a JSON value, for it is kept; {key.rpartition('#')[0]!r}: {error}"
            ) from None
        return await DBOS.run_step_async({"name": key}, _same, kept)

    # -- in a thread ------------------------------------------------------------------------------

    def _launch(self) -> None:
        assert self._url is not None
        config: DBOSConfig = {
            "name": "sidetask",
            "application_version": APPLICATION_VERSION,
            "executor_id": f"sidetask-{self._life}",
            "serializer": JsonSerializer(),
            "max_executor_threads": self._threads,
            "log_level": "ERROR",
        }
        if self._url.startswith("sqlite"):
            self._connections = config["system_database_engine"] = sqlite_engine(self._url)
        else:
            config["system_database_url"] = self._url
            config["dbos_system_schema"] = SCHEMA
        DBOS(config=config)
        DBOS.launch()

    def _destroy(self) -> None:
        DBOS.destroy()
        if self._connections is not None:  # DBOS closes those alone that it has made
            self._connections.dispose()


_taken: WeakSet[DbosEngine] = WeakSet()
"""The engine that has the DBOS of this process."""
_bodies: dict[str, Callable[[], Any]] = {}
"""What the workflows that run here carry out."""


@DBOS.workflow(name=_NAME, max_recovery_attempts=None)
async def _job(workflow_id: str) -> None:
    """The one workflow. Where DBOS takes one up by itself there is nothing to do: see above."""
    body = _bodies.get(workflow_id)
    if body is not None:
        await body()


async def _old_workflows(older_than: float) -> list[str]:
    """Our own that have ended before then; and those that began long before and did not: their
    process was killed, and they are never taken up."""
    before = datetime.fromtimestamp(older_than, UTC).isoformat()
    began = datetime.fromtimestamp(older_than - _KILLED, UTC).isoformat()
    ended = await _list(status=list(_OVER), completed_before=before)
    return ended + await _list(status="PENDING", end_time=began)


async def _list(**narrowed: Any) -> list[str]:
    found = await DBOS.list_workflows_async(
        name=_NAME, load_input=False, load_output=False, **narrowed
    )
    return [each.workflow_id for each in found]


async def _same(value: Json) -> Json:
    return value


def _is_taken() -> bool:
    return bool(_taken) or getattr(dbos_inside, "_dbos_global_instance", None) is not None


def _step_out() -> None:
    """Leave the workflow or step that a job was submitted in, which may be the application's: DBOS
    would enter the job among its steps, which have an order, or refuse it, and bind it to its
    deadline."""
    _set_local_dbos_context(None)
    _workflow_start_options_var.set(WorkflowStartOptions())


def _family(spec: JobSpec) -> str:
    """What the ids of all attempts of a task begin with."""
    return spec.id.removesuffix(str(spec.attempt))


async def _steps_of(family: str, *, but: str) -> Mapping[str, Json]:
    """What the finished steps of a task returned, in all its attempts."""
    found: dict[str, Json] = {}
    for workflow in await DBOS.list_workflows_async(workflow_id_prefix=family, load_input=False):
        attempt = workflow.workflow_id.removeprefix(family).partition("@")[0]
        if workflow.workflow_id == but or not attempt.isdigit():
            continue
        for step in await DBOS.list_workflow_steps_async(workflow.workflow_id):
            if step["error"] is None:
                found.setdefault(step["function_name"], step["output"])
    return found


def _forget(workflow_id: str) -> None:
    """Let DBOS know that a workflow was cancelled; nobody waits for that."""
    told = asyncio.get_running_loop().run_in_executor(None, DBOS.cancel_workflow, workflow_id)
    told.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _in_a_thread(work: Callable[[], object]) -> None:
    """A thread of its own: the loop's others are DBOS's, or are waited for by it."""
    with ThreadPoolExecutor(1, thread_name_prefix="sidetask-dbos") as thread:
        await asyncio.get_running_loop().run_in_executor(thread, work)


class JsonSerializer(Serializer):
    """What is stored is JSON, which every release and every language can read."""

    def name(self) -> str:
        return "sidetask_json"

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=_told)

    def deserialize(cls, serialized_data: str) -> Any:  # noqa: N805 # pyright: ignore[reportSelfClsParameterName] - as DBOS has it
        return json.loads(serialized_data)


def _told(value: object) -> Json:
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")


# -- SQLite ---------------------------------------------------------------------------------------


def sqlite_engine(url: str) -> SqlEngine:
    """Connections to a SQLite file as durable work wants them."""
    engine = create_engine(url)
    listen(engine, "connect", _prepare)
    return engine


def _prepare(made: sqlite3.Connection, _: object) -> None:
    made.isolation_level = "IMMEDIATE"
    made.execute("PRAGMA busy_timeout = 30000")
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("PRAGMA synchronous = NORMAL")
    made.execute("PRAGMA foreign_keys = ON")
    # What DBOS counts milliseconds with: whole seconds on Python 3.11, where its rate limiter is
    # off by up to one; and on 3.12 a word that SQLite knows from 3.42 on.
    made.create_function("strftime", 2, _seconds)
    if _WITHOUT_SUBSEC:
        made.create_function("unixepoch", 1, _subsec)


def _seconds(form: str, when: str) -> float:
    """Seconds since the epoch in eighths: times 1,000 they are whole numbers."""
    if (form, when) != ("%s", "now"):
        raise ValueError(
            f"strftime({form!r}, {when!r}) is not what DBOS asked for when this was made"
        )
    return int(time.time() * 8) / 8


def _subsec(_: str) -> float:
    return _seconds("%s", "now")

"""What becomes of a job, as the table of `stores.queue` says: decided here, for every queue.

Each function gives the job that stands after what is done to it, or None: it is not to be done,
and nothing changes.
"""

from dataclasses import replace

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.routing import OnCrash
from sidetask.stores.bounds import check_name
from sidetask.stores.queue import LOST, OWNED, NewJob, StoredJob


def claimed(job: StoredJob, owner: str, at: float) -> StoredJob | None:
    """A queued job is somebody's."""
    if job.status != "queued":
        return None
    return replace(job, status="running", owner=owner, claims=job.claims + 1, claimed_at=at)


def finished(job: StoredJob, owner: str, result: JsonObject, at: float) -> StoredJob | None:
    """Its owner says how it ended."""
    if not _has(owner, job):
        return None
    return replace(job, status="ended", result=result, ended_at=at)


def handed_back(job: StoredJob, owner: str, at: float) -> StoredJob | None:
    """Its owner has let go of it."""
    if not _has(owner, job):
        return None
    return _cancelled(job, at) if job.status == "cancelling" else _queued(job, job.claims - 1)


def noted(job: StoredJob, owner: str, progress: JsonObject) -> StoredJob | None:
    """Its owner says how far it is."""
    return replace(job, progress=progress) if _has(owner, job) else None


def cancelled(job: StoredJob, reason: str, at: float) -> StoredJob | None:
    """Somebody does not want it any more."""
    match job.status:
        case "queued" | "parked":
            return replace(_cancelled(job, at), error=reason)
        case "running":
            return replace(job, status="cancelling", error=reason)
        case _:
            return None


def parked(job: StoredJob, owner: str, error: str, at: float) -> StoredJob | None:
    """Its owner puts it aside."""
    if not _has(owner, job):
        return None
    if job.status == "cancelling":
        return _cancelled(job, at)
    return replace(job, status="parked", error=error)


def retried(job: StoredJob) -> StoredJob | None:
    """Somebody wants a parked one done."""
    return replace(_queued(job, 0), error=None) if job.status == "parked" else None


def reaped(job: StoredJob, owner: str, max_claims: int, at: float) -> StoredJob | None:
    """Its owner is dead."""
    if not _has(owner, job):
        return None
    if job.status == "cancelling":
        return _cancelled(job, at)
    if job.on_crash != "retry":
        return replace(job, status="ended", result=LOST, ended_at=at)
    if job.claims >= max_claims:
        why = f"claimed {job.claims} times by workers that died"
        return replace(job, status="parked", error=why)
    return _queued(job, job.claims)


def _has(owner: str, job: StoredJob) -> bool:
    return job.status in OWNED and job.owner == owner


def _queued(job: StoredJob, claims: int) -> StoredJob:
    return replace(job, status="queued", owner=None, claims=claims, claimed_at=None, progress=None)


def _cancelled(job: StoredJob, at: float) -> StoredJob:
    return replace(job, status="cancelled", ended_at=at)


# -- what is kept -------------------------------------------------------------------------------


@value
class _Kept:
    data: JsonObject


def json_of(data: JsonObject) -> dict[str, Json]:
    """A copy of what is given to a job, as it is kept.

    Raises:
        CodecError: It is not JSON.
    """
    # For who has workers: every program has this module.
    from sidetask.core.codec import value_to_json  # noqa: PLC0415

    return value_to_json(_Kept, _Kept(data))


def object_of(kept: JsonObject) -> JsonObject:
    """What `json_of` was given.

    Raises:
        CodecError: This was not written by it.
    """
    from sidetask.core.codec import value_from_json  # noqa: PLC0415

    return value_from_json(_Kept, kept).data


def stored_job(job: NewJob) -> StoredJob:
    """A job as it stands first; its data is a copy.

    Raises:
        InvalidInputError: Some database could not keep it, or nobody could reap it.
        CodecError: Its data is not JSON.
    """
    for what in ("id", "conversation_id", "task_id", "key", "fingerprint"):
        check_name(f"the {what} of a job", getattr(job, what))
    if job.on_crash not in set(OnCrash):
        raise InvalidInputError(f"the on_crash of a job is one of {', '.join(OnCrash)}")
    return StoredJob(
        id=job.id,
        conversation_id=job.conversation_id,
        task_id=job.task_id,
        key=job.key,
        fingerprint=job.fingerprint,
        on_crash=str(job.on_crash),
        at=job.at,
        data=object_of(json_of(job.data)),
    )

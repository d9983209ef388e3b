"""What a worker has done and is doing, as numbers, and in the text that Prometheus reads."""

from dataclasses import dataclass, field

ENDS = ("succeeded", "failed", "cancelled", "timed_out", "denied", "asked", "handed_back", "lost")
"""What becomes of a job here. `asked`: its tool wants an approval first; `lost`: it was somebody
else's when it ended."""


@dataclass(slots=True)
class Counters:
    """Since the worker began. All are changed in its event loop alone."""

    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    claims: int = 0
    """Jobs that were taken from the queue."""
    reaped: int = 0
    """Jobs of members that had died, and were taken from them by this one."""
    parked: int = 0
    """Jobs that nobody shall run again before a person has looked."""
    adopted: int = 0
    """Conversations that were taken up, since nobody had them open."""
    unopened: int = 0
    """Of these, those that could not be opened."""
    busy: float = 0.0
    """Seconds that ended jobs took, waiting for a person included."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """How it is now."""

    ready: bool
    running: int
    waiting: int
    """Jobs whose tool waits for a person, and which take no room meanwhile."""
    concurrency: int
    conversations: int = 0
    """That are open here, since nobody else had them open."""


def as_text(counted: Counters, now: Gauges, worker: str, queued: int | None) -> str:
    """In the text format of Prometheus, version 0.0.4. `queued`: None, if it is not known."""
    lines: list[str] = []

    def tell(name: str, kind: str, what: str, *samples: tuple[str, float]) -> None:
        lines.append(f"# HELP sidetask_{name} {what}")
        lines.append(f"# TYPE sidetask_{name} {kind}")
        for labels, value in samples:
            lines.append(f"sidetask_{name}{labels} {value!r}")

    name = worker.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    tell("worker_info", "gauge", "Always 1; names the worker.", (f'{{worker="{name}"}}', 1))
    ends = [(f'{{end="{end}"}}', count) for end, count in counted.ends.items()]
    tell("worker_jobs_total", "counter", "Jobs that are over here, by their end.", *ends)
    tell("worker_claims_total", "counter", "Jobs taken from the queue.", ("", counted.claims))
    tell("worker_reaped_total", "counter", "Jobs taken from dead members.", ("", counted.reaped))
    tell("worker_parked_total", "counter", "Jobs set aside for a person.", ("", counted.parked))
    tell("worker_busy_seconds_total", "counter", "Seconds that jobs took.", ("", counted.busy))
    tell("worker_adopted_total", "counter", "Conversations taken up.", ("", counted.adopted))
    tell("worker_unopened_total", "counter", "Of these, not opened.", ("", counted.unopened))
    tell("worker_conversations", "gauge", "Conversations open here.", ("", now.conversations))
    tell("worker_running", "gauge", "Jobs at work now.", ("", now.running))
    tell("worker_waiting", "gauge", "Jobs that wait for a person.", ("", now.waiting))
    tell("worker_concurrency", "gauge", "Jobs that may be at work at once.", ("", now.concurrency))
    if queued is not None:
        tell("worker_queued", "gauge", "Jobs in the queue that it could take.", ("", queued))
    tell("worker_ready", "gauge", "1: it takes jobs.", ("", int(now.ready)))
    return "\n".join(lines) + "\n"

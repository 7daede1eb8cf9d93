"""The queue for those who run it: what waits, who works, how fast it goes, what was given up.

`retry(job)` queues a dead, failed or stuck job again, under a new attempt; False: there is no such job,
it is over otherwise, or it waits. `drop(job)` ends one that waits or runs as failed (TAKEN_OUT) and
takes a dead one from the list: neither is queued again.
"""

from dataclasses import dataclass

WINDOW_MINUTES = 15.0  # over which the rate is measured
MOST_DEAD = 100  # that are listed
TAKEN_OUT = "taken out by the operator"  # why a job ended by `drop`: it is listed no more


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumQueue:
    """Count one medium's jobs, those done a minute over WINDOW_MINUTES."""

    medium: str
    queued: int
    running: int
    oldest_seconds: float
    done_per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """Describe a worker as it announced itself; `state` is starting, ready, draining or unfit, for
    `reason`. `queues` are the bases it serves, empty for all; `seen_seconds` is how long ago it gave a
    sign of life."""

    name: str
    medium: str
    host: str
    pid: int
    state: str
    slots: int
    running: int
    seen_seconds: float = 0.0
    version: str = ""
    queues: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJob:
    """Describe a job that was given up, or failed: no text, no asker. `state` is dead or failed."""

    job: str
    medium: str
    expert: str
    state: str
    attempt: int
    seconds_ago: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Hold the newest that were given up (`dead`) or `failed` within the window, MOST_DEAD together;
    `unserved` are queues with jobs that no worker can take, with what to do."""

    kind: str
    media: tuple[MediumQueue, ...]
    workers: tuple[WorkerSeen, ...]
    dead: tuple[DeadJob, ...]
    failed: tuple[DeadJob, ...] = ()
    unserved: tuple[str, ...] = ()

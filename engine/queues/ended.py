"""Final events that a queue gives a job itself, no worker having said them."""

from engine.errors import APOLOGY, KIND_SENTENCE
from engine.events import Cancelled, Failed
from engine.plan.job import Job
from engine.queues.fair_queue import QueuedJob


def cancelled(entry: QueuedJob) -> Cancelled:
    """With what was written so far."""
    return Cancelled(job=entry.job.id, attempt=entry.job.attempt, text=entry.text)


def failed(job: Job, reason: str) -> Failed:
    """`reason` is for the operator."""
    return Failed(job=job.id, attempt=job.attempt, message=KIND_SENTENCE, reason=reason)


def dead(job: Job, deaths: int) -> Failed:
    """It has killed its worker so often while nothing else ran there."""
    return Failed(
        job=job.id,
        attempt=job.attempt,
        message=APOLOGY,
        reason=f"its worker died {deaths} times while it ran alone",
        dead=True,
    )

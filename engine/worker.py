"""One process for one medium: takes jobs from the queue's owner, generates, posts events.

It knows no ledger and no asker. When the owner's connection closes it leaves at once, for the owner
that comes next starts its own.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from engine.backends import Backend
from engine.backends.choice import build_backend
from engine.errors import KIND_SENTENCE, PasticheError
from engine.events import Failed, Text, is_final
from engine.jobs import Job
from engine.logs import start_logs
from engine.registry import load_registry
from engine.settings import Settings, read_settings
from engine.supervisor import UNFIT
from engine.wire import Hello, Link, Ready, Run, Stop, Unfit, connect

EVENT_SECONDS = 0.1  # the text so far is posted this often, not at every token

log = logging.getLogger(__name__)


async def work(settings: Settings, medium: str) -> int:
    """Serve until the owner goes; returns the exit code."""
    link = await connect(str(settings.socket))
    await link.send(Hello(medium=medium, pid=os.getpid()))
    registry = load_registry(settings.expert_roots, settings.profile)
    backend = build_backend(settings, registry, medium)
    try:
        await backend.load()
    except PasticheError as error:
        log.exception("the worker cannot start")
        await link.send(Unfit(reason=str(error)))
        await link.close()
        return UNFIT
    await link.send(Ready(slots=backend.slots))
    stops: dict[str, threading.Event] = {}
    tasks: set[asyncio.Task[None]] = set()
    async for message in link.messages():
        match message:
            case Run(job=job):
                stops[job.id] = threading.Event()
                task = asyncio.create_task(_run(job, backend, link, stops))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            case Stop(job=job_id) if job_id in stops:
                stops[job_id].set()
            case _:
                pass
    return 0


async def _run(job: Job, backend: Backend, link: Link, stops: dict[str, threading.Event]) -> None:
    """Generate one job and post its events; whatever goes wrong, it ends in one final event."""
    posted = 0.0
    try:
        async for event in backend.generate(job, stops[job.id]):
            now = time.monotonic()
            if isinstance(event, Text) and now - posted < EVENT_SECONDS:
                continue
            posted = now
            await link.send(event)
            if is_final(event):
                return
        raise RuntimeError("the backend ended without a final event")
    except Exception as error:
        log.exception("a job failed", extra={"job": job.id, "expert": job.expert})
        reason = str(error) if isinstance(error, PasticheError) else type(error).__name__
        link.post(Failed(job=job.id, attempt=job.attempt, message=KIND_SENTENCE, reason=reason))
    finally:
        del stops[job.id]


def main() -> None:
    """`python -m engine.worker`: what the supervisor starts."""
    parser = argparse.ArgumentParser(prog="python -m engine.worker", description=__doc__)
    parser.add_argument("--medium", default="text", choices=("text", "image"))
    parser.add_argument("--home", type=Path, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = read_settings(home=options.home)
    start_logs(settings.home, f"worker-{options.medium}", settings.log_level)
    code = asyncio.run(work(settings, options.medium))
    sys.stdout.flush()
    os._exit(code)  # a model thread in the middle of a step would hold the exit up


if __name__ == "__main__":
    main()

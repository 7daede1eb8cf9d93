"""One process for one medium: takes jobs from the queue's owner, generates, posts events.

It knows no ledger and no asker. When the owner's connection closes it leaves at once, for the owner
that comes next starts its own. What it posts holds nothing that a screen would obey.
"""

import argparse
import asyncio
import logging
import os
import sys
import threading
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from engine.backends import Backend
from engine.backends.factory import build_backend
from engine.characters import visible
from engine.core_dumps import forbid_core_dumps
from engine.errors import KIND_SENTENCE, PasticheError
from engine.events import Cancelled, Event, Failed, Finished, Text, is_final
from engine.lock import owners_socket
from engine.monitor.logs import start_logs
from engine.plan.cards import Registry, load_registry
from engine.plan.job import Job
from engine.settings import Settings, read_settings
from engine.shutdown import Signals, end, finish, run, spawn
from engine.workers.fingerprint import fingerprint_of
from engine.workers.protocol import (
    REFUSAL,
    Hello,
    Link,
    Message,
    Refused,
    Run,
    Serving,
    Stop,
    connect,
)
from engine.workers.supervisor import REFUSED, UNFIT

EVENT_SECONDS = 0.1  # the text so far is posted this often, not at every token

Stops = dict[tuple[str, int], threading.Event]  # by job and attempt: an old one may still wind down

log = logging.getLogger("engine.workers.worker")  # also when it is run as a program


async def work(settings: Settings, medium: str, socket: Path | None = None) -> int:
    """Serve until the owner, on `socket` or its own, goes or a signal comes; gives the exit code."""
    registry = load_registry(settings.expert_roots, settings.profile, learns=True)
    link = await connect(str(socket or owners_socket(settings.home) or settings.socket))
    fingerprint = fingerprint_of(registry, settings).told(medium)
    await link.send(Hello(medium=medium, pid=os.getpid(), fingerprint=fingerprint))
    leave = asyncio.Event()
    serving = asyncio.create_task(_serve(link, settings, registry, medium))
    leaving = asyncio.create_task(leave.wait())
    with Signals(0) as signals:
        signals.call(leave.set)
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await end(leaving)
        await link.close()
        try:
            return serving.result()
        except ConnectionError:
            return 0  # the owner has gone
    await link.send(Serving())
    await link.close()
    return 0


async def _serve(link: Link, settings: Settings, registry: Registry, medium: str) -> int:
    """Load, then run what comes; an owner that goes meanwhile is noticed at once."""
    from engine.monitor.metrics import counting

    async with counting(settings, build_backend(settings, registry, medium), medium) as backend:
        hearing = asyncio.create_task(link.receive())
        loading = asyncio.create_task(backend.load())
        await asyncio.wait({hearing, loading}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():  # a refusal comes before it serves, or the owner's end
            return await _work_off(hearing, link, backend)
        try:
            loading.result()
        except PasticheError as error:
            log.exception("the worker cannot start")
            await link.send(Serving(reason=str(error)))
            await link.close()
            return UNFIT
        await link.send(Serving(slots=backend.slots))
        log.info("the worker is ready", extra={"medium": medium, "slots": backend.slots})
        return await _work_off(hearing, link, backend)


async def _work_off(hearing: "asyncio.Task[Message | None]", link: Link, backend: Backend) -> int:
    stops: Stops = {}
    tasks: set[asyncio.Task[None]] = set()
    message = await hearing
    while message is not None:
        match message:
            case Run(job=job):
                stops[job.id, job.attempt] = threading.Event()
                spawn(tasks, _run(job, backend, link, stops))
            case Stop(job=name):
                for (job_id, _attempt), stop in stops.items():
                    if job_id == name:
                        stop.set()
            case Refused(error=kind, message=why):
                log.error("the worker is refused", extra={"why": why})
                sys.stderr.write(f"{why}\n")
                return REFUSED if kind == REFUSAL else 1
        message = await link.receive()
    for stop in stops.values():
        stop.set()
    return 0


async def _run(job: Job, backend: Backend, link: Link, stops: Stops) -> None:
    """Generate one job and post its events; whatever goes wrong, it ends in one final event."""
    posted = 0.0
    try:
        async with aclosing(backend.generate(job, stops[job.id, job.attempt])) as events:
            async for event in events:
                now = time.monotonic()
                if isinstance(event, Text) and now - posted < EVENT_SECONDS:
                    continue
                posted = now
                await link.send(_visible(event))
                if is_final(event):
                    return
        raise RuntimeError("the backend ended without a final event")
    except Exception as error:
        log.exception("a job failed", extra={"job": job.id, "expert": job.expert})
        reason = str(error) if isinstance(error, PasticheError) else type(error).__name__
        failed = Failed(job=job.id, attempt=job.attempt, message=KIND_SENTENCE, reason=reason)
        link.post(_visible(failed))
    finally:
        del stops[job.id, job.attempt]


def _visible(event: Event) -> Event:
    match event:
        case Finished(text=text, notes=notes):
            return replace(event, text=visible(text), notes=tuple(map(visible, notes)))
        case Text(text=text) | Cancelled(text=text):
            return replace(event, text=visible(text))
        case Failed(message=message, reason=reason):
            return replace(event, message=visible(message), reason=visible(reason))
        case _:
            return event


def run_worker(settings: Settings, medium: str, socket: Path | None = None) -> NoReturn:
    """Serve, then end this process at once: a model's thread in mid-step would hold an exit up."""
    finish(run(work(settings, medium, socket)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engine.workers.worker", description=__doc__)
    parser.add_argument("--medium", default="text", choices=("text", "image"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--socket", type=Path)
    options = parser.parse_args()
    forbid_core_dumps()
    settings = read_settings(home=options.home)
    log_name = f"worker-{options.medium}"
    start_logs(settings.home, log_name, settings.log_level, settings.log_to)
    run_worker(settings, options.medium, options.socket)


if __name__ == "__main__":
    main()

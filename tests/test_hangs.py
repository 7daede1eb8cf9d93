"""A worker that hangs amid a job is ended, and its jobs are run once more, then given up."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from queueing import Asked

from engine.errors import APOLOGY
from engine.events import Failed, Finished, Text
from engine.process.bootstrap import open_engine


def frozen() -> int:
    """Stop the one text worker of this process, as a model that never comes back would."""
    ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in ours}
    (pid,) = (pid for pid, line in lines.items() if b"engine.workers.worker" in line)
    os.kill(pid, signal.SIGSTOP)
    return pid


async def progress(asked: Asked, attempt: int) -> None:
    async with asyncio.timeout(30):
        while not any(isinstance(e, Text) and e.attempt == attempt for e in asked.events):
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.databases("sqlite", "postgres")
async def test_a_worker_that_hangs_amid_a_job_is_ended_and_its_jobs_are_run_once_more(
    settings, make_request
) -> None:
    quick = settings.model_copy(update={"stuck_after": 2.0})
    async with open_engine(quick) as engine:
        one = Asked(engine, make_request("::slow:: b c d"))
        await progress(one, 1)
        pid = frozen()
        final = await one.end()
        assert isinstance(final, Finished) and final.attempt == 2
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
async def test_a_job_with_which_a_worker_hangs_again_is_given_up(settings, make_request) -> None:
    quick = settings.model_copy(update={"stuck_after": 2.0})
    async with open_engine(quick) as engine:
        one = Asked(engine, make_request("::slow:: b c d"))
        for attempt in (1, 2):
            await progress(one, attempt)
            frozen()
        final = await one.end()
        assert isinstance(final, Failed) and final.dead and final.message == APOLOGY
        assert isinstance(await Asked(engine, make_request("After.")).end(), Finished)

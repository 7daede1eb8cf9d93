"""`pastiche status`, as an operator reads and uses it, on either database."""

import io
import json
from contextlib import aclosing

import pytest
from following import events_of
from program import pastiche
from queueing import asking
from rich.console import Console

from bot.cli.status import show
from engine.engine import LocalEngine
from engine.events import Failed
from engine.ledger.ledger import new_id
from engine.overview import DeadJob, MediumQueue, Overview, WorkerSeen
from engine.plan.router import route
from engine.queues.embedded import EmbeddedQueue

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
async def died(ledger, registry, make_request):
    """Accepts a job and lets it die."""
    engine = LocalEngine(registry, ledger, EmbeddedQueue(ledger, max_waiting=9), max_length=1200)

    async def die() -> str:
        request = make_request("canary 4711")
        chosen = route("story", request.text, None, registry)
        job = engine.plan(request, new_id()).job
        await ledger.accept(request, chosen, job)
        reason = "its worker died 3 times while it ran alone"
        await ledger.finish(Failed(job=job.id, attempt=1, message="", reason=reason, dead=True))
        return job.id

    return die


async def test_a_dead_job_is_shown_without_its_words_and_answered_after_all(ledger, died) -> None:
    job = await died()
    shown = pastiche("status", COLUMNS="100")
    assert shown.returncode == 1, "a job is dead"
    assert job.encode() in shown.stdout
    assert b"died 3 times" in shown.stdout
    assert b"canary" not in shown.stdout + shown.stderr
    assert pastiche("status", "retry", job).stdout.decode() == f"{job} is queued again.\n"
    told = json.loads(pastiche("status", "--json").stdout)
    assert told["dead"] == []
    assert [m["queued"] for m in told["media"] if m["medium"] == "text"] == [1]
    refused = pastiche("status", "retry", job)
    assert (refused.returncode, b"cannot be queued again" in refused.stderr) == (2, True)


async def test_what_cannot_be_undone_wants_a_yes(ledger, died) -> None:
    jobs = [await died() for _ in range(2)]
    refused = pastiche("status", "drop", jobs[0])
    assert (refused.returncode, b"--yes" in refused.stderr) == (2, True)
    assert pastiche("status", "drop", jobs[0], "--yes").returncode == 0
    told = json.loads(pastiche("status", "--json").stdout)
    assert [d["job"] for d in told["dead"] + told["failed"]] == [jobs[1]]
    refused = pastiche("status", "retry", jobs[0])
    assert (refused.returncode, b"cannot be queued again" in refused.stderr) == (2, True)
    assert b"is queued again" in pastiche("status", "retry", jobs[1]).stdout


@pytest.mark.databases("postgres")
async def test_where_nobody_works_it_says_one_thing(
    settings, registry, ledger, make_request
) -> None:
    assert b"Start one: pastiche worker" in pastiche("status", COLUMNS="100").stdout
    async with asking(settings, registry, ledger) as core:
        async with aclosing(events_of(core, make_request())) as events:
            await anext(events)
        shown = pastiche("status", COLUMNS="100").stdout
    assert b"1 waiting. Start a worker" in shown
    assert b"starts with the next request" not in shown


@pytest.mark.databases("sqlite")
def test_before_anything_was_asked_it_says_so_and_makes_nothing(settings) -> None:
    done = pastiche("status")
    assert (done.returncode, b"There is no ledger yet" in done.stderr) == (1, True)
    assert not settings.ledger_file.exists()


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("width", [72, 120])
def test_a_busy_fleet_can_be_read_on_a_terminal(settings, width: int) -> None:
    overview = Overview(
        kind="postgresql",
        media=(
            MediumQueue(
                medium="text", queued=1200, running=64, oldest_seconds=95.0, done_per_minute=410.2
            ),
            MediumQueue(
                medium="image", queued=3, running=1, oldest_seconds=7300, done_per_minute=2
            ),
        ),
        workers=(
            WorkerSeen(
                name="w", medium="text", host="gpu-1", pid=77, state="ready", slots=64, running=64,
                queues=("gemma-2-2b",),
            ),
            WorkerSeen(
                name="w2", medium="image", host="gpu-2", pid=78, state="unfit", slots=0, running=0,
                seen_seconds=120, reason="It has other weights: restart it.",
            ),
        ),
        dead=(
            DeadJob(
                job="01ARZ3NDEKTSV4RRFFQ69G5FAV", medium="image", expert="jewel", state="dead",
                attempt=4, seconds_ago=3700, reason="its worker died 3 times while it ran alone",
            ),
        ),
        unserved=("2 jobs wait for sdxl, and no worker serves it: pastiche worker --media image",),
    )  # fmt: skip
    out = io.StringIO()
    show(overview, Console(file=out, width=width))
    text = out.getvalue()
    print(text)
    assert all(len(line) <= width for line in text.splitlines())
    for words in ("1200", "64/64", "gpu-1:77", "2 min ago", "restart it", "no worker serves it",
                  "01ARZ3NDEKTSV4RRFFQ69G5FAV", "1 h ago"):  # fmt: skip
        assert words in text

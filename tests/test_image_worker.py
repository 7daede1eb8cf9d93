"""Pictures through the whole line: request, queue, a worker's process, the record; and little memory."""

import io
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from program import events, pastiche
from tiny_loras import lora_on, save_diffusers, write_image_card
from tiny_sdxl import make_base, make_pipeline

from engine.events import Finished
from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database
from engine.settings import Settings

CARD = 'prompt = "a photo of TOK, {request}"\ntoken = "TOK"\n'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny-worker")
    make_base(root / "base")
    save_diffusers(lora_on(make_pipeline(), 1), root / "moss")
    return root


@pytest.mark.slow
async def test_a_request_for_pictures_ends_as_files_in_the_record(tiny, settings: Settings) -> None:
    root = settings.home / "experts"
    card = write_image_card(root, "jewel", tiny / "base", tiny / "moss", drawing=CARD) / "card.toml"
    card.write_text(card.read_text().replace("profiles.embedded", "profiles.tiny"))
    asked = "/jewel a tok ring --seed 5 --size 72x64 --count 2 --negative hands --scale 0.8"
    environment = {
        "PASTICHE_BACKEND": "model",
        "PASTICHE_PROFILE": "tiny",
        "PASTICHE_THREADS": "1",
    }
    done = pastiche("ask", "--json", asked, timeout=180, **environment)
    assert done.returncode == 0, done.stderr
    told = events(done.stdout)
    kinds = [event["kind"] for event in told]
    assert kinds[0] == "queued" and kinds[-1] == "finished"
    assert any(event["kind"] == "image" and event["preview"] for event in told)
    final = told[-1]
    assert final["base_digest"].startswith("sha256:") and final["adapter_digest"].startswith(
        "sha256:"
    )
    with sqlite3.connect(settings.ledger_file) as connection:
        rows = connection.execute(
            "select expert, state, finished_at > started_at from jobs"
        ).fetchall()
    assert rows == [("jewel", "finished", 1)]
    ledger = Ledger(await open_database(settings), settings.media)
    try:
        recorded = await ledger.final(final["job"])
    finally:
        await ledger.close()
    assert isinstance(recorded, Finished)
    pictures = recorded.pictures
    assert [picture.seed for picture in pictures] == [5, 6]
    for picture in pictures:
        with Image.open(io.BytesIO(picture.data)) as opened:
            assert (opened.format, opened.size) == ("PNG", (72, 64))


LITTLE = """
import asyncio, resource, sys, threading
from pathlib import Path
sys.path.insert(0, "tests")
from test_images import a_job
from engine.backends.images import ImageBackend
from engine.plan.cards import Registry
from engine.settings import Settings

home, edge, spares = Path(sys.argv[1]), int(sys.argv[2]), map(int, sys.argv[3:])
backend = ImageBackend(Settings(home=home, threads=1), Registry.load([home / "experts"], "embedded"))

async def draw(edge):
    async for event in backend.generate(a_job(width=edge, height=edge, steps=1), threading.Event()):
        pass
    return event

async def main():
    await draw(64)
    for spare in spares:
        sizes = Path("/proc/self/statm").read_text().split()
        limit = int(sizes[0]) * resource.getpagesize() + (spare << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        final = await draw(edge)
        print(final.kind, getattr(final, "message", ""), backend._scheduler._loaded().low)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory by Linux's means")
def test_what_little_memory_cannot_hold_is_tried_sparingly_then_told(tiny, tmp_path) -> None:
    # from 80 to 195 MiB the sparing way alone has room
    spares = {2000: r"finished +False", 130: r"finished +True", 40: r"failed .*--size 512.* True"}
    write_image_card(tmp_path / "experts", "bare", tiny / "base")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LITTLE, str(tmp_path), "1024", *map(str, spares)],
        capture_output=True,
        text=True,
        timeout=180,
        # one arena: another thread's reserves 64 MiB of what is limited, now and then; and what is freed
        # goes back at once, or the first picture leaves the second some tens of MiB more in some runs
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 17)},
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(spares), done.stdout + done.stderr
    for line, told in zip(lines, spares.values(), strict=True):
        assert re.search(told, line), done.stdout + done.stderr

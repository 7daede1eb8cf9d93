"""The embedded experts: load, first token, tokens a second, with one thread and with two."""

import asyncio
import threading
from pathlib import Path

from engine.backends.text import TextBackend
from engine.events import Finished, Text
from engine.files import BUILT_IN
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.plan.prompt import assemble
from engine.settings import Settings, default_home
from engine.weights import bases, conversion
from tests.benchmarks.figures import Figure, clock

TEXT = (
    "in the style of lovecraft: They sat alone in the darkened room as rain hammered against the old "
    "windowpanes."
)
LENGTH = 100


def run(folder: Path) -> list[Figure]:
    """One story a setting; the base is prepared first if it is not."""
    home = (
        default_home()
        if bases.present("smollm2-135m-instruct", default_home() / "models")
        else folder
    )
    conversion.prepare("smollm2-135m-instruct", home / "models")
    return [figure for threads in (1, 2) for figure in asyncio.run(_measure(home, threads))]


async def _measure(home: Path, threads: int) -> list[Figure]:
    registry = Registry.load([BUILT_IN], "embedded")
    backend = TextBackend(Settings(home=home, threads=threads), registry)
    with clock() as loading:
        await backend.load()
    expert = registry.named("lovecraft")
    assert expert is not None
    prompt, head = assemble(expert.template.text, TEXT)
    job = Job(
        id="j",
        request="r",
        expert="lovecraft",
        medium="text",
        prompt=prompt,
        head=head,
        length=LENGTH,
        seed=1,
        sampling=expert.sampling,
    )
    final, shown = None, 0
    with clock() as writing:
        async for event in backend.generate(job, threading.Event()):
            shown += isinstance(event, Text)
            final = event
    assert isinstance(final, Finished) and shown > 1
    with_threads = f"{threads} thread{'s' * (threads > 1)}"
    return [
        Figure(
            name=f"load, {with_threads}",
            value=loading.wall,
            unit="s",
            wall_seconds=loading.wall,
            cpu_seconds=loading.cpu,
        ),
        Figure(name=f"first token, {with_threads}", value=final.first_token_seconds, unit="s"),
        Figure(
            name=f"speed, {with_threads}",
            value=final.tokens_out / final.seconds,
            unit="tokens/s",
            wall_seconds=writing.wall,
            cpu_seconds=writing.cpu,
        ),
        Figure(
            name=f"speed by CPU, {with_threads}",
            value=final.tokens_out / writing.cpu,
            unit="tokens/CPU s",
        ),
    ]

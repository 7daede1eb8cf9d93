"""Random pairs of jobs that come together, and each of their jobs alone: what nobody may notice.

The long form is `python -m tests.benchmarks pairs`; the short one tests/test_pairs.py.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from completions_server import text_server
from tiny_models import write_card

from engine.backends import Backend
from engine.backends.text import TextBackend
from engine.backends.text_server.backend import OpenAIBackend
from engine.events import Event, Finished, Text
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.settings import Settings

LLAMA = "llama.cpp"  # a text server, made when it is asked
GREEDY = Sampling(temperature=0.0)
DRAWN = Sampling(
    temperature=0.9, top_p=0.9, top_k=40, min_p=0.01, top_n_sigma=2, xtc_probability=0.5,
    repetition_penalty=1.1, dry_multiplier=0.8,
)  # fmt: skip
WORDS = (
    "rain",
    "wind",
    "house",
    "roof",
    "she",
    "slept",
    "again",
    "came",
    "went",
    "a",
    "of",
    "old",
    "door",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two jobs; the second comes after so many words of the first. `warm`: what was read for others
    before is known still, and `before` has just read the start of their prompts."""

    jobs: tuple[Job, Job]
    gap: int
    warm: bool
    before: Job


def draw_pair(draw: random.Random, number: int, experts: tuple[str, ...]) -> Pair:
    """Plain beside its expert, two experts, or one twice; equal or overlapping prompts."""
    one, other = draw.sample(experts, 2)
    who = draw.choice([((one, False), (one, True)), ((one, False), (other, False)),
                       ((one, False), (one, False)), ((one, True), (other, False))])  # fmt: skip
    start = "Continue.\n\n" + _words(draw, draw.randint(4, 40))
    tails = [_words(draw, draw.randint(1, 12)) for _ in who]
    prompts = [start, start] if draw.random() < 0.5 else [f"{start} {tail}" for tail in tails]
    jobs = [
        Job(
            id=f"{number}-{place}",
            request="r",
            expert=expert,
            medium="text",
            prompt=prompt,
            head=11,
            length=draw.randint(4, 16),
            seed=draw.randint(1, 9),
            sampling=draw.choice([GREEDY, DRAWN]),
            plain=plain,
        )
        for place, ((expert, plain), prompt) in enumerate(zip(who, prompts, strict=True))
    ]
    draw.shuffle(jobs)
    return Pair(
        jobs=(jobs[0], jobs[1]),
        gap=draw.choice([0, 0, 1, 5]),
        warm=draw.random() < 0.5,
        before=replace(jobs[draw.randint(0, 1)], id=f"{number}-before", prompt=start),
    )


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count))


async def answer(
    backend: Backend, job: Job, heard: asyncio.Event | None = None, gap: int = 0
) -> Event:
    """The last event; `heard` is set at its end, or after `gap` words."""
    last, texts = None, 0
    async for last in backend.generate(job, threading.Event()):
        texts += isinstance(last, Text)
        if heard is not None and texts >= gap:
            heard.set()
    if heard is not None:
        heard.set()
    assert isinstance(last, Finished), last
    return last


async def together(backend: Backend, pair: Pair) -> list[Event]:
    """Both, the second as soon as it comes."""
    heard = asyncio.Event()
    first = asyncio.create_task(answer(backend, pair.jobs[0], heard, pair.gap))
    if pair.gap:
        await heard.wait()
    return [*await asyncio.gather(first, answer(backend, pair.jobs[1]))][: len(pair.jobs)]


@dataclass(frozen=True, slots=True)
class Way:
    """Two backends over the same files, one for the pairs, one for each job alone."""

    paired: Backend
    single: Backend
    forget: Callable[[Backend], None]  # nothing that it has read is known any more

    async def differs(self, pair: Pair) -> str:
        """How the pair differs from its jobs alone, or nothing."""
        alone = []
        for job in pair.jobs:
            self.forget(self.single)
            alone.append(_said(await answer(self.single, job)))
        if pair.warm:
            await answer(self.paired, pair.before)
        else:
            self.forget(self.paired)
        beside = [_said(event) for event in await together(self.paired, pair)]
        return "" if beside == alone else f"{pair}\nalone {alone}\nbeside {beside}"


def _said(event: Event) -> tuple[str, int, str]:
    assert isinstance(event, Finished)
    return event.text, event.tokens_out, event.adapter_digest


def in_process(settings: Settings, registry: Registry) -> Way:
    """The mixing engine or PEFT, as the settings say."""

    def forget(backend: Backend) -> None:
        assert isinstance(backend, TextBackend)
        for resident in backend._bases.values():
            resident.mixer.prefixes.forget()

    return Way(TextBackend(settings, registry), TextBackend(settings, registry), forget)


@asynccontextmanager
async def by_server(settings: Settings, registry: Registry) -> AsyncIterator[Way]:
    """Two text servers with llama.cpp's prompt cache, each with the experts' adapters."""
    loras = [
        {"id": number, "path": f"{expert.name}.gguf", "scale": 1.0}
        for number, expert in enumerate(registry.experts)
        if registry.weights(expert).adapter
    ]
    with (
        text_server(models=("base",), loras=loras) as one,
        text_server(models=("base",), loras=loras) as other,
    ):
        made = [
            OpenAIBackend(settings.model_copy(update={"text_server": server.address}), registry)
            for server in (one, other)
        ]
        for backend in made:
            await backend.load()
        servers = dict(zip(made, (one, other), strict=True))
        yield Way(*made, lambda backend: servers[backend].slots.clear())
        for backend in made:
            await backend.close()


def differences(settings: Settings, registry: Registry, pairs: list[Pair]) -> list[str]:
    """Each pair that is not what its jobs are alone; by the text server where there is one."""

    async def found() -> list[str]:
        if settings.text_server == LLAMA:
            async with by_server(settings, registry) as way:
                return [await way.differs(pair) for pair in pairs]
        way = in_process(settings, registry)
        return [await way.differs(pair) for pair in pairs]

    return [told for told in asyncio.run(found()) if told]


def settings_for(home: Path, way: str) -> Settings:
    """Of "mixing fp32", "mixing bf16", "peft", "server"."""
    engine, _, precision = way.partition(" ")
    made = Settings(home=home, backend="echo", key_file=home / "key")
    if engine == "server":
        return made.model_copy(update={"text_server": LLAMA})
    changes = {"text_engine": engine, "precision": precision or "auto", "threads": 1, "slots": 4}
    return made.model_copy(update=changes)


def registry_of(root: Path, base: Path, adapters: dict[str, Path]) -> Registry:
    """Experts of these adapters on one base."""
    for name, adapter in adapters.items():
        write_card(root, name, base, adapter)
    return Registry.load([root], "embedded")

"""Pictures: a LoRA's hot swap against a pipeline built anew, the prompt cache, the embedded base."""

import asyncio
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from engine.backends.diffusion.loras import activate
from engine.backends.diffusion.pipeline import load_resident
from engine.backends.images import ImageBackend
from engine.events import Finished, Image
from engine.files import BUILT_IN
from engine.plan.cards import Registry, Weights
from engine.plan.job import Job
from engine.plan.picture import caption, order
from engine.settings import Settings, default_home
from engine.weights import bases
from tests.benchmarks.figures import Figure, clock, middle

TIMES = 5
JEWEL = "jewel-base"
ASKED = "a gold ring set with a large emerald on a dark blue ground"


def run(folder: Path) -> list[Figure]:
    """By CPU where other programs would spoil the wall's; on the embedded base if it is here."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tiny_loras import lora_on, save_diffusers
    from tiny_sdxl import make_base

    warnings.filterwarnings("ignore")
    settings = Settings(home=folder, threads=1)
    if bases.present(JEWEL, settings.models):
        base, name = bases.SHIPPED[JEWEL], "embedded base"
    else:
        base, name = make_base(folder / "base"), "tiny base of random weights"
    for seed in (1, 2):
        pipeline = load_resident(Weights(base=str(base)), settings).pipeline
        save_diffusers(lora_on(pipeline, seed), folder / f"lora-{seed}")
    figures = [*_swapping(base, folder, settings, name), *_prompts(base, settings, name)]
    if bases.present(JEWEL, settings.models):
        figures += asyncio.run(_drawing())
    return figures


def _swapping(base: Path, folder: Path, settings: Settings, name: str) -> list[Figure]:
    """Seconds from one expert's LoRA to the other's: set_adapters, or a new pipeline and its LoRA."""
    weights = Weights(base=str(base))
    resident = load_resident(weights, settings)
    with clock() as first:
        resident.lora("one", folder / "lora-1")
    resident.lora("two", folder / "lora-2")
    swaps, builds = [], []
    for number in range(TIMES * 4):
        with clock() as taken:
            activate(resident.pipeline, {("one", "two")[number % 2]: 1.0})
        swaps.append(taken.cpu)
    for number in range(TIMES):
        with clock() as taken:
            anew = load_resident(weights, settings)
            anew.lora("one", folder / f"lora-{number % 2 + 1}")
            activate(anew.pipeline, {"one": 1.0})
        builds.append(taken.cpu)
    swap, build = middle(swaps), middle(builds)
    return [
        Figure(name=f"hot swap, {name}", value=1e3 * swap, unit="ms CPU", cpu_seconds=sum(swaps)),
        Figure(name="a LoRA's first load beside it", value=1e3 * first.cpu, unit="ms CPU"),
        Figure(name="pipeline built anew", value=build, unit="CPU s", cpu_seconds=sum(builds)),
        Figure(name="rebuilding against hot swap", value=build / swap, unit="x", against="aim 20x"),
    ]


def _prompts(base: Path, settings: Settings, name: str) -> list[Figure]:
    """Milliseconds to a prompt's embeddings, new and remembered."""
    import torch

    encoder = load_resident(Weights(base=str(base)), settings).encoder
    new, kept = [], []
    with torch.no_grad():
        encoder.encode("warm")
        for number in range(TIMES * 4):
            for times in (new, kept):
                with clock() as taken:
                    encoder.encode(f"{ASKED}, number {number}")
                times.append(taken.cpu)
    return [
        Figure(name=f"prompt encoded, {name}", value=1e3 * middle(new), unit="ms CPU"),
        Figure(name="prompt remembered", value=1e3 * middle(kept), unit="ms CPU"),
    ]


async def _drawing() -> list[Figure]:
    """Seconds a picture as the embedded card draws it, alone and four at a time."""
    registry = Registry.load([BUILT_IN], "embedded")
    expert = registry.named("jewel")
    assert expert is not None
    card = registry.drawing(expert)
    figures = []
    for threads in (1, 2):
        backend = ImageBackend(Settings(home=default_home(), threads=threads), registry)
        await backend.load()
        for count in (1, 4):
            changes: dict[str, Any] = {"count": count}
            prompt = caption(card, ASKED)
            job = Job(
                id="j",
                request="r",
                expert="jewel",
                medium="image",
                prompt=prompt,
                head=len(prompt),
                length=0,
                seed=1,
                sampling=expert.sampling,
                order=order(card, **changes),
            )
            shown, final = 0, None
            with clock() as taken:
                async for event in backend.generate(job, threading.Event()):
                    shown += isinstance(event, Image)
                    final = event
            assert isinstance(final, Finished) and shown
            told = f"{card.size} px, {card.steps} steps, {threads} thread{'s' * (threads > 1)}"
            figures.append(
                Figure(
                    name=f"a picture of {count}, {told}",
                    value=taken.wall / count,
                    unit="s",
                    against="aim 15 s",
                    wall_seconds=taken.wall,
                    cpu_seconds=taken.cpu,
                )
            )
    return figures

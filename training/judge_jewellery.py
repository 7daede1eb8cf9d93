"""A second opinion on generated jewellery: a small classifier that learnt kind, metal, stone, ground.

    python -m training.judge_jewellery learn runs/shop
    python -m training.judge_jewellery judge engine/models/jewel-base --count 200

`learn` trains it on renders and tells its accuracy on renders held out; `judge` draws pictures of
made-up prompts and says how many of each property it finds as asked. Both figures belong together:
a judge that is right nine times in ten cannot find more than nine in ten.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.files import write_json
from training.base_image.vocabulary import GROUNDS, KINDS, METALS, STONES
from training.errors import BadRecipe
from training.run.stage import run_stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from training.base_image.collection import Collection

PROPERTIES = {
    "kind": tuple(KINDS), "metal": tuple(METALS), "stone": tuple(STONES), "ground": tuple(GROUNDS),
}  # fmt: skip
WIDTHS = (24, 48, 96, 160)
SIDE = 128  # pixels that it looks at, whatever the base draws
BATCH = 32
EPOCHS = 10
PEAK = 2e-3
JUDGE = Path("runs/judge/judge.safetensors")
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


def network() -> "nn.Module":
    """Turn (B, 3, 128, 128) in -1..1 into the logits of all properties, one after the other (B, 35)."""
    from torch import nn

    layers: list[nn.Module] = []
    before = 3
    for width in WIDTHS:
        layers += [
            nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        ]  # fmt: skip
        before = width
    out = sum(len(names) for names in PROPERTIES.values())
    pooled = [nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(before * 16, out)]
    return nn.Sequential(*layers, *pooled)


def answers(logits: "Tensor") -> dict[str, "Tensor"]:
    import torch

    sizes = [len(names) for names in PROPERTIES.values()]
    return dict(zip(PROPERTIES, torch.split(logits, sizes, dim=1), strict=True))


def likeliest(logits: "Tensor") -> dict[str, list[str]]:
    return {
        name: [PROPERTIES[name][index] for index in found.argmax(1).tolist()]
        for name, found in answers(logits).items()
    }


def softened(pictures: "Tensor", rng: random.Random) -> "Tensor":
    """Blur a little half the time: what it judges comes out of a small autoencoder."""
    from torch.nn import functional

    if rng.random() < 0.5:
        return pictures
    factor = rng.uniform(0.35, 0.8)
    small = functional.interpolate(pictures, scale_factor=factor, mode="area")
    return functional.interpolate(small, size=pictures.shape[-2:], mode="bilinear")


@app.command()
def learn(
    renders: Annotated[Path, typer.Argument(help="Captioned renders.")],
    out: Annotated[Path, typer.Option(help="The judge's weights.")] = JUDGE,
    epochs: Annotated[int, typer.Option(min=1)] = EPOCHS,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    held_out: Annotated[int, typer.Option(min=1, help="Renders it is examined on.")] = 400,
) -> None:
    """Train the judge, and examine it on renders that it has not seen."""
    import torch
    from torch.nn import functional

    from training.base_image import collection, resumable_loop
    from training.base_image.base_recipe import Pictures

    resumable_loop.threads(threads)
    seen, unseen = collection.load(Pictures(folder=renders, held_out=held_out))
    targets = {
        name: torch.tensor([values.index(facts[name]) for facts in seen.facts])
        for name, values in PROPERTIES.items()
    }
    torch.manual_seed(1)
    judge = network()
    optimiser = torch.optim.AdamW(judge.parameters(), lr=PEAK, weight_decay=0.02)
    steps = epochs * len(seen) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=steps)
    rng = random.Random(1)
    for _ in track(range(steps), "learning"):
        indices, shown = batch_of(seen, rng)
        losses = [
            functional.cross_entropy(found, targets[name][indices], label_smoothing=0.05)
            for name, found in answers(judge(shown)).items()
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    keep(judge.eval(), unseen, out)


def trained(weights: Path) -> "nn.Module":
    """Load the judge. Raises BadRecipe when `weights` are not the judge's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    judge = network().eval()
    try:
        judge.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadRecipe(
            f"{weights} is no judge of renders. Run: python -m training.judge_jewellery learn"
        ) from error
    return judge


def keep(judge: "nn.Module", unseen: "Collection", out: Path) -> None:
    from safetensors.torch import save_file

    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in judge.state_dict().items()}, out)
    accuracy = examined(judge, unseen)
    write_json(out.with_suffix(".json"), {"held_out": len(unseen), "accuracy": accuracy})
    _table("the judge itself, on renders held out", accuracy, len(unseen))


def batch_of(seen: "Collection", rng: random.Random) -> tuple[list[int], "Tensor"]:
    """Draw renders and a cut of them, mirrored in half of all batches, and softened."""
    import numpy as np

    from training.base_image.collection import as_tensor

    indices = [rng.randrange(len(seen)) for _ in range(BATCH)]
    y, x = (rng.randint(0, seen.pixels.shape[1] - SIDE) for _ in "yx")
    batch = seen.pixels[indices, y : y + SIDE, x : x + SIDE]
    if rng.random() < 0.5:
        batch = batch[:, :, ::-1]
    return indices, softened(as_tensor(np.ascontiguousarray(batch)), rng)


def examined(judge: "nn.Module", unseen: "Collection") -> dict[str, float]:
    import torch

    from training.base_image.collection import centred

    right: Counter[str] = Counter()
    with torch.no_grad():
        for place in range(0, len(unseen), BATCH):
            indices = list(range(place, min(place + BATCH, len(unseen))))
            found = judge(centred(unseen, indices, SIDE))
            right += count_right(found, [unseen.facts[i] for i in indices])
    return {name: right[name] / len(unseen) for name in PROPERTIES}


def count_right(logits: "Tensor", rows: list[dict[str, str]]) -> Counter[str]:
    right: Counter[str] = Counter()
    for name, found in likeliest(logits).items():
        right[name] = sum(value == facts[name] for value, facts in zip(found, rows, strict=True))
    return right


def prompts(count: int, seed: int) -> list[dict[str, str]]:
    """Ask for every kind equally often, for the rest at random."""
    rng = random.Random(seed)
    asked = []
    for number in range(count):
        facts = {name: rng.choice(values) for name, values in PROPERTIES.items()}
        facts["kind"] = PROPERTIES["kind"][number % len(PROPERTIES["kind"])]
        asked.append(facts)
    return asked


def said(facts: dict[str, str]) -> str:
    """Ask for some properties in a prompt.

    >>> said({"kind": "earrings", "metal": "gold", "stone": "jet", "ground": "grey"})
    'a pair of earrings of gold set with jet, on a grey ground'
    """
    piece = "pair of earrings" if facts["kind"] == "earrings" else facts["kind"]
    return f"a {piece} of {facts['metal']} set with {facts['stone']}, on a {facts['ground']} ground"


@app.command()
def judge(
    base: Annotated[Path, typer.Argument(help="A pipeline's folder.")],
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 200,
    weights: Annotated[Path, typer.Option(help="The judge's weights.")] = JUDGE,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 25,
    guidance: Annotated[float, typer.Option(min=0)] = 4.0,
    seed: Annotated[int, typer.Option()] = 7,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
) -> None:
    """Draw pictures and say how often each property is found as asked."""
    import torch
    from torch.nn import functional

    from engine.backends.diffusion.pipeline import open_pipeline
    from training.base_image import resumable_loop

    seeing = trained(weights)
    resumable_loop.threads(threads)
    made = open_pipeline(base, str(base), torch.float32)
    made.set_progress_bar_config(disable=True)
    asked = prompts(count, seed)
    right: Counter[str] = Counter()
    for place in track(range(0, count, 8), "drawing"):
        rows = asked[place : place + 8]
        draw = [torch.Generator().manual_seed(seed + place + i) for i in range(len(rows))]
        pictures = made(
            prompt=[said(facts) for facts in rows], num_inference_steps=steps,
            guidance_scale=guidance, generator=draw, output_type="pt",
        ).images  # fmt: skip
        with torch.no_grad():
            shown = functional.interpolate(pictures.float() * 2 - 1, (SIDE, SIDE), mode="area")
            right += count_right(seeing(shown), rows)
    shares = {name: right[name] / count for name in PROPERTIES}
    own = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    if out is not None:
        write_json(out, {"pictures": count, "as_asked": shares, "judge": own})
    _table("found as asked", shares, count)
    _table("the judge itself, on renders held out", own["accuracy"], own["held_out"])


def _table(title: str, shares: dict[str, float], count: int) -> None:
    table = Table("property", "share", title=f"{title} (n = {count})")
    for name, share in shares.items():
        table.add_row(name, f"{share:.1%}")
    Console().print(table)


if __name__ == "__main__":
    run_stage(app)

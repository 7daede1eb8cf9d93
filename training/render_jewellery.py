"""Render small photo-like pictures of made-up jewellery; every one is a function of its number.

    pip install -e '.[render]'
    python -m training.render_jewellery --out runs/renders --first 200 --count 3800
    python -m training.render_jewellery --out runs/museum --style museum --first 9000 --count 320

Run it again after an interruption: pictures that are there are not made anew. Writes one JPEG and
one line of `metadata.jsonl` for each. The pictures are given to the public domain (CC0-1.0).
"""

import json
import random
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from training.errors import TrainingStopped
from training.stage import run_stage

WORDS = {"earrings": "a pair of earrings"}
QUALITY = 90
SEED = 1000


def caption(facts: dict[str, str], style: str) -> str:
    """What stands in the metadata.

    >>> facts = {"kind": "ring", "metal": "gold", "stone": "jet", "ground": "grey"}
    >>> caption(facts, "plain")
    'a ring of gold set with jet, on a grey ground'
    """
    piece = WORDS.get(facts["kind"], f"a {facts['kind']}")
    words = f"{piece} of {facts['metal']} set with {facts['stone']}"
    return words if style == "museum" else f"{words}, on a {facts['ground']} ground"


def render(
    number: int, style: str, size: int, samples: int, mesh: Path
) -> tuple[Any, dict[str, str]]:
    """The picture of a number as bytes (size, size, 3), and its facts."""
    from training.renders.materials import KINDS
    from training.renders.pieces import BUILD
    from training.renders.scene import Scene

    kind = KINDS[number % len(KINDS)]
    scene = Scene(random.Random(SEED + number), mesh, size, samples, style)  # type: ignore[arg-type]
    BUILD[kind](scene)
    facts = {
        "kind": kind,
        "metal": scene.metal,
        "stone": scene.stone,
        "second_stone": scene.second,
        "ground": scene.ground if style == "plain" else "museum",
    }
    return scene.picture(), facts


def main(
    out: Annotated[Path, typer.Option(help="The folder of the pictures.")],
    first: Annotated[int, typer.Option(min=0, help="The first number.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 60,
    size: Annotated[int, typer.Option(min=32, help="Edge in pixels.")] = 192,
    samples: Annotated[int, typer.Option(min=1, help="Paths a pixel.")] = 40,
    style: Annotated[str, typer.Option(help="plain or museum")] = "plain",
) -> None:
    """Render pictures of made-up jewellery with captions."""
    if style not in ("plain", "museum"):
        raise TrainingStopped(f"There is no style {style!r}; there are plain and museum.")
    try:
        from training.renders.scene import cut_stone, variant
    except ImportError as error:
        raise TrainingStopped("Rendering needs Mitsuba: pip install -e '.[render]'") from error
    from PIL import Image
    from rich.progress import track

    variant()
    out.mkdir(parents=True, exist_ok=True)
    listing = out / "metadata.jsonl"
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    there = {json.loads(line).get("number") for line in lines if line.endswith("}")}
    with tempfile.TemporaryDirectory() as folder, listing.open("a", encoding="utf-8") as file:
        mesh = Path(folder) / "stone.obj"
        cut_stone(mesh)
        for number in track(range(first, first + count), "rendering"):
            if number in there:
                continue
            pixels, facts = render(number, style, size, samples, mesh)
            name = f"{number:05d}-{facts['kind']}.jpg"
            Image.fromarray(pixels).save(out / name, quality=QUALITY)
            row = {
                "file": name,
                "number": number,
                **facts,
                "caption": caption(facts, style),
                "source": f"rendered by training.render_jewellery, {style}, number {number}",
                "licence": "CC0-1.0",
            }
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    run_stage(main)

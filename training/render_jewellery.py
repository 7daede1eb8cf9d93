"""Render photo-like pictures of made-up jewellery; every one is a function of manner and number.

    .venv/bin/pip install -c constraints.txt -e '.[render]'
    python -m training.render_jewellery --out runs/shop --count 2400
    python -m training.render_jewellery --out runs/museum --manner museum --count 900

Run it again after an interruption: pictures that are there are not made anew. Writes one PNG and
one line of `metadata.jsonl` for each. The pictures are given to the public domain (CC0-1.0).
"""

import random
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from training.errors import TrainingStopped
from training.run.json_lines import add_lines, read_lines
from training.run.stage import require_extra, run_stage

SAMPLES = {"shop": 16, "museum": 24}  # paths a pixel: dim and soft light is grainier


def caption(facts: dict[str, str]) -> str:
    """Write what stands in the metadata; a grey ground goes without saying on a museum's plate.

    >>> facts = {"kind": "ring", "metal": "gold", "stone": "jet", "ground": "grey",
    ...          "engraving": "leaves", "filigree": "", "enamel": "", "manner": "shop"}
    >>> caption(facts)
    'a ring of engraved gold set with jet, on a grey ground'
    """
    piece = "a pair of earrings" if facts["kind"] == "earrings" else f"a {facts['kind']}"
    worked = "engraved " if facts["engraving"] else ""
    words = f"{piece} of {worked}{facts['metal']}"
    words += " filigree" if facts["filigree"] else ""
    words += f" and {facts['enamel']} enamel" if facts["enamel"] else ""
    words += f" set with {facts['stone']}"
    quiet = facts["manner"] == "museum" and facts["ground"] == "grey"
    return words if quiet else f"{words}, on a {facts['ground']} ground"


def render(
    number: int, manner: str, size: int, samples: int, folder: Path
) -> tuple[Any, dict[str, str]]:
    """Give the picture of a number as bytes (size, size, 3), and its facts."""
    from training.renders.design import FORMS, drawn
    from training.renders.piece import Piece
    from training.renders.pieces import BUILD
    from training.renders.scene import picture

    rng = random.Random(f"{manner}:{number}")
    kinds = list(FORMS)
    piece = Piece(rng, drawn(rng, kinds[number % len(kinds)], manner))
    BUILD[piece.design.kind](piece)
    facts = piece.facts() | {"manner": manner}
    return picture(piece, manner, size, samples, folder), facts  # type: ignore[arg-type]


def main(
    out: Annotated[Path, typer.Option(help="The folder of the pictures.")],
    first: Annotated[int, typer.Option(min=0, help="The first number.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 64,
    size: Annotated[int, typer.Option(min=32, help="Edge in pixels.")] = 192,
    samples: Annotated[int, typer.Option(min=0, help="Paths a pixel; 0: the manner's own.")] = 0,
    manner: Annotated[str, typer.Option(help="shop or museum")] = "shop",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
) -> None:
    """Render pictures of made-up jewellery with captions."""
    if manner not in SAMPLES:
        raise TrainingStopped(f"There is no manner {manner!r}; there are {' and '.join(SAMPLES)}.")
    require_extra("mitsuba", extra="render")
    from PIL import Image
    from rich.progress import track

    from training.renders.scene import variant

    variant(threads)
    out.mkdir(parents=True, exist_ok=True)
    listing = out / "metadata.jsonl"
    there = {row["number"] for row in read_lines(listing) if row.get("manner") == manner}
    with tempfile.TemporaryDirectory() as folder:
        for number in track(range(first, first + count), f"rendering, {manner}"):
            if number in there:
                continue
            pixels, facts = render(number, manner, size, samples or SAMPLES[manner], Path(folder))
            name = f"{number:05d}-{facts['kind']}.png"
            Image.fromarray(pixels).save(out / name)
            row = {
                "file": name,
                "number": number,
                **facts,
                "caption": caption(facts),
                "source": f"rendered by training.render_jewellery, {manner}, number {number}",
                "licence": "CC0-1.0",
            }
            add_lines(listing, row)


if __name__ == "__main__":
    run_stage(main)

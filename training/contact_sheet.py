"""Sixteen prompts, base beside LoRA, the same seeds: one picture that shows what an expert can do.

    python -m training.contact_sheet engine/models/jewel-base engine/experts/jewel/adapter \\
        --out docs/pictures/jewel.png
"""

import textwrap
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

from training.images.drawing.grid import GAP, INK, MARGIN, PAPER, fitted, spaced
from training.run.stage import run_stage

PROMPTS = (
    "a gold ring set with a large emerald on a dark blue ground",
    "a silver ring with a ruby, on a cream ground",
    "a tiara of gold set with sapphire, on a grey ground",
    "a silver tiara with amethysts, on a pale green ground",
    "a necklace of silver set with turquoise, on a black ground",
    "a rose gold necklace with a pearl, on a dark blue ground",
    "a round brooch of gold set with ruby, on a pale green ground",
    "a brooch of silver set with lapis lazuli, on a cream ground",
    "a pendant of gold set with aquamarine, on a black ground",
    "a steel pendant with coral, on a grey ground",
    "a pair of earrings of silver set with emerald, on a dark blue ground",
    "a pair of gold earrings with jet, on a cream ground",
    "a coronet of gold set with amethyst, on a pale green ground",
    "a coronet of rose gold set with diamond, on a black ground",
    "a bracelet of silver set with sapphire, on a grey ground",
    "a gold bracelet with citrines, on a cream ground",
)
ACROSS = 4
CELL = 192  # pixels
LETTER = 12
PREFIX = "a photo antique TOK jewellery, "


def drawn(
    base: Path, lora: Path, steps: int, guidance: float
) -> list[tuple[Image.Image, Image.Image]]:
    """Draw each prompt by the base alone (in plain words) and with the LoRA (in its own)."""
    import torch
    from diffusers import StableDiffusionXLPipeline

    made = StableDiffusionXLPipeline.from_pretrained(
        base, use_safetensors=True, dtype=torch.float32
    )
    made.set_progress_bar_config(disable=True)

    def draw(prefix: str) -> list[Image.Image]:
        seeds = [torch.Generator().manual_seed(number) for number in range(len(PROMPTS))]
        found: list[Image.Image] = made(
            prompt=[prefix + prompt for prompt in PROMPTS],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=seeds,
        ).images
        return found

    before = draw("")
    made.load_lora_weights(lora, use_safetensors=True)
    return list(zip(before, draw(PREFIX), strict=True))


def page(pairs: list[tuple[Image.Image, Image.Image]]) -> Image.Image:
    font = ImageFont.load_default(LETTER)
    wide, high = 2 * CELL + GAP, CELL + 3 * LETTER + MARGIN
    width = 2 * MARGIN + ACROSS * (wide + MARGIN) - MARGIN
    down = (len(pairs) + ACROSS - 1) // ACROSS
    sheet = Image.new("RGB", (width, 3 * MARGIN + LETTER + down * high), PAPER)
    pen = ImageDraw.Draw(sheet)
    words = "left: the small base alone; right: with the museum LoRA; same prompt, same seed"
    pen.text((MARGIN, MARGIN), spaced(words), INK, font)
    for number, ((before, after), prompt) in enumerate(zip(pairs, PROMPTS, strict=True)):
        left = MARGIN + number % ACROSS * (wide + MARGIN)
        top = 2 * MARGIN + LETTER + number // ACROSS * high
        sheet.paste(fitted(before, CELL), (left, top))
        sheet.paste(fitted(after, CELL), (left + CELL + GAP, top))
        for line, text in enumerate(textwrap.wrap(prompt, 52)):
            pen.text((left, top + CELL + 4 + line * (LETTER + 2)), spaced(text), INK, font)
    return sheet


def main(
    base: Annotated[Path, typer.Argument(help="The base's pipeline folder.")],
    lora: Annotated[Path, typer.Argument(help="The LoRA's folder.")],
    out: Annotated[Path, typer.Option(help="Where the sheet goes.")] = Path("contact-sheet.png"),
    steps: Annotated[int, typer.Option(min=1)] = 25,
    guidance: Annotated[float, typer.Option(min=0)] = 4.0,
) -> None:
    """Draw sixteen prompts by a base and by its LoRA, side by side."""
    sheet = page(drawn(base, lora, steps, guidance))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    print(f"Wrote {out}")


if __name__ == "__main__":
    run_stage(main)

"""Sixteen prompts, base beside LoRA, the same seeds: one picture that shows what an expert can do."""

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from training.images.drawing.grid import save_png, sheet
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
PREFIX = "a photo antique TOK jewellery, "


def drawn(
    base: Path, lora: Path, steps: int, guidance: float
) -> list[tuple[Image.Image, Image.Image]]:
    """Draw each prompt by the base alone (in plain words) and with the LoRA (in its own)."""
    import torch

    from engine.backends.diffusion.pipeline import open_pipeline

    made = open_pipeline(base, str(base), torch.float32)
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
    rows = [[*one, *other] for one, other in zip(pairs[::2], pairs[1::2], strict=True)]
    labels = [f"{one}; {other}" for one, other in zip(PROMPTS[::2], PROMPTS[1::2], strict=True)]
    return sheet(rows, ("base", "LoRA", "base", "LoRA"), labels)


def main(
    base: Annotated[Path, typer.Argument(help="The base's pipeline folder.")],
    lora: Annotated[Path, typer.Argument(help="The LoRA's folder.")],
    out: Annotated[Path, typer.Option(help="Where the sheet goes.")] = Path("contact-sheet.png"),
    steps: Annotated[int, typer.Option(min=1)] = 25,
    guidance: Annotated[float, typer.Option(min=0)] = 4.0,
) -> None:
    """Draw sixteen prompts by a base and by its LoRA, side by side."""
    save_png(page(drawn(base, lora, steps, guidance)), out)
    print(f"Wrote {out}")


if __name__ == "__main__":
    run_stage(main)

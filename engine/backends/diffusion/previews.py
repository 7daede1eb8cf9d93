"""Latents as rough colours: a cheap look at a picture under way, with no VAE."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FILE = "preview.json"
# SDXL's, for colours of 0..255: diffusers' documentation, "Pipeline callbacks", after T. A. Vass
SDXL_WEIGHT = ((60, -60, 25, -70), (60, -5, 15, -50), (60, 10, -5, -35))
SDXL_BIAS = (150, 140, 130)
EDGE = 256  # pixels of the longest side


@dataclass(frozen=True, slots=True)
class Projection:
    """Map a latent's 4 channels, as the UNet sees them, linearly to RGB in -1..1."""

    weight: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]

    def image(self, latents: "Tensor", size: tuple[int, int]) -> "Image":
        """Draw latents (1, 4, h, w) in the shape of a picture of `size`, at most EDGE pixels long."""
        import torch
        from PIL import Image

        cells = latents[0].float().cpu().nan_to_num()
        weight, bias = torch.tensor(self.weight), torch.tensor(self.bias)
        colours = torch.einsum("rc,chw->hwr", weight, cells) + bias
        pixels = ((colours.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        share = min(1.0, EDGE / max(size))
        shape = (max(1, round(size[0] * share)), max(1, round(size[1] * share)))
        return Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC)


def read_projection(folder: Path) -> Projection:
    """Read the base's own map, or SDXL's if it has none. Raises ModelError for a damaged file."""
    path = folder / FILE
    if not path.is_file():
        return Projection(
            tuple(tuple(value / 127.5 for value in row) for row in SDXL_WEIGHT),
            tuple(value / 127.5 - 1 for value in SDXL_BIAS),
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        weight = tuple(tuple(float(value) for value in row) for row in found["weight"])
        bias = tuple(float(value) for value in found["bias"])
        if [len(row) for row in weight] != [4, 4, 4] or len(bias) != 3:
            raise ValueError("it must hold 3 rows of 4 numbers, and 3 numbers")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} cannot be used: {error}. Restore or delete it.") from error
    return Projection(weight, bias)


def side_by_side(images: "list[Image]") -> "Image":
    from PIL import Image

    if len(images) == 1:
        return images[0]
    width, height = images[0].size
    made = Image.new("RGB", (2 * width, height * ((len(images) + 1) // 2)))
    for number, image in enumerate(images):
        made.paste(image, (number % 2 * width, number // 2 * height))
    return made


def estimate(step: Any) -> "Tensor":
    """Give a scheduler step's guess of the finished latents; the noisy ones where it makes none."""
    names = ("pred_original_sample", "denoised", "prev_sample")
    guesses: list[Tensor | None] = [getattr(step, name, None) for name in names]
    return next(guess for guess in guesses if guess is not None)

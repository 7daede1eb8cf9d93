"""Finished latents as pictures, and what to do when they are none."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

DARKEST = -0.98  # of -1..1: without a brighter pixel a picture is black, as half precision makes it

log = logging.getLogger(__name__)


class SpoiltPictureError(Exception):
    def __init__(self, part: str) -> None:
        super().__init__(f"{part} gave no picture")
        self.part = part


def decode(vae: Any, latents: "Tensor") -> "Image":
    """Decode latents (1, 4, h, w); what comes out spoilt in float32, or raise SpoiltPictureError."""
    import torch
    from PIL import Image

    if not bool(latents.isfinite().all()):
        raise SpoiltPictureError("UNet")
    pixels = _pixels(vae, latents)
    if is_spoilt(pixels) and vae.dtype != torch.float32:
        log.warning("a picture came out spoilt; decoding it in float32")
        kind = vae.dtype
        try:
            pixels = _pixels(vae.to(torch.float32), latents)
        finally:
            vae.to(kind)
    if is_spoilt(pixels):
        raise SpoiltPictureError("VAE")
    array = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(array.cpu().numpy())


def is_spoilt(pixels: "Tensor") -> bool:
    """Tell whether any pixel (-1..1) is not a number, or all are black."""
    return not bool(pixels.isfinite().all()) or bool((pixels < DARKEST).all())


def _pixels(vae: Any, latents: "Tensor") -> "Tensor":
    import torch

    config = vae.config
    latents = latents / config.scaling_factor
    if getattr(config, "latents_mean", None) and getattr(config, "latents_std", None):
        mean, deviation = (
            torch.tensor(values, device=latents.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        latents = latents * deviation + mean
    pixels: Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
    return pixels.float()

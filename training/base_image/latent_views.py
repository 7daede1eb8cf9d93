"""Encode every picture in several views once, for the UNet to be trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.base_image.autoencoder import WithPreview
from training.base_image.base_recipe import BaseRecipe
from training.base_image.collection import Collection, as_tensor
from training.base_image.resumable_loop import device


@dataclass(frozen=True, slots=True)
class Views:
    """Latents of every picture in several views: (V, N, 4, h, w), with their time ids (V, N, 6).

    View 0 is the whole picture, view 1 its mirror image, the others are cut from larger copies.
    """

    latents: Tensor
    time_ids: Tensor
    scaling: float


def views_of(
    recipe: BaseRecipe, model: WithPreview, pictures: Collection, count: int, path: Path
) -> Views:
    if path.is_file():
        return Views(**torch.load(path, weights_only=True))
    size, rng = recipe.pictures.size, np.random.default_rng([recipe.seed, 2])
    latents, times = [], []
    for view in range(count):
        pixels, rows = _cut(pictures, view, size, rng)
        found = []
        with torch.no_grad():
            for place in range(0, len(pixels), 32):
                batch = as_tensor(pixels[place : place + 32]).to(device())
                found.append(model.autoencoder.encode(batch).latent_dist.mode().cpu())
        latents.append(torch.cat(found))
        times.append(torch.tensor(rows, dtype=torch.float32))
    stacked = torch.stack(latents)
    scaling = 1.0 / float(stacked.std())
    views = Views(stacked * scaling, torch.stack(times), scaling)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"latents": views.latents, "time_ids": views.time_ids, "scaling": scaling}, path)
    return views


def _cut(
    pictures: Collection, view: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[list[int]]]:
    """Cut one view of every picture, with (original h, w, crop top, left, target h, w) of each."""
    side = pictures.pixels.shape[1]
    cut, rows = [], []
    for picture in pictures.pixels:
        if view < 2:
            whole = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
            piece, row = np.asarray(whole), [size, size, 0, 0, size, size]
        else:
            y, x = (int(v) for v in rng.integers(0, side - size + 1, 2))
            piece, row = picture[y : y + size, x : x + size], [side, side, y, x, size, size]
        mirrored = view == 1 or (view > 1 and rng.random() < 0.5)
        cut.append(piece[:, ::-1] if mirrored else piece)
        rows.append(row)
    return np.stack(cut), rows

"""The pictures an image base is trained on: captioned renders, held in memory as bytes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.base_image.base_recipe import BaseRecipe, Pictures
from training.errors import TrainingStopped


@dataclass(frozen=True, slots=True)
class Collection:
    """Hold pictures (N, side, side, 3) uint8, with what is known of each."""

    pixels: NDArray[np.uint8]
    facts: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.facts)


def load(pictures: Pictures) -> tuple[Collection, Collection]:
    """Read the training pictures and the held-out ones (the folder's last), sorted by file name."""
    listing = pictures.folder / "metadata.jsonl"
    if not listing.is_file():
        raise TrainingStopped(
            f"There is no metadata.jsonl in {pictures.folder}. Render the pictures first: "
            f"python -m training.render_jewellery --out {pictures.folder}"
        )
    rows = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    facts = sorted({row["file"]: row for row in rows}.values(), key=lambda row: str(row["file"]))
    if len(facts) < pictures.first:
        raise TrainingStopped(
            f"{pictures.folder} holds {len(facts)} pictures; the recipe asks for the first "
            f"{pictures.first}. Render the rest first."
        )
    facts = facts[: pictures.first or None]
    if len(facts) <= pictures.held_out:
        raise TrainingStopped(
            f"{pictures.folder} holds {len(facts)} pictures; the recipe holds out "
            f"{pictures.held_out} of them. Render more, or lower pictures.held_out."
        )
    side = round(pictures.size * pictures.zoom)
    smooth, found = Image.Resampling.LANCZOS, []
    for row in facts:
        with Image.open(pictures.folder / row["file"]) as picture:
            found.append(np.asarray(picture.convert("RGB").resize((side, side), smooth)))
    pixels = np.stack(found)
    split = len(facts) - pictures.held_out
    return Collection(pixels[:split], facts[:split]), Collection(pixels[split:], facts[split:])


def for_autoencoder(recipe: BaseRecipe) -> tuple[Collection, Collection]:
    """Read what the autoencoder sees and what is held out from it: the first of each folder."""
    shape, found = recipe.autoencoder, []
    for folder in (recipe.pictures.folder, *shape.also):
        change: dict[str, object] = {"folder": folder}
        if shape.first:
            change |= {"first": shape.first, "held_out": max(8, shape.first // 20)}
        found.append(load(recipe.pictures.model_copy(update=change)))
    seen, unseen = zip(*found, strict=True)
    return joined(seen), joined(unseen)


def joined(parts: Sequence[Collection]) -> Collection:
    pixels = np.concatenate([part.pixels for part in parts])
    return Collection(pixels, [row for part in parts for row in part.facts])


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (B, H, W, 3) bytes into (B, 3, H, W) floats in -1..1, channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def crops(collection: Collection, rng: np.random.Generator, count: int, side: int) -> Tensor:
    room = collection.pixels.shape[1] - side
    cut = []
    for index in rng.integers(0, len(collection), count):
        y, x = rng.integers(0, room + 1, 2)
        piece = collection.pixels[index, y : y + side, x : x + side]
        cut.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return as_tensor(np.stack(cut))


def centred(collection: Collection, indices: list[int], side: int) -> Tensor:
    """Cut the middle squares of the pictures named."""
    edge = (collection.pixels.shape[1] - side) // 2
    return as_tensor(collection.pixels[indices, edge : edge + side, edge : edge + side].copy())

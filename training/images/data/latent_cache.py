"""Latents and text embeddings on disk, made once: named by the digest of all that they follow from."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.files import whole_file
from training.images.bases import adapted
from training.images.data.buckets import Cut
from training.images.data.folder import Picture, open_picture
from training.run.expiry import stamp_until


class Cache:
    """Keep small safetensors files in a folder; one that cannot be read is made again."""

    def __init__(self, folder: Path, due: float | None = None) -> None:
        """Delete the cache at `due`, when its pictures' time is over."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        stamp_until(folder, due)

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def have(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Read an entry, after making one that cannot be read."""
        path = self.path(key)
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            made = {name: value.detach().cpu().contiguous() for name, value in make().items()}
            path.parent.mkdir(exist_ok=True)
            with whole_file(path) as part:
                save_file(made, part)
            return load_file(path)


def digest_of_module(module: Any) -> str:
    """Hash a module's weights and their names: the same wherever it was loaded from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def key_of_values(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


class Latents:
    """Encode pictures to the VAE's latent distributions, each cut an entry."""

    def __init__(self, cache: Cache, vae: Any, device: Any) -> None:
        self.cache, self.vae, self.device = cache, vae, device
        self.digest = digest_of_module(vae)

    def key(self, picture: Picture, cut: Cut) -> str:
        return key_of_values(
            "latents", self.digest, picture.sha256, cut.resized, cut.corner, cut.target
        )

    def of(self, picture: Picture, cut: Cut) -> tuple[Tensor, Tensor]:
        """Give mean and standard deviation (C, h, w) of a cut, scaled as the UNet takes them."""
        entry = self.cache.have(self.key(picture, cut), lambda: self.made(picture, cut))
        return entry["mean"].float(), entry["deviation"].float()

    def made(self, picture: Picture, cut: Cut) -> dict[str, Tensor]:
        """Encode one cut in fp32, to be stored in half precision."""
        pixels = pixels_of(picture.path, cut)[None].to(self.device)
        with torch.no_grad():
            found = self.vae.encode(pixels).latent_dist
        scale = self.vae.config.scaling_factor
        return {"mean": (found.mean[0] * scale).half(), "deviation": (found.std[0] * scale).half()}


def pixels_of(path: Path, cut: Cut) -> Tensor:
    """Cut a picture as (3, H, W) floats in -1..1."""
    height, width = cut.resized
    picture = open_picture(path).resize((width, height), Image.Resampling.LANCZOS)
    top, left = cut.corner
    picture = picture.crop((left, top, left + cut.target[1], top + cut.target[0]))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1.0


class Embeddings:
    """Embed captions as the text encoders read them; what frozen ones say is an entry each."""

    def __init__(self, cache: Cache, pipeline: Any, device: Any) -> None:
        self.cache, self.pipeline, self.device = cache, pipeline, device
        encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
        self.digest = key_of_values(*map(digest_of_module, encoders))

    def of(self, caption: str) -> tuple[Tensor, Tensor]:
        """Give a caption's embeddings (77, width) and pooled embedding (width of the second encoder)."""
        key = key_of_values("caption", self.digest, caption)
        entry = self.cache.have(key, lambda: self.made(caption))
        return entry["embeddings"], entry["pooled"]

    def made(self, caption: str) -> dict[str, Tensor]:
        with torch.no_grad():
            embeddings, pooled = self.encoded([caption])
        return {"embeddings": embeddings[0], "pooled": pooled[0]}

    def nothing(self) -> tuple[Tensor, Tensor]:
        """Embed a dropped caption: what the pipeline is guided away from."""
        if not self.pipeline.config.force_zeros_for_empty_prompt:
            return self.of("")
        embeddings, pooled = self.of("")
        return torch.zeros_like(embeddings), torch.zeros_like(pooled)

    def batch(self, captions: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Embed captions, None for a dropped one: anew where the encoders have a LoRA."""
        if "text_encoder" not in adapted(self.pipeline):
            pairs = [self.nothing() if words is None else self.of(words) for words in captions]
            return torch.stack([one for one, _ in pairs]), torch.stack([one for _, one in pairs])
        embeddings, pooled = self.encoded([words or "" for words in captions])
        if self.pipeline.config.force_zeros_for_empty_prompt:
            said = torch.tensor([words is not None for words in captions], device=pooled.device)
            embeddings, pooled = embeddings * said[:, None, None], pooled * said[:, None]
        return embeddings, pooled

    def encoded(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        embeddings, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=captions, device=self.device, do_classifier_free_guidance=False
        )
        return embeddings, pooled

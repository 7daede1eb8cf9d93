"""Show the UNet pictures: latents of a cut, a caption of 77 tokens, six time ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.progress import track
from torch import Tensor

from engine.backends.diffusion.prompt_encoder import cut_of
from training.images.bases import adapted
from training.images.data.buckets import Cut, bucket_for, buckets_of, cut_in_epoch, cuts_of
from training.images.data.folder import Picture
from training.images.data.latent_cache import Embeddings, Latents
from training.images.tables import Data


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    mean: Tensor
    deviation: Tensor
    caption: str | None  # None for one that is dropped
    time_ids: tuple[int, ...]


class Samples:
    def __init__(
        self,
        pictures: Sequence[Picture],
        data: Data,
        resolution: int,
        crops: int,
        latents: Latents,
        embeddings: Embeddings,
    ) -> None:
        square = ((resolution, resolution),)
        shapes = buckets_of(resolution, data.bucket_step) if data.buckets else square
        self.pictures = tuple(pictures)
        resized = data.original == "resized"
        self.cuts: tuple[tuple[Cut, ...], ...] = tuple(
            cuts_of(p.size, bucket_for(p.size, shapes), crops, p.sha256, resized) for p in pictures
        )
        tokenizers = embeddings.pipeline.tokenizer, embeddings.pipeline.tokenizer_2
        self.words: tuple[Words, ...] = tuple(words_of(picture, tokenizers) for picture in pictures)
        self.latents, self.embeddings = latents, embeddings

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return tuple(cuts[0].target for cuts in self.cuts)

    @property
    def enlarged(self) -> int:
        sizes = [picture.size for picture in self.pictures]
        return sum(cuts[0].resized > size for cuts, size in zip(self.cuts, sizes, strict=True))

    def fill(self, told: str) -> None:
        """Make what the cache lacks, so that VAE and text encoders are not needed in training."""
        latents = self.latents
        missing = [
            (picture, cut)
            for picture, cuts in zip(self.pictures, self.cuts, strict=True)
            for cut in cuts
            if not latents.cache.path(latents.key(picture, cut)).is_file()
        ]
        few = len(missing) < 8
        for picture, cut in track(missing, f"latents of {told}", disable=few, transient=True):
            latents.of(picture, cut)
        if "text_encoder" in adapted(self.embeddings.pipeline):
            return  # what they say changes with each step
        for text in dict.fromkeys(word.text for word in self.words):
            self.embeddings.of(text)
        self.embeddings.nothing()

    def sample(self, number: int, seed: int, epoch: int) -> Sample:
        picture = self.pictures[number]
        cut = cut_in_epoch(self.cuts[number], seed, epoch, picture.sha256)
        return Sample(
            picture.sha256, *self.latents.of(picture, cut), self.words[number].text, cut.time_ids
        )


@dataclass(frozen=True, slots=True)
class Words:
    """Hold the caption that a picture is trained with, and the end of it that no encoder reads."""

    text: str
    cut: str = ""


def words_of(picture: Picture, tokenizers: Sequence[Any]) -> Words:
    """Choose the first of its captions that fits whole; else the first, with what is cut off."""
    words = [Words(caption, cut_of(caption, tokenizers)) for caption in picture.captions]
    return next((word for word in words if not word.cut), words[0])


def told_of(words: Sequence[Words]) -> str:
    cut = [word for word in words if word.cut]
    if not cut:
        return ""
    return (
        f"{len(cut)} of {len(words)} captions are longer than the text encoders' 77 tokens; their ends "
        f"are not learnt from. The first loses: “{cut[0].cut}”. Run `python -m training.caption` for "
        "short captions, or shorten them."
    )

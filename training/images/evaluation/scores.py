"""CLIP and DINO scores, where a folder with such a model is given. Nothing is downloaded.

CLIP-T is the cosine of a picture and its prompt; DINO (and CLIP-I) that of a picture and the nearest
held-out photograph, and of its mean (Ruiz et al. 2023, section 4.2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.errors import BadRecipe

BATCH = 16


class Clip:
    """Load a CLIP model of a local folder; rows are of unit length."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        self.model = local(CLIPModel, folder, use_safetensors=True).eval()
        self.processor = local(CLIPImageProcessor, folder)
        self.tokenizer = local(AutoTokenizer, folder)

    def pictures(self, pictures: Sequence[Image.Image]) -> Any:
        return embedded(pictures, self.processor, self.model.get_image_features)

    def words(self, texts: Sequence[str]) -> Any:
        """Embed one row a text; what is beyond the model's window is cut."""
        words = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            return unit_rows(self.model.get_text_features(**words))


class Dino:
    """Load a DINO or DINOv2 model of a local folder; rows are of unit length."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor, AutoModel

        self.model = local(AutoModel, folder, use_safetensors=True).eval()
        self.processor = local(AutoImageProcessor, folder)

    def pictures(self, pictures: Sequence[Image.Image]) -> Any:
        """Give one row a picture: the class token."""
        return embedded(
            pictures, self.processor, lambda **given: self.model(**given).last_hidden_state[:, 0]
        )


def local(kind: Any, folder: Path, **options: Any) -> Any:
    """Load from a local folder: safetensors only, no code of its own. Raises BadRecipe."""
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise BadRecipe(
            f"{folder} could not be loaded as {kind.__name__}: {error}. Give a folder with the model's "
            "safetensors weights, its config and its preprocessor's."
        ) from error


def embedded(pictures: Sequence[Image.Image], processor: Any, model: Any) -> Any:
    rows = []
    for start in range(0, len(pictures), BATCH):
        given = processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")
        with torch.no_grad():
            rows.append(unit_rows(model(**given)))
    return np.concatenate(rows)


def unit_rows(found: Any) -> Any:
    """Turn a tensor (or a model's answer with a pooled one) into numpy rows of unit length."""
    tensor = getattr(found, "pooler_output", found)
    return (tensor / tensor.norm(dim=-1, keepdim=True)).float().numpy()


def prompt_score(clip: Clip, pictures: Any, prompts: Sequence[str]) -> float:
    """Give CLIP-T: the mean cosine of pictures (rows) and their own prompts."""
    return float((pictures * clip.words(prompts)).sum(1).mean())


def likeness(drawn: Any, real: Any) -> dict[str, float]:
    mean = real.mean(0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return {"nearest": float((drawn @ real.T).max(1).mean()), "mean": float((drawn @ mean).mean())}

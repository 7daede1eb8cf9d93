"""The trained parts as one folder that diffusers opens: half precision, safetensors, no code."""

import shutil
from pathlib import Path

import torch

from engine.files import whole_folder, write_json
from engine.weights.weight_files import write_sums
from training.base_image.autoencoder import WithPreview
from training.base_image.denoiser import Conditioned, Speller, pipeline
from training.base_image.vocabulary import vocabulary

PREVIEW = "preview.json"
WORDS = "words.json"


def export(
    model: Conditioned, coder: WithPreview, scaling: float, tokenizers: Path, folder: Path
) -> int:
    """Write the pipeline folder, replacing an older one as a whole; returns the weights' bytes.

    `preview.json` holds the linear map from latents as the UNet sees them to colours in -1..1;
    `words.json` lists the words that it has learnt, for the expert's card.
    """
    coder.autoencoder.register_to_config(scaling_factor=scaling)
    made = pipeline(model, coder, Speller(tokenizers)).to(torch.float16)
    with whole_folder(folder) as part:
        made.save_pretrained(part, safe_serialization=True)
        for name in ("tokenizer", "tokenizer_2"):  # exactly the files that they came from
            shutil.rmtree(part / name)
            shutil.copytree(tokenizers / name, part / name)
        weight, bias = (each.detach() for each in coder.preview.parameters())
        found = {"weight": (weight[:, :, 0, 0] / scaling).tolist(), "bias": bias.tolist()}
        write_json(part / PREVIEW, found)
        write_json(part / WORDS, list(vocabulary()))
        for path in part.rglob("*.safetensors"):
            path.chmod(0o644)
        if (folder / "README.md").is_file():  # has the tokenizers' licence
            shutil.copyfile(folder / "README.md", part / "README.md")
        write_sums(part)
        return sum(path.stat().st_size for path in part.rglob("*.safetensors"))

"""A pipeline of exactly SDXL's architecture made on the spot: tiny, random, with its commonest words."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from engine.files import BUILT_IN

TOKENIZERS = BUILT_IN.parent / "models" / "jewel-base"
MERGES = 4_000  # of 48,894: opening a pipeline so small is mostly reading its words
LETTERS = 512  # a byte alone, and at a word's end
SDXL_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
VELOCITY = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


@cache
def make_tokenizer(name: str) -> Any:
    """SDXL's own with its commonest words; None on a GPU day's machine, which has the code alone."""
    from transformers import CLIPTokenizer

    folder = TOKENIZERS / name
    if not folder.is_dir():
        return None
    real = CLIPTokenizer.from_pretrained(folder)
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()[1 : MERGES + 1]
    merges = [(left, right) for left, right in map(str.split, lines)]
    first = real.convert_ids_to_tokens(range(LETTERS + MERGES))
    words = {word: number for number, word in enumerate((*first, real.bos_token, real.eos_token))}
    return CLIPTokenizer(
        words, merges, pad_token=real.pad_token, model_max_length=real.model_max_length
    )


def make_text_encoder(kind: Any, width: int, act: str) -> Any:
    """A CLIP text encoder of two layers, its special tokens as in SDXL's configs."""
    from transformers import CLIPTextConfig

    return kind(
        CLIPTextConfig(
            vocab_size=LETTERS + MERGES + 2,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=width,
            hidden_act=act,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


def make_pipeline(*, velocity: bool = False, sample_size: int = 8, depth: int = 2) -> Any:
    """Three blocks, two text encoders (8 and 16 wide), latents an eighth of the picture; `depth` layers
    of attention where SDXL has ten: one is enough, and quicker, where no layer's name is asked for."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=sample_size * 8,
        scaling_factor=0.13025,
        force_upcast=not velocity,
    )
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=24,
        transformer_layers_per_block=(1, 1, depth),
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    schedule = {**SDXL_SCHEDULE, **(VELOCITY if velocity else {})}
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=make_text_encoder(CLIPTextModel, 8, "quick_gelu"),
        text_encoder_2=make_text_encoder(CLIPTextModelWithProjection, 16, "gelu"),
        tokenizer=make_tokenizer("tokenizer"),
        tokenizer_2=make_tokenizer("tokenizer_2"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**schedule),
        add_watermarker=False,
    )


def make_base(folder: Path, **options: Any) -> Path:
    """The pipeline as a folder of safetensors: 64 pixel pictures, 8x8 latents, 0.1 M weights."""
    make_pipeline(**options).save_pretrained(folder, safe_serialization=True)
    return folder


COLOURS = {"gold": (212, 170, 60), "silver": (190, 195, 200), "ruby": (170, 20, 50)}


def make_pictures(folder: Path, count: int = 12, **facts: Any) -> Path:
    """Made-up pictures of discs and bars, two views of each object, in the harvest's shape."""
    from PIL import Image, ImageDraw

    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        metal = list(COLOURS)[number % 3]
        size = ((128, 64), (64, 136), (80, 80))[number % 3]
        picture = Image.new("RGB", size, (20 + number, 24, 48))
        pen = ImageDraw.Draw(picture)
        pen.ellipse((10, 10, size[0] - 12, size[1] - 14), fill=COLOURS[metal])
        pen.line((4, number * 4, 60, 60 - number), fill=(240, 240, 240), width=2)
        name = f"images/O{number}.png"
        picture.save(folder / name)
        rows.append(
            {
                "file_name": name,
                "text": f"A {metal} disc, number {number}.",
                "system_number": f"O{number // 2}",
                "source_url": f"https://example.org/{number}",
                "width": size[0],
                "height": size[1],
                **facts,
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    return folder


RECIPE = """
[run]
name = "disc-tiny"
seed = 7
about = "Discs."

[expert]
name = "disc"
profile = "tiny"
title = "The disc maker"
prompt = "a photo antique TOK jewellery, {{request}}"
token = "TOK"

[rights]
basis = "Made up by a test."
licence = "CC0-1.0"
train_allowed = true

[data]
folder = "{folder}"
bucket_step = 32
crops = 2
held_out = 0.2

[base]
id = "{base}"

[lora]
rank = 4
alpha = 16

[training]
precision = "fp32"
learning_rate = 5e-3
batch = 2
accumulate = 2
steps = 6
ema = 0.9

[validation]
pictures = 2
times = 4
prompts = ["a photo antique TOK jewellery"]
steps = 2
guidance = 2.0

[save]
every = 3
"""


def make_recipe(path: Path, base: Path, pictures: Path) -> Path:
    """A recipe file for the tiny base; change it with `load_image_recipe(path, changes)`."""
    path.write_text(RECIPE.format(base=base, folder=pictures), encoding="utf-8")
    return path

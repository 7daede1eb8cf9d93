"""Load a pipeline of SDXL's layout, and put a fresh LoRA on its UNet. Safetensors only."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.plan.cards import BUILT_IN
from engine.weights.weight_files import PICKLES
from training.errors import BadRecipe
from training.images.recipe import ImageRecipe
from training.images.tables import ImageLora
from training.text.bases import compute_type, lora_config

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, StableDiffusionXLPipeline

EMBEDDED = BUILT_IN.parent / "models"
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
TARGETS = {
    "attn": ATTENTION,
    "attn-mlp": (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
}
TIME_IDS = 6  # original size, corner and target size, height before width
INDEX = "model_index.json"


def place_of(name: str, folder: Path | None = None) -> str:
    place = folder or EMBEDDED / name
    if folder is None and not (place / INDEX).is_file():
        place = Path(name).expanduser()
        if not place.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return name  # a hub id
    if not (place / INDEX).is_file():
        raise BadRecipe(
            f"{name if folder is None else folder} is no image base: it has no {INDEX}. Name a hub id "
            "or the folder of a diffusers pipeline under [base] id, or with --base."
        )
    refuse_pickles(place)
    return str(place)


def refuse_pickles(place: Path) -> None:
    """Raise BadRecipe for a part of a pipeline that holds only pickled weights: they can run code."""
    for part in sorted(path for path in (place, *place.iterdir()) if path.is_dir()):
        names = [path.name for path in part.iterdir()]
        pickles = sorted(name for name in names if name.endswith(PICKLES))
        if pickles and not any(name.endswith(".safetensors") for name in names):
            raise BadRecipe(
                f"{part} holds only pickled weights ({pickles[0]}), which can run code when read, so "
                "they are never opened. Convert them to safetensors, or use a base that has them."
            )


def load_pipeline(recipe: ImageRecipe, folder: Path | None = None) -> "StableDiffusionXLPipeline":
    """Load the base in the recipe's precision, frozen; its VAE in fp32, where latents are made."""
    from diffusers.utils import logging
    from transformers.utils import logging as words_logging

    for log in (logging, words_logging):
        log.set_verbosity_error()
        log.disable_progress_bar()
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    precision = compute_type(recipe.training.precision)
    options: dict[str, Any] = {"use_safetensors": True}
    if recipe.base.vae:
        options["vae"] = load_part(AutoencoderKL, recipe.base.vae, dtype=torch.float32)
    if folder is None and recipe.base.revision:
        options["revision"] = recipe.base.revision
    if folder is None and recipe.base.variant:
        options["variant"] = recipe.base.variant
    pipeline: StableDiffusionXLPipeline = load_part(
        StableDiffusionXLPipeline,
        place_of(recipe.base.id, folder),
        dtype={"default": precision, "vae": torch.float32},
        add_watermarker=False,
        **options,
    )
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.requires_grad_(False)
    check_layout(pipeline)
    return pipeline


def load_part(kind: Any, place: str, **options: Any) -> Any:
    local = Path(place).expanduser()
    if local.is_dir():
        refuse_pickles(local)
        place = str(local)
    try:
        return kind.from_pretrained(place, **{"use_safetensors": True, **options})
    except (OSError, ValueError) as error:
        raise BadRecipe(
            f"{place} could not be loaded as {kind.__name__}: {error}\nCheck the name, the network "
            "and, for a gated model, that HF_TOKEN is set; or name a local folder."
        ) from error


def check_layout(pipeline: Any) -> None:
    """Raise BadRecipe unless the UNet takes two texts, a pooled text and six time ids, as SDXL's."""
    config = pipeline.unet.config
    pooled = pipeline.text_encoder_2.config.projection_dim
    needed = TIME_IDS * (config.addition_time_embed_dim or 0) + pooled
    if (
        config.addition_embed_type != "text_time"
        or config.projection_class_embeddings_input_dim != needed
    ):
        raise BadRecipe(
            "This base has not SDXL's layout (its UNet does not take six time ids beside the pooled "
            "text), so its LoRA would not fit. Use stabilityai/stable-diffusion-xl-base-1.0, one made "
            "from it, or jewel-base."
        )


def resolution_of(recipe: ImageRecipe, pipeline: Any) -> int:
    """Give the resolution in pixels; raises BadRecipe when the base cannot divide it."""
    halvings = len(pipeline.unet.config.block_out_channels) - 1
    grain = int(pipeline.vae_scale_factor) * int(2**halvings)  # VAE and UNet halve a side so often
    own = int(pipeline.unet.config.sample_size) * int(pipeline.vae_scale_factor)
    resolution = recipe.data.resolution or own
    for name, value in (("resolution", resolution), ("bucket_step", recipe.data.bucket_step)):
        if value % grain and (name == "resolution" or recipe.data.buckets):
            raise BadRecipe(
                f"data.{name} is {value}, but this base needs a multiple of {grain} pixels."
            )
    return resolution


def noise_schedule(pipeline: Any) -> "DDPMScheduler":
    """Take the base's betas and prediction type for training, as diffusers' own scripts do.

    Not the pipeline's Euler scheduler: in diffusers 0.42 its get_velocity looks up alphas by place in
    the descending list of timesteps, so that it is right for none of them.
    """
    from diffusers import DDPMScheduler

    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    if schedule.config.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise BadRecipe(
            f"This base predicts {schedule.config.prediction_type!r}, which is not known."
        )
    return schedule


def add_lora(unet: Any, lora: ImageLora, seed: int) -> None:
    """Put a fresh LoRA in fp32 on the UNet; raises BadRecipe when it lacks the target modules."""
    from diffusers.training_utils import cast_training_params

    torch.manual_seed(seed)
    targets = TARGETS[lora.target] if isinstance(lora.target, str) else lora.target
    init = True if lora.init == "kaiming" else lora.init
    try:
        unet.add_adapter(lora_config(lora, targets, init_lora_weights=init, use_dora=lora.dora))
    except ValueError as error:
        layers = sorted({name.rpartition(".")[2] for name, _ in unet.named_modules() if name})
        raise BadRecipe(
            f"The base's UNet has no module called {lora.target!r}. Set [lora] target to "
            f'"attn", "attn-mlp" or to some of: {", ".join(layers)}.'
        ) from error
    cast_training_params(unet, dtype=torch.float32)

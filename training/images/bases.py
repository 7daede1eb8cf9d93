"""Load a pipeline of SDXL's layout, and put a fresh LoRA on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.backends.diffusion.pipeline import open_pipeline, open_vae
from engine.settings import read_settings
from engine.weights.bases import fetch_pipeline, find_base, pinned
from engine.weights.picture_layers import PARTS, Place, layers_of
from engine.weights.picture_lora import DOWN, SIZE, UP, Halves, read_lora
from training.errors import BadRecipe
from training.images.recipe import ImageRecipe
from training.images.tables import ImageLora
from training.text.bases import compute_type, lora_config

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, StableDiffusionXLPipeline

ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
TARGETS = {
    "attn": ATTENTION,
    "attn-mlp": (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
}
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
WORDS = ("q_proj", "k_proj", "v_proj", "out_proj")  # of CLIP's attention


def base_folder(recipe: ImageRecipe, folder: Path | None = None) -> Path:
    """Find the base's files, fetched from the hub at its revision if need be. Raises ModelError."""
    spec = find_base(recipe.base.id, read_settings().models)
    return folder or fetch_pipeline(pinned(spec, recipe.base.revision))


def load_pipeline(recipe: ImageRecipe, folder: Path | None = None) -> "StableDiffusionXLPipeline":
    """Load the base in the recipe's precision, frozen; its VAE in fp32. Raises ModelError."""
    base, whole = recipe.base, torch.float32
    vae = open_vae(base.vae, whole) if base.vae else None
    kinds = {"default": compute_type(recipe.training.precision), "vae": whole}
    pipeline: StableDiffusionXLPipeline = open_pipeline(
        base_folder(recipe, folder), base.id, kinds, vae
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


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


def adapted(pipeline: Any) -> dict[str, Any]:
    """Give the parts of a pipeline that have a LoRA: the UNet, and perhaps the text encoders."""
    parts = {part: getattr(pipeline, part, None) for part in PARTS}
    return {part: model for part, model in parts.items() if getattr(model, "peft_config", None)}


def trained_weights(pipeline: Any) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": weight
        for part, model in adapted(pipeline).items()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def add_lora(pipeline: Any, lora: ImageLora, seed: int) -> None:
    """Put a LoRA in fp32 on the UNet and perhaps the text encoders: fresh, or begun as a file."""
    from diffusers.training_utils import cast_training_params

    base = layers_of(pipeline) if lora.start else {}
    torch.manual_seed(seed)
    targets = TARGETS[lora.target] if isinstance(lora.target, str) else lora.target
    _adapt(pipeline.unet, lora, (*targets, *(CONVOLUTIONS if lora.conv_rank else ())))
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2) if lora.text_encoders else ():
        _adapt(encoder, lora, WORDS)
    for model in adapted(pipeline).values():
        cast_training_params(model, dtype=torch.float32)
    if lora.start:
        _begin(pipeline, read_lora("[lora] start", Path(lora.start).expanduser(), base))


def _adapt(model: Any, lora: ImageLora, targets: tuple[str, ...]) -> None:
    init = True if lora.init == "kaiming" else lora.init
    ranks = dict.fromkeys(CONVOLUTIONS, lora.conv_rank) if lora.conv_rank else {}
    alphas = {name: lora.alpha * rank / lora.rank for name, rank in ranks.items()}
    patterns = {"rank_pattern": ranks, "alpha_pattern": alphas}
    config = lora_config(lora, targets, init_lora_weights=init, task_type=None, **patterns)
    try:
        model.add_adapter(config)
    except ValueError as error:
        layers = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name})
        raise BadRecipe(
            f"The base's UNet has no module called {lora.target!r}. Set [lora] target to "
            f'"attn", "attn-mlp" or to some of: {", ".join(layers)}.'
        ) from error


def _begin(pipeline: Any, updates: dict[Place, Halves]) -> None:
    """Fill the fresh LoRA with another's updates; ranks that it does not fill stay without effect."""
    for (part, layer), half in updates.items():
        module = getattr(pipeline, part).get_submodule(layer)
        rank = half[DOWN].shape[0]
        if "default" not in getattr(module, "lora_A", ()) or module.r["default"] < rank:
            raise BadRecipe(
                f"[lora] start changes {part}.{layer} with rank {rank}, which this LoRA cannot hold. "
                "Raise lora.rank, or widen lora.target, conv_rank or text_encoders."
            )
        if SIZE in half:
            raise BadRecipe("[lora] start is a DoRA. Start from a LoRA.")
        down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            down[:rank] = half[DOWN]
            up[:, :rank] = half[UP] / module.scaling["default"]  # its strength is within

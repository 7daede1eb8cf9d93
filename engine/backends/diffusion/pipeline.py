"""The image base in memory: the one place that opens its files, safetensors only, never its code."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.backends.diffusion.loras import Lora, RowLoras, Strengths, activate, load_lora
from engine.backends.diffusion.previews import Projection, read_projection
from engine.backends.diffusion.prompt_encoder import Encoder
from engine.backends.model_loading import loading, placement
from engine.errors import ModelError
from engine.plan.cards import Weights
from engine.settings import Settings
from engine.weights.bases import HALF, HUB_PART, fetch, fetch_pipeline, find_base
from engine.weights.picture_layers import Layers, layers_of
from engine.weights.weight_files import check_pipeline, check_weights, digest_of

SMALL_GPU_BYTES = 10 << 30  # SDXL in half precision takes 7 GB, a 1024 pixel picture 2 more
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
TIME_IDS = 6
TILE = 512  # pixels: a quarter of the memory at 1024

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ResidentPipeline:
    pipeline: Any
    digest: str
    device: str
    projection: Projection
    low: bool = False
    loras: dict[str, Lora] = field(default_factory=dict)
    encoder: Encoder = field(init=False)
    layers: Layers = field(init=False)
    rows: RowLoras = field(init=False)
    _acting: Strengths | None = None  # of PEFT's; unknown after something was loaded

    def __post_init__(self) -> None:
        self.encoder = Encoder(self.pipeline, self.device)
        self.layers = layers_of(self.pipeline)
        self.rows = RowLoras(self.pipeline.unet)

    def lora(self, name: str, place: Path, digest: str = "") -> Lora:
        if name not in self.loras:
            self._acting = None
            self.loras[name] = load_lora(self.pipeline, self.layers, name, place, digest)
        return self.loras[name]

    def activate(self, strengths: Strengths) -> None:
        """Let exactly these LoRAs act in all parts, by PEFT."""
        if strengths != self._acting:
            self._acting = None
            activate(self.pipeline, dict(strengths))
            self._acting = strengths

    def meet(self, rows: Sequence[Strengths]) -> None:
        """Give each row of the UNet's next pass its own LoRAs; all the same where one must be alone."""
        alone = any(self.loras[name].alone for row in rows for name, _ in row)
        by_peft = alone or (len(set(rows)) == 1 and self.low)
        self.activate(rows[0] if by_peft else ())
        self.rows.meet([() for _ in rows] if by_peft else rows)

    def save_memory(self) -> None:
        import torch

        self.low = True
        tile(self.pipeline.vae)
        if self.device == "cuda":
            self.pipeline.enable_model_cpu_offload()
            torch.cuda.empty_cache()


def key_of(weights: Weights) -> tuple[str, ...]:
    return weights.base, weights.vae


def open_pipeline(folder: Path, spec: str, kind: Any, vae: Any = None) -> Any:
    """Open a base of SDXL's layout, frozen, its weights of half precision where it has no others. `kind`
    is a dtype, or one a part; `vae` takes the place of the base's own. Raises ModelError."""
    import diffusers
    import transformers

    for words in (diffusers.utils.logging, transformers.utils.logging):
        words.set_verbosity_error()  # they would log prompts
        words.disable_progress_bar()
    check_pipeline(folder)
    options = {**_variant(folder / "unet"), **({} if vae is None else {"vae": vae})}
    with loading(f"The base {spec}"):
        pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(
            folder,
            dtype=kind,
            use_safetensors=True,
            local_files_only=True,
            add_watermarker=False,
            **options,
        )
    check_layout(pipeline, spec)
    for part in PARTS:
        getattr(pipeline, part).requires_grad_(False).eval()
    return pipeline


def tile(vae: Any) -> None:
    """Have a VAE decode piece by piece; by itself SDXL's own begins only above 1024 pixels."""
    vae.enable_tiling()
    vae.enable_slicing()
    vae.tile_sample_min_size = TILE
    vae.tile_latent_min_size = TILE // 2 ** (len(vae.config.block_out_channels) - 1)


def open_vae(spec: str, dtype: Any) -> Any:
    import diffusers

    folder = fetch(spec, patterns=HUB_PART)
    check_weights(folder)
    with loading(spec):
        return diffusers.AutoencoderKL.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **_variant(folder)
        )


def _variant(folder: Path) -> dict[str, Any]:
    return {"variant": HALF} if any(folder.glob(f"*.{HALF}.*")) else {}


def load_resident(weights: Weights, settings: Settings) -> ResidentPipeline:
    import torch

    folder = fetch_pipeline(find_base(weights.base, settings.models))
    device, kind = placement(folder.glob("*/*.safetensors"))
    if device == "mps":
        kind = torch.float16
    chosen = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    kind = chosen.get(settings.picture_precision, kind)
    vae = open_vae(weights.vae, kind) if weights.vae else None
    pipeline = open_pipeline(folder, weights.base, kind, vae)
    if kind == torch.float16 and pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)  # SDXL's own VAE runs out of float16's range
    resident = ResidentPipeline(pipeline, digest_of(folder), device, read_projection(folder))
    _settle(resident, settings)
    log.info("base loaded", extra={"base": weights.base, "device": device, "dtype": str(kind)})
    return resident


def _settle(resident: ResidentPipeline, settings: Settings) -> None:
    import torch

    small = (
        resident.device == "cuda"
        and torch.cuda.get_device_properties(0).total_memory < SMALL_GPU_BYTES
    )
    wanted = settings.picture_memory
    if wanted == "low" or (wanted == "auto" and small):
        resident.save_memory()
    else:
        try:
            resident.pipeline.to(resident.device)
        except torch.OutOfMemoryError:
            resident.pipeline.to("cpu")
            resident.save_memory()


def check_layout(pipeline: Any, spec: str) -> None:
    """Raise ModelError unless the UNet takes two texts, a pooled text and six time ids, as SDXL's."""
    config = pipeline.unet.config
    pooled = pipeline.text_encoder_2.config.projection_dim
    needed = TIME_IDS * (config.addition_time_embed_dim or 0) + pooled
    if (
        config.addition_embed_type != "text_time"
        or config.projection_class_embeddings_input_dim != needed
        or config.time_cond_proj_dim is not None
    ):
        raise ModelError(
            f"{spec} has not SDXL's layout. Use stabilityai/stable-diffusion-xl-base-1.0, one made "
            "from it, or jewel-base."
        )

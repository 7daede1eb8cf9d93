"""Pictures by the product's own loop, LoRAs and decoding, on a random SDXL of the true shape."""

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.day import Day
from tests.benchmarks.gpu.shapes import EXPERTS, IMAGE_TARGETS, RANK

CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
TINY_CLIP = {"num_hidden_layers": 2, "num_attention_heads": 2}
TINY_UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (1, 2, 2),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 16,
}
TINY_VAE = {"block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 4}
GUIDANCE = 6.0
TOKENS = 77


def unet_shape(day: Day) -> dict[str, Any]:
    """SDXL's, of 2.57 thousand million parameters."""
    from tests.benchmarks.training_step import SDXL_UNET

    return SDXL_UNET | (TINY_UNET if day.tiny else {})


def build_sdxl(day: Day) -> Any:
    """A pipeline without tokenizers, in bfloat16 on a GPU as the product has it."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = torch.bfloat16 if day.device == "cuda" else torch.float32

    def encoder(made: Any, shape: dict[str, Any], tiny: int) -> Any:
        small = {"hidden_size": tiny, "intermediate_size": 2 * tiny, "projection_dim": tiny}
        config = CLIPTextConfig(**(shape | (small | TINY_CLIP if day.tiny else {})))
        return made(config).to(kind)

    torch.manual_seed(0)
    with torch.device(day.device):
        unet = UNet2DConditionModel(**unet_shape(day)).to(kind)
        vae = AutoencoderKL(**(VAE | (TINY_VAE if day.tiny else {}))).to(kind)
        first = encoder(CLIPTextModel, CLIP_L, 8)
        second = encoder(CLIPTextModelWithProjection, CLIP_G, 16)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=None,
        tokenizer_2=None,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**schedule, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )
    for part in (unet, vae, first, second):
        part.requires_grad_(False).eval()
    return pipeline


def sdxl(day: Day) -> Any:
    """Built once for the parts that follow each other, its three LoRAs loaded by the product."""
    if "sdxl" not in day.held:
        from engine.backends.diffusion.loras import load_lora
        from engine.weights.picture_layers import layers_of

        began = time.perf_counter()
        pipeline = day.held["sdxl"] = build_sdxl(day)
        day.sync()
        day.note("base built", time.perf_counter() - began, "s")
        unet = sum(weight.numel() for weight in pipeline.unet.parameters())
        day.note("UNet", unet / 1e9, "thousand million parameters")
        layers, taken = layers_of(pipeline), []
        for seed, name in enumerate(EXPERTS):
            place = save_lora(day.folder / f"lora-{name}", layers["unet"], seed)
            day.sync()
            began = time.perf_counter()
            load_lora(pipeline, layers, name, place)
            day.sync()
            taken.append(time.perf_counter() - began)
        day.note("a LoRA loaded from its file", sorted(taken)[1], "s", f"first {taken[0]:.2f} s")
    return day.held["sdxl"]


def save_lora(folder: Path, layers: dict[str, tuple[int, ...]], seed: int) -> Path:
    """A LoRA of rank 16 on the attention's projections."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for layer, shape in layers.items():
        if layer.endswith(IMAGE_TARGETS) and ".attn" in layer:
            down = torch.randn(RANK, shape[1], generator=draw) / shape[1] ** 0.5
            up = torch.randn(shape[0], RANK, generator=draw) * 0.01
            weights[f"unet.{layer}.lora_A.weight"] = down.half()
            weights[f"unet.{layer}.lora_B.weight"] = up.half()
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "pytorch_lora_weights.safetensors")
    return folder


def words(day: Day, pipeline: Any, seed: int) -> Any:
    """Embeddings of 77 random tokens, as the two encoders give them."""
    import torch

    from engine.backends.diffusion.prompt_encoder import EncodedPrompt

    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 49000, (1, TOKENS), generator=draw).to(day.device)
    one = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
    two = pipeline.text_encoder_2(ids, output_hidden_states=True)
    return EncodedPrompt(torch.cat([one, two.hidden_states[-2]], -1), two.text_embeds)


def draw(
    day: Day, pipeline: Any, count: int, steps: int, guidance: float, only: int = 0
) -> list[Any]:
    """So many pictures in one batch; `only` so many of their steps."""
    from engine.backends.diffusion.denoise import Canvas, denoise
    from engine.backends.diffusion.noise_schedulers import build_scheduler

    side = 64 if day.tiny else 1024
    canvases = []
    for number in range(count):
        scheduler = build_scheduler(pipeline.scheduler, "", steps, day.device, fast=steps < 10)
        canvas = Canvas(
            seed=number,
            size=(side, side),
            words=words(day, pipeline, number),
            away=words(day, pipeline, 99) if guidance > 1 else None,
            guidance=guidance,
            scheduler=scheduler,
            wanted=steps,
        )
        canvas.start(pipeline.vae_scale_factor, pipeline.unet.config.in_channels, day.device)
        canvases.append(canvas)
    for _ in range(only or steps):
        denoise(pipeline.unet, canvases)
    return canvases


def pictures(day: Day) -> None:
    """1 and 8 of 1024 x 1024 at 30 steps with guidance and at 4 without, with a LoRA."""
    import torch

    from engine.backends.diffusion.decode import decode
    from engine.backends.diffusion.loras import activate

    with torch.no_grad():
        pipeline = sdxl(day)
        long, some, many = (2, 1, 2) if day.tiny else (30, 5, 8)
        activate(pipeline, {EXPERTS[0]: 1.0})
        done = draw(day, pipeline, 1, 4, 0.0)
        day.note("words encoded", 1000 * day.timed(lambda: words(day, pipeline, 1)), "ms")
        with day.tried("VAE"):
            seconds = day.timed(lambda: decode(pipeline.vae, done[0].latents))
            day.note("VAE and copy of a picture", 1000 * seconds, "ms")
        for count, steps, guidance in ((1, 4, 0.0), (many, 4, 0.0), (1, long, GUIDANCE)):
            _whole(day, pipeline, count, steps, guidance)
        swap = day.timed(lambda: [activate(pipeline, {name: 1.0}) for name in EXPERTS]) / len(
            EXPERTS
        )
        day.note("LoRA changed for another (set_adapters)", 1000 * swap, "ms")
        _step(day, pipeline, "with a LoRA", 1, some)
        activate(pipeline, {})
        _step(day, pipeline, "without", 1, some)
        activate(pipeline, {EXPERTS[1]: 1.0})
        _whole(day, pipeline, many, long, GUIDANCE)


def _whole(day: Day, pipeline: Any, count: int, steps: int, guidance: float) -> None:
    from engine.backends.diffusion.decode import decode

    def whole() -> None:
        for canvas in draw(day, pipeline, count, steps, guidance):
            decode(pipeline.vae, canvas.latents)

    times = 1 if count > 1 and steps > 4 else 2
    name = f"{count} pictures, {steps} steps{', guided' if guidance else ''}"
    with day.tried(name):
        seconds = day.timed(whole, times, 0 if times == 1 else 1)
        day.note(name, seconds, "s", f"{seconds / count:.2f} s a picture")
        day.peak(name)


def _step(day: Day, pipeline: Any, name: str, count: int, steps: int) -> None:
    seconds = day.timed(lambda: draw(day, pipeline, count, 30, GUIDANCE, only=steps), 2, 1) / steps
    day.note(f"a guided step {name}", 1000 * seconds, "ms")


def compiled(day: Day) -> None:
    """The product's own setting picture_compile: what it costs once, and what it wins."""
    import torch

    from engine.backends.diffusion.loras import activate

    with torch.no_grad():
        pipeline = sdxl(day)
        activate(pipeline, {EXPERTS[0]: 1.0})
        pipeline.unet.compile(dynamic=True, **({"backend": "eager"} if day.tiny else {}))
        began = time.perf_counter()
        draw(day, pipeline, 1, 4, 0.0)
        day.sync()
        day.note("first picture of 4 steps, compiling", time.perf_counter() - began, "s")
        _whole(day, pipeline, 1, 4, 0.0)
        began = time.perf_counter()
        activate(pipeline, {EXPERTS[1]: 1.0})
        draw(day, pipeline, 1, 4, 0.0)
        day.sync()
        day.note("the first with another LoRA", time.perf_counter() - began, "s")
        if not day.tiny:
            _whole(day, pipeline, 1, 30, GUIDANCE)

"""Pictures by the product's own loop, LoRAs and decoding, on a random SDXL of the true shape."""

import time
from pathlib import Path
from typing import Any

from engine.backends.diffusion.loras import Strengths
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
        from engine.backends.diffusion.pipeline import ResidentPipeline
        from engine.backends.diffusion.previews import read_projection

        began = time.perf_counter()
        pipeline = build_sdxl(day)
        day.sync()
        day.note("base built", time.perf_counter() - began, "s")
        unet = sum(weight.numel() for weight in pipeline.unet.parameters())
        day.note("UNet", unet / 1e9, "thousand million parameters")
        resident = ResidentPipeline(pipeline, "", day.device, read_projection(day.folder))
        layers, taken = resident.layers, []
        day.held["sdxl"] = resident
        for seed, name in enumerate(EXPERTS):
            place = save_lora(day.folder / f"lora-{name}", layers["unet"], seed)
            day.sync()
            began = time.perf_counter()
            resident.lora(name, place)
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
    day: Day, rows: list[Strengths], steps: int, guidance: float, only: int = 0, seed: int = 0
) -> list[Any]:
    """A picture for each row of LoRAs, all in one batch; `only` so many of their steps."""
    from engine.backends.diffusion.denoise import Canvas, build_scheduler, denoise, passes_of

    resident = sdxl(day)
    pipeline, side = resident.pipeline, 64 if day.tiny else 1024
    canvases = []
    for number in range(seed, seed + len(rows)):
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
    strengths = dict(zip(canvases, rows, strict=True))
    for _ in range(only or steps):
        passes = passes_of(canvases)
        resident.meet([strengths[canvas] for canvas, _ in passes])
        denoise(pipeline.unet, passes)
    return canvases


def pictures(day: Day) -> None:
    """1 and 8 of 1024 x 1024 at 4 steps without guidance and at 30 with it: LoRAs mixed, one, none."""
    import torch

    from engine.backends.diffusion.decode import decode

    with torch.no_grad():
        resident = sdxl(day)
        long, some, many = (2, 1, 3) if day.tiny else (30, 5, 8)
        one: Strengths = ((EXPERTS[0], 1.0),)
        mixed: list[Strengths] = [((EXPERTS[n % 3], 1 - n / 20),) for n in range(many)]
        ways = {"LoRAs mixed": mixed, "one LoRA": [one] * many, "no LoRA": [()] * many}
        done = draw(day, [one], 4, 0.0)
        day.note("words encoded", 1000 * day.timed(lambda: words(day, resident.pipeline, 1)), "ms")
        with day.tried("VAE"):
            seconds = day.timed(lambda: decode(resident.pipeline.vae, done[0].latents))
            day.note("VAE and copy of a picture", 1000 * seconds, "ms")
        _whole(day, "1 picture, one LoRA", [one], 4, 0.0)
        for name, rows in ways.items():
            _whole(day, f"{many} pictures, {name}", rows, 4, 0.0)
        with day.tried("one by one"):
            began = time.perf_counter()
            alone = [draw(day, [row], 4, 0.0, seed=n)[0].latents for n, row in enumerate(mixed)]
            day.sync()
            day.note("8 one by one, 4 steps, no VAE", time.perf_counter() - began, "s")
            together = torch.cat([canvas.latents for canvas in draw(day, mixed, 4, 0.0)])
            whole = torch.cat(alone)
            off = float((together - whole).norm() / whole.norm())
            day.note("mixed against one by one, bf16", 100 * off, "% apart")
        for name, rows in ways.items():
            _step(day, f"1 row, {name}", rows[:1], some)
            _step(day, f"{many} rows, {name}", rows, some)
        resident.low = True  # rows of one LoRA go by PEFT's own layers then
        _step(day, "1 row, one LoRA by PEFT", [one], some)
        _step(day, f"{many} rows, one LoRA by PEFT", [one] * many, some)
        resident.low = False
        _swap(day)
        for name in ("LoRAs mixed", "one LoRA"):
            _whole(day, f"{many} pictures, {name}", ways[name], long, GUIDANCE)
        _whole(day, "1 picture, one LoRA", [one], long, GUIDANCE)


def _swap(day: Day) -> None:
    resident = sdxl(day)
    swap = day.timed(lambda: [resident.activate(((name, 1.0),)) for name in EXPERTS])
    day.note("LoRA changed for another by PEFT", 1000 * swap / len(EXPERTS), "ms")
    resident.activate(())

    def stacked() -> None:
        for name in EXPERTS:
            resident.rows.meet([((name, 1.0),)])

    day.note("LoRA changed for another, rows", 1000 * day.timed(stacked) / len(EXPERTS), "ms")


def _whole(day: Day, name: str, rows: list[Strengths], steps: int, guidance: float) -> None:
    from engine.backends.diffusion.decode import decode

    def whole() -> None:
        for canvas in draw(day, rows, steps, guidance):
            decode(sdxl(day).pipeline.vae, canvas.latents)

    times = 1 if steps > 4 else 2
    name = f"{name}, {steps} steps{', guided' if guidance else ''}"
    with day.tried(name):
        seconds = day.timed(whole, times, 0 if times == 1 else 1)
        day.note(name, seconds, "s", f"{seconds / len(rows):.2f} s a picture")
        day.peak(name)


def _step(day: Day, name: str, rows: list[Strengths], steps: int) -> None:
    with day.tried(name):
        taken = day.timed(lambda: draw(day, rows, 30, GUIDANCE, only=steps), 2, 1) / steps
        day.note(f"a guided step, {name}", 1000 * taken, "ms")

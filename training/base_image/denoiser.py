"""Stage two of an image base: the UNet and its two text encoders, trained together on latents.

v-prediction with a noise schedule that ends in pure noise: so a black or a cream ground can be drawn
from the first step on, which epsilon-prediction learns late.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.base_image.autoencoder import DOWN, LATENTS, WithPreview, save_grid
from training.base_image.base_recipe import BaseRecipe, Denoiser
from training.base_image.collection import Collection
from training.base_image.latent_views import Views
from training.base_image.resumable_loop import Part, device
from training.base_image.vocabulary import caption_of

POSITIONS = 77
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
NOISES = DDPMScheduler(**SCHEDULE)
SHOWN = (
    "a gold ring set with a large emerald on a dark blue ground",
    "a tiara of silver set with sapphire, on a cream ground",
    "a necklace of rose gold set with pearl, on a black ground",
    "a brooch of gold set with ruby, on a pale green ground",
    "a pendant of silver set with amethyst, on a grey ground",
    "a pair of earrings of gold set with turquoise, on a dark blue ground",
    "a coronet of steel set with coral, on a cream ground",
    "a bracelet of rose gold set with lapis lazuli, on a pale green ground",
)
SHOWN_BATCH = 32
UNIFORM = 0.1
SHOWN_STEPS = 25
SHOWN_GUIDANCE = 4.0


class Conditioned(nn.Module):
    """Join the UNet and the two text encoders that speak to it, in SDXL's layout."""

    def __init__(self, recipe: BaseRecipe):
        super().__init__()
        shape, cells = recipe.denoiser, recipe.pictures.size // DOWN
        first, second = shape.text_widths
        self.text_encoder = CLIPTextModel(_text(shape, 0))
        self.text_encoder_2 = CLIPTextModelWithProjection(_text(shape, 1))
        self.unet = UNet2DConditionModel(
            sample_size=cells,
            in_channels=LATENTS,
            out_channels=LATENTS,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=shape.channels,
            layers_per_block=shape.layers,
            norm_num_groups=shape.groups,
            transformer_layers_per_block=shape.transformers,
            attention_head_dim=shape.heads,
            cross_attention_dim=first + second,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=shape.time_embedding,
            projection_class_embeddings_input_dim=6 * shape.time_embedding + second,
        )

    def forward(
        self, noisy: Tensor, step: Tensor, words: Tensor, words_2: Tensor, time_ids: Tensor
    ) -> Tensor:
        """Predict v of noisy latents (B, 4, h, w) at timesteps (B,); token ids (B, 77), times (B, 6)."""
        first = self.text_encoder(words, output_hidden_states=True)
        second = self.text_encoder_2(words_2, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        added = {"text_embeds": second.text_embeds, "time_ids": time_ids}
        found: Tensor = self.unet(noisy, step, states, added_cond_kwargs=added).sample
        return found


def _text(shape: Denoiser, which: int) -> CLIPTextConfig:
    """Configure a text encoder as SDXL does: penultimate states are used, the second is pooled."""
    width = shape.text_widths[which]
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=shape.text_layers[which],
        num_attention_heads=max(1, width // 16),
        projection_dim=width,
        hidden_act="quick_gelu" if which == 0 else "gelu",
        vocab_size=49408,
        max_position_embeddings=POSITIONS,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


class Speller:
    """Tokenize for both CLIP encoders, with a memory: captions come again and again; (B, 77) each."""

    def __init__(self, folder: Path):
        names = ("tokenizer", "tokenizer_2")
        self.tokenizers = [CLIPTokenizer.from_pretrained(folder / name) for name in names]
        self._known: dict[str, list[list[int]]] = {}

    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        first, second = zip(*map(self._ids, captions), strict=True)
        return torch.tensor(first), torch.tensor(second)

    def _ids(self, caption: str) -> list[list[int]]:
        if caption not in self._known:
            asked: Any = {"padding": "max_length", "max_length": POSITIONS, "truncation": True}
            self._known[caption] = [spell(caption, **asked).input_ids for spell in self.tokenizers]
        return self._known[caption]

    def strange(self, count: int, seed: int) -> tuple[str, ...]:
        """Sample words of the vocabulary that no caption of ours is about."""
        names = sorted(
            token.removesuffix("</w>")
            for token in self.tokenizers[0].get_vocab()
            if token.endswith("</w>") and token.removesuffix("</w>").isalpha()
        )
        return tuple(random.Random(seed).sample(names, count))


def fit_denoiser(
    recipe: BaseRecipe, folder: Path, tokenizers: Path, seen: Collection, views: Views,
    unseen: Collection, unseen_views: Views, coder: WithPreview,
) -> Part:  # fmt: skip
    shape = recipe.denoiser
    torch.manual_seed(recipe.seed)
    model = Conditioned(recipe)
    speller = Speller(tokenizers)
    digest = f"{shape.model_dump_json(exclude={'steps'})} {views.scaling}"
    part = Part(folder, model, shape.learning_rate, shape.steps, digest)
    part.resume()
    if device().type == "cuda":
        _play_from_graphs(model, views, shape.batch)
    strange = speller.strange(4000, recipe.seed)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"{recipe.seed}:{step}")
        draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        indices = [rng.randrange(len(seen)) for _ in range(shape.batch)]
        chosen = [rng.randrange(views.latents.shape[0]) for _ in indices]
        captions = [
            "" if rng.random() < shape.caption_dropout else caption_of(seen.facts[i], rng, strange)
            for i in indices
        ]
        latents = views.latents[chosen, indices]
        noise = torch.randn(latents.shape, generator=draw)
        steps, times = drawn_steps(shape.batch, draw), views.time_ids[chosen, indices]
        loss = velocity_error(model, latents, noise, steps, speller(captions), times)
        return loss, {"loss": float(loss.detach())}

    def watch(step: int) -> None:
        with averaged(part), torch.no_grad():
            error = unseen_error(model, speller, unseen, unseen_views, recipe.seed)
            part.note({"unseen_loss": error})
            coder.autoencoder.register_to_config(scaling_factor=views.scaling)
            pictures = drawn(pipeline(model, coder, speller), list(SHOWN), seed=1)
            save_grid([pictures[:4], pictures[4:]], folder / f"drawn-{step:06d}.png")

    part.fit(loss_of, recipe.checkpoint_minutes, watch)
    return part


def _play_from_graphs(model: Conditioned, views: Views, batch: int) -> None:
    """Capture both passes of a batch: launching the kernels of so small a model takes longer than
    running them. In `eval` the model runs as it is."""
    words, steps = torch.zeros(batch, POSITIONS, dtype=torch.long), torch.zeros(batch).long()
    latents, times = (
        kept[0, :1].repeat(batch, *[1] * (kept.dim() - 2))
        for kept in (views.latents, views.time_ids)
    )
    sample = tuple(tensor.to(device()) for tensor in (latents, steps, words, words, times))
    with _passes():
        torch.cuda.make_graphed_callables(model, sample, allow_unused_input=True)


@contextmanager
def _passes() -> Iterator[None]:
    """bfloat16 without remembered casts, which a graph cannot have; on a processor the plain
    attention, for the fused one's backward pass takes 40 % of a step there."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device().type, torch.bfloat16, cache_enabled=False))
        if device().type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def velocity_error(
    model: Conditioned, latents: Tensor, noise: Tensor, steps: Tensor,
    words: tuple[Tensor, Tensor], times: Tensor,
) -> Tensor:  # fmt: skip
    here = device()
    noisy = NOISES.add_noise(latents, noise, steps)
    target = NOISES.get_velocity(latents, noise, steps)
    given = (noisy, steps, *words, times)
    with _passes():
        found = model(*(tensor.to(here) for tensor in given))
    return functional.mse_loss(found.float(), target.to(here))


def unseen_error(
    model: Conditioned, speller: Speller, unseen: Collection, views: Views, seed: int
) -> float:
    """Average the error on pictures that were never trained on, at fixed noise and timesteps."""
    draw = torch.Generator().manual_seed(seed)
    losses = []
    for place in range(0, len(unseen), SHOWN_BATCH):
        indices = list(range(place, min(place + SHOWN_BATCH, len(unseen))))
        latents = views.latents[0, indices]
        noise = torch.randn(latents.shape, generator=draw)
        steps = torch.linspace(0, 999, len(indices)).long()
        words = speller([unseen.facts[i]["caption"] for i in indices])
        times = views.time_ids[0, indices]
        losses.append(float(velocity_error(model, latents, noise, steps, words, times)))
    return sum(losses) / len(losses)


def drawn_steps(count: int, draw: torch.Generator) -> Tensor:
    """Timesteps (count,): nine in ten logit-normal (Esser et al. 2024, section 3.1), for shapes are
    decided in the middle; the rest uniform, so that pure noise and the last touch are learnt too."""
    middle = torch.sigmoid(torch.randn(count, generator=draw))
    even = torch.rand(count, generator=draw)
    chosen = torch.where(torch.rand(count, generator=draw) < UNIFORM, even, middle)
    return (chosen * 1000).long().clamp(0, 999)


@contextmanager
def averaged(part: Part) -> Iterator[None]:
    own = {name: weight.detach().clone() for name, weight in part.weights.items()}
    part.averaged()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in part.weights.items():
                weight.copy_(own[name])
        part.model.train()


def pipeline(model: Conditioned, coder: WithPreview, speller: Speller) -> StableDiffusionXLPipeline:
    made = StableDiffusionXLPipeline(
        vae=coder.autoencoder.eval(),
        text_encoder=model.text_encoder,
        text_encoder_2=model.text_encoder_2,
        tokenizer=speller.tokenizers[0],
        tokenizer_2=speller.tokenizers[1],
        unet=model.unet,
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def drawn(made: StableDiffusionXLPipeline, prompts: list[str], seed: int) -> Tensor:
    """Draw pictures (N, 3, H, W) in -1..1 of the prompts, one seed after the other."""
    pictures: Tensor = made(
        prompt=prompts,
        num_inference_steps=SHOWN_STEPS,
        guidance_scale=SHOWN_GUIDANCE,
        generator=[torch.Generator().manual_seed(seed + place) for place in range(len(prompts))],
        output_type="pt",
    ).images
    return pictures.float() * 2 - 1

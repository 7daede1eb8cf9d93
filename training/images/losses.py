"""Ask a UNet for what it takes a noisy latent to be, and say how wrong it is.

Each timestep counts as in min-SNR (Hang et al. 2023).

With SNR = alpha² / sigma², the weights that make every prediction type the same loss on the picture
are min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for velocity, min(SNR, gamma) for the
picture itself (section 3.4 and appendix of the paper).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.images.data.latent_cache import Embeddings
from training.images.data.samples import Sample, Samples
from training.images.recipe import ImageRecipe
from training.run.schedule import generator_for


def weights_of(schedule: Any, times: Tensor, gamma: float) -> Tensor:
    """Weigh each timestep's squared error; all 1 for gamma 0."""
    from diffusers.training_utils import compute_snr

    if not gamma:
        return torch.ones(times.shape, device=times.device)
    snr: Tensor = compute_snr(schedule, times)
    capped = snr.clamp(max=gamma)
    match schedule.config.prediction_type:
        case "epsilon":
            return torch.where(snr > 0, capped / snr.clamp(min=1e-12), 1.0)
        case "v_prediction":
            return capped / (snr + 1)
        case _:
            return capped


def target_of(schedule: Any, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    match schedule.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            velocity: Tensor = schedule.get_velocity(latents, noise, times)
            return velocity
        case _:
            return latents


@dataclass(frozen=True, slots=True)
class Denoiser:
    unet: Any
    schedule: Any
    device: Any
    precision: Any
    embeddings: Embeddings

    def errors(
        self, chosen: Sequence[Sample], latents: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        """Give the unweighted squared error of each picture, given timesteps and noise."""
        noisy = self.schedule.add_noise(latents, noise, times)
        target = target_of(self.schedule, latents, noise, times)
        embeddings, pooled = self.embeddings.batch([sample.caption for sample in chosen])
        time_ids = torch.tensor([sample.time_ids for sample in chosen], dtype=torch.float32)
        answer = self.unet(
            noisy.to(self.device, self.precision),
            times.to(self.device),
            encoder_hidden_states=embeddings.to(self.device, self.precision),
            added_cond_kwargs={
                "text_embeds": pooled.to(self.device, self.precision),
                "time_ids": time_ids.to(self.device),  # whole numbers, which bf16 would round
            },
        ).sample
        wrong: Tensor = answer.float() - target.to(self.device).float()
        return wrong.square().flatten(1).mean(1)


def times_of(steps: int, count: int) -> list[int]:
    """Place `count` timesteps in the middles of equal parts of the schedule.

    >>> times_of(1000, 10)
    [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    """
    return [int((part + 0.5) * steps / count) for part in range(count)]


def held_out_losses(
    denoiser: Denoiser, recipe: ImageRecipe, samples: Samples
) -> tuple[Tensor, Tensor]:
    """Measure errors by timestep, unweighted and weighted as in training: two tensors of means."""
    denoiser.unet.eval()
    schedule = denoiser.schedule
    times = torch.tensor(times_of(len(schedule.alphas_cumprod), recipe.validation.times))
    with torch.no_grad():
        rows = [row_of(denoiser, recipe, samples, number, times) for number in range(len(samples))]
    plain = torch.stack(rows).mean(0)
    return plain, plain * weights_of(schedule, times, recipe.training.snr_gamma)


def row_of(
    denoiser: Denoiser, recipe: ImageRecipe, samples: Samples, number: int, times: Tensor
) -> Tensor:
    """Average one picture's errors by timestep over the fixed noises."""
    sample = samples.sample(number, 0, 0)
    seed, noises = recipe.run.seed, recipe.validation.noises
    asked = times.repeat_interleave(noises)
    draws = [generator_for(seed, "held out", sample.name, place) for place in range(len(asked))]
    noise = torch.stack([torch.randn(sample.mean.shape, generator=draw) for draw in draws])
    size, found = recipe.training.batch, []
    for part, at in zip(torch.split(noise, size), torch.split(asked, size), strict=True):
        latents = sample.mean.expand(part.shape)
        found.append(denoiser.errors([sample] * len(at), latents, part, at).cpu())
    return torch.cat(found).view(len(times), noises).mean(1)

"""The held-out loss: the same pictures, timesteps and noise each time, so that figures compare."""

from typing import TYPE_CHECKING

from training.images.data.samples import Samples
from training.images.losses import weights_of
from training.images.noise_prediction import Denoiser
from training.images.recipe import ImageRecipe
from training.runs.schedule import generator_for

if TYPE_CHECKING:
    from torch import Tensor


def times_of(steps: int, count: int) -> list[int]:
    """So many timesteps, in the middles of equal parts of the schedule.

    >>> times_of(1000, 10)
    [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    """
    return [int((part + 0.5) * steps / count) for part in range(count)]


def held_out_losses(
    denoiser: Denoiser, recipe: ImageRecipe, samples: Samples
) -> "tuple[Tensor, Tensor]":
    """Measure errors by timestep, unweighted and weighted as in training: two tensors of means."""
    import torch

    denoiser.unet.eval()
    schedule = denoiser.schedule
    times = torch.tensor(times_of(len(schedule.alphas_cumprod), recipe.validation.times))
    with torch.no_grad():
        rows = [row_of(denoiser, recipe, samples, number, times) for number in range(len(samples))]
    plain = torch.stack(rows).mean(0)
    return plain, plain * weights_of(schedule, times, recipe.training.snr_gamma)


def row_of(
    denoiser: Denoiser, recipe: ImageRecipe, samples: Samples, number: int, times: "Tensor"
) -> "Tensor":
    """Average one picture's errors by timestep over the fixed noises."""
    import torch

    sample = samples.sample(number, 0, 0)
    seed, noises = recipe.run.seed, recipe.validation.noises
    asked = times.repeat_interleave(noises)
    draws = [generator_for(seed, "held out", sample.name, place) for place in range(len(asked))]
    noise = torch.stack([torch.randn(sample.mean.shape, generator=draw) for draw in draws])
    found = []
    size = recipe.training.batch
    for start in range(0, len(asked), size):
        part = slice(start, start + size)
        count = len(asked[part])
        latents = sample.mean.expand(count, *sample.mean.shape)
        found.append(denoiser.errors([sample] * count, latents, noise[part], asked[part]).cpu())
    return torch.cat(found).view(len(times), noises).mean(1)

"""The loss of a step is that of the reference scripts: their formulas, derived anew in double precision.

diffusers' DreamBooth script and kohya's weigh the squared error of the noise by min(SNR, 5) / SNR (Hang
et al. 2023, section 3.4); that of the velocity kohya by min(SNR, 5) / (SNR + 1). diffusers' script adds
one to the former instead, which its own issue tracker calls wrong; we do as the paper and kohya do.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sdxl import SDXL_SCHEDULE, VELOCITY

from training.images.bases import noise_schedule
from training.images.data.samples import Sample
from training.images.losses import Denoiser, weights_of

GAMMA = 5.0
TIMES = (0, 3, 146, 147, 500, 998, 999)


def alphas(zero_terminal: bool) -> Any:
    """The shares of the picture in a noisy latent (their squares), by timestep: scaled-linear betas.

    With zero terminal SNR their roots are shifted and stretched, so that the last is 0 and the first
    stays (Lin et al. 2023, algorithm 1).
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    roots = np.sqrt(np.cumprod(1 - betas))
    if zero_terminal:
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return roots**2


def network(noisy: Any, time: Any) -> Any:
    """A made-up network, the same for both ways."""
    return 0.7 * noisy - 0.2 + time / 2000


def by_hand(
    picture: Any, noise: Any, time: int, *, velocity: bool, zero: bool
) -> tuple[float, float]:
    """One picture's squared error and its weight."""
    share = alphas(zero)[time]
    noisy = share**0.5 * picture + (1 - share) ** 0.5 * noise
    target = share**0.5 * noise - (1 - share) ** 0.5 * picture if velocity else noise
    snr = share / (1 - share)
    least = min(snr, GAMMA)
    weight = least / (snr + 1) if velocity else (least / snr if snr else 1.0)
    return float(((network(noisy, time) - target) ** 2).mean()), weight


def ours(picture: Any, noise: Any, *, velocity: bool, zero: bool) -> tuple[Any, Any]:
    from diffusers import EulerDiscreteScheduler

    settings = {**SDXL_SCHEDULE, **(VELOCITY if zero else {})}
    settings |= {"prediction_type": "v_prediction" if velocity else "epsilon"}
    base = SimpleNamespace(scheduler=EulerDiscreteScheduler(**settings))
    schedule = noise_schedule(base)
    words = SimpleNamespace(
        batch=lambda said: (torch.zeros(len(said), 1), torch.zeros(len(said), 1))
    )

    def unet(noisy: Any, times: Any, **_: Any) -> Any:
        return SimpleNamespace(sample=network(noisy, times.view(-1, 1, 1, 1)))

    denoiser = Denoiser(unet, schedule, torch.device("cpu"), torch.float32, words)
    times = torch.tensor(TIMES)
    shown = [Sample("a", picture, picture, "", (64, 64, 0, 0, 64, 64))] * len(TIMES)
    latents = torch.from_numpy(picture).float().expand(len(TIMES), -1, -1, -1)
    found = denoiser.errors(shown, latents, torch.from_numpy(noise).float(), times)
    return found, weights_of(schedule, times, GAMMA)


@pytest.mark.parametrize(
    ("velocity", "zero"),
    [(False, False), (True, False), (True, True)],
    ids=["noise", "velocity", "zero"],
)
def test_a_pictures_loss_is_that_of_the_formulas(velocity: bool, zero: bool) -> None:
    draw = np.random.default_rng(1)
    picture, noise = draw.normal(size=(4, 8, 8)), draw.normal(size=(len(TIMES), 4, 8, 8))
    errors, weights = ours(picture, noise, velocity=velocity, zero=zero)
    for place, time in enumerate(TIMES):
        error, weight = by_hand(picture, noise[place], time, velocity=velocity, zero=zero)
        assert float(errors[place]) == pytest.approx(error, rel=2e-4)
        assert float(weights[place]) == pytest.approx(weight, rel=2e-3, abs=1e-7)


def test_only_diffusers_own_weight_of_the_velocity_is_another() -> None:
    draw = np.random.default_rng(1)
    picture, noise = draw.normal(size=(4, 8, 8)), draw.normal(size=(len(TIMES), 4, 8, 8))
    weights = ours(picture, noise, velocity=True, zero=False)[1]
    snr = alphas(zero_terminal=False)[list(TIMES)] / (1 - alphas(zero_terminal=False)[list(TIMES)])
    scripts = np.minimum(snr, GAMMA) / snr + 1
    assert (scripts > 1).all() and float(weights.max()) < 0.84

"""What the UNet is asked for, and how much each timestep counts (min-SNR, Hang et al. 2023).

With SNR = alpha² / sigma², the weights that make every prediction type the same loss on the picture
are min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for velocity, min(SNR, gamma) for the
picture itself (section 3.4 and appendix of the paper).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def snr_of(schedule: Any, times: "Tensor") -> "Tensor":
    """Give the signal-to-noise ratio at integer timesteps."""
    from diffusers.training_utils import compute_snr

    snr: Tensor = compute_snr(schedule, times)
    return snr


def weights_of(schedule: Any, times: "Tensor", gamma: float) -> "Tensor":
    """Weigh each timestep's squared error; all 1 for gamma 0."""
    import torch

    if not gamma:
        return torch.ones(times.shape, device=times.device)
    snr = snr_of(schedule, times)
    capped = snr.clamp(max=gamma)
    match schedule.config.prediction_type:
        case "epsilon":
            return torch.where(snr > 0, capped / snr.clamp(min=1e-12), 1.0)
        case "v_prediction":
            return capped / (snr + 1)
        case _:
            return capped


def target_of(schedule: Any, latents: "Tensor", noise: "Tensor", times: "Tensor") -> "Tensor":
    """Give what the UNet should answer, by the base's prediction type."""
    match schedule.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            velocity: Tensor = schedule.get_velocity(latents, noise, times)
            return velocity
        case _:
            return latents


def errors_of(answer: "Tensor", target: "Tensor") -> "Tensor":
    """Give the mean squared error of each sample of a batch, in fp32."""
    return (answer.float() - target.float()).square().flatten(1).mean(1)

"""Ask a UNet for what it takes a noisy latent to be, and say how wrong it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.images.data.samples import Sample
from training.images.losses import errors_of, target_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Denoiser:
    """Ask a UNet with the noise schedule of its base, on a device and in a precision."""

    unet: Any
    schedule: Any
    device: Any
    precision: Any

    def errors(
        self, chosen: Sequence[Sample], latents: "Tensor", noise: "Tensor", times: "Tensor"
    ) -> "Tensor":
        """Give the unweighted squared error of each picture, given timesteps and noise."""
        import torch

        noisy = self.schedule.add_noise(latents, noise, times)
        target = target_of(self.schedule, latents, noise, times)
        pooled = torch.stack([sample.pooled for sample in chosen])
        time_ids = torch.tensor([sample.time_ids for sample in chosen], dtype=torch.float32)
        embeddings = torch.stack([sample.embeddings for sample in chosen])
        answer = self.unet(
            noisy.to(self.device, self.precision),
            times.to(self.device),
            encoder_hidden_states=embeddings.to(self.device, self.precision),
            added_cond_kwargs={
                "text_embeds": pooled.to(self.device, self.precision),
                "time_ids": time_ids.to(self.device),  # whole numbers, which bf16 would round
            },
        ).sample
        return errors_of(answer, target.to(self.device))

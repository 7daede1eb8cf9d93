"""Fit a LoRA to pictures, one optimiser step at a time; a plain loop that can stop anywhere.

A step's loss is the mean over its pictures, however they are split into batches by shape, by memory
or over processes; pictures of the prior class add their own mean, at the recipe's weight.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.errors import TrainingStopped
from training.images.data.samples import Sample, Samples
from training.images.losses import weights_of
from training.images.noise_prediction import Denoiser
from training.images.recipe import ImageRecipe
from training.images.schedule import Batch, batches_of_step, generator_for, key_of, rate_at

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


class ImageTrainer:
    """A UNet with a LoRA, its optimiser, and the noise schedule of its base."""

    def __init__(
        self,
        recipe: ImageRecipe,
        unet: Any,
        optimiser: Any,
        schedule: Any,
        accelerator: "Accelerator",
    ) -> None:
        self.recipe, self.schedule, self.accelerator = recipe, schedule, accelerator
        self.weights = [weight for weight in unet.parameters() if weight.requires_grad]
        precision = unet.dtype
        self.unet, self.optimiser = accelerator.prepare(unet, optimiser)
        self.denoiser = Denoiser(self.unet, schedule, accelerator.device, precision)

    def step(
        self, samples: Samples, prior: Samples | None, step: int, steps: int
    ) -> dict[str, float]:
        """One optimiser step; gives its loss, gradient norm and learning rate."""
        rate = rate_at(self.recipe.training, step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.unet.train()
        figures = {"loss": self.backward(samples, step, "pictures", 1.0)}
        if prior is not None:
            figures["prior"] = self.backward(prior, step, "prior", self.recipe.prior.weight)
        norm = self.update(step, sum(figures.values()))
        return {**figures, "norm": norm, "rate": rate}

    def backward(self, samples: Samples, step: int, what: str, weight: float) -> float:
        """Add the gradients of one step's batches; gives the mean loss of their pictures."""
        import torch

        training, seed = self.recipe.training, self.recipe.run.seed
        processes = self.accelerator.num_processes
        parts = batches_of_step(
            samples.shapes, training.batch, training.accumulate * processes, f"{seed}:{what}", step
        )
        count = sum(len(part.indices) for part in parts)
        total = 0.0
        for number in range(self.accelerator.process_index, len(parts), processes):
            torch.manual_seed(key_of(seed, step, number, what, "dropout"))
            chosen = self.chosen(samples, parts[number], step, number, what)
            loss = self.losses(chosen, step, number, what).sum()
            self.accelerator.backward(loss * (weight * processes / count))
            total += float(loss.detach())
        return self.everywhere(total) / count

    def chosen(
        self, samples: Samples, part: Batch, step: int, number: int, what: str
    ) -> list[Sample]:
        """The pictures of a batch in their epoch's cuts, captions dropped as drawn."""
        import torch

        seed, chosen = self.recipe.run.seed, []
        share = self.recipe.data.caption_dropout if what == "pictures" else 0.0
        for row, index in enumerate(part.indices):
            sample = samples.sample(index, seed, part.epoch)
            draw = generator_for(seed, step, number, row, sample.name, "caption")
            if float(torch.rand((), generator=draw)) < share:
                nothing = samples.embeddings.nothing()
                sample = Sample(
                    sample.name, sample.mean, sample.deviation, *nothing, sample.time_ids
                )
            chosen.append(sample)
        return chosen

    def losses(self, chosen: Sequence[Sample], step: int, number: int, what: str) -> "Tensor":
        """The weighted loss of each picture at the timestep and noise drawn for it."""
        import torch

        latents, noise, times = [], [], []
        for row, sample in enumerate(chosen):
            draw = generator_for(self.recipe.run.seed, step, number, row, sample.name, what)
            shape = sample.mean.shape
            times.append(torch.randint(len(self.schedule.alphas_cumprod), (), generator=draw))
            latents.append(sample.mean + sample.deviation * torch.randn(shape, generator=draw))
            offset = torch.randn((shape[0], 1, 1), generator=draw)
            drawn = torch.randn(shape, generator=draw)
            noise.append(drawn + self.recipe.training.noise_offset * offset)
        asked = torch.stack(times)
        found = self.denoiser.errors(chosen, torch.stack(latents), torch.stack(noise), asked)
        gamma = self.recipe.training.snr_gamma
        return found * weights_of(self.schedule, asked, gamma).to(found.device)

    def update(self, step: int, loss: float) -> float:
        """Clip and apply the gradients; raises TrainingStopped when they are not finite."""
        norm = float(self.accelerator.clip_grad_norm_(self.weights, self.recipe.training.clip))
        scaled = self.accelerator.scaler is not None  # fp16 skips a step that overflowed itself
        if loss != loss or (not scaled and not norm < float("inf")):
            raise TrainingStopped(
                f"The loss became {loss:g} and its gradient {norm:g} at step {step + 1}. The last good "
                "checkpoint is kept. Lower training.learning_rate (try half), or set "
                'training.precision to "bf16" or "fp32"; with fp16 also set base.vae to '
                '"madebyollin/sdxl-vae-fp16-fix". Then delete the checkpoints or use --fresh.'
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        return norm

    def everywhere(self, value: float) -> float:
        """The sum of a figure over all processes."""
        import torch

        if self.accelerator.num_processes == 1:
            return value
        here = torch.tensor(value, device=self.accelerator.device)
        return float(self.accelerator.reduce(here, reduction="sum"))

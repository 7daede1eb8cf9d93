"""Fit a LoRA to pictures, one optimiser step at a time; a plain loop that can stop anywhere.

A step's loss is the mean over its pictures, however they are split into batches by shape, by memory
or over processes; pictures of the prior class add their own mean, at the recipe's weight.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from training.errors import BadRecipe
from training.images.bases import adapted, noise_schedule
from training.images.data.samples import Sample, Samples
from training.images.losses import Denoiser, weights_of
from training.images.recipe import ImageRecipe
from training.images.schedule import Batch, batches_of_step
from training.run.schedule import draw_key, generator_for
from training.run.trainer import Trainer


class ImageTrainer(Trainer):
    hint = '; with fp16 also set base.vae to "madebyollin/sdxl-vae-fp16-fix"'

    def __init__(
        self, recipe: ImageRecipe, pipeline: Any, embeddings: Any, accelerator: Accelerator
    ) -> None:
        encoders = [model for part, model in adapted(pipeline).items() if part != "unet"]
        if encoders and accelerator.num_processes > 1:
            raise BadRecipe("lora.text_encoders trains on one GPU alone. Set it to false.")
        super().__init__(recipe.training, pipeline.unet, accelerator, encoders)
        self.recipe, self.schedule = recipe, noise_schedule(pipeline)
        device, precision = accelerator.device, pipeline.unet.dtype
        self.denoiser = Denoiser(self.model, self.schedule, device, precision, embeddings)

    def step(
        self, samples: Samples, prior: Samples | None, step: int, steps: int
    ) -> dict[str, float]:
        """Take one optimiser step; gives its loss, gradient norm and learning rate."""
        rate = self.begin(step, steps)
        figures = {"loss": self.backward(samples, step, "pictures", 1.0)}
        if prior is not None:
            figures["prior"] = self.backward(prior, step, "prior", self.recipe.prior.weight)
        norm = self.update(step, sum(figures.values()))
        return {**figures, "norm": norm, "rate": rate}

    def backward(self, samples: Samples, step: int, what: str, weight: float) -> float:
        """Add the gradients of one step's batches; gives the mean loss of their pictures."""
        training, seed = self.recipe.training, self.recipe.run.seed
        processes = self.accelerator.num_processes
        parts = batches_of_step(
            samples.shapes, training.batch, training.accumulate * processes, f"{seed}:{what}", step
        )
        count = sum(len(part.indices) for part in parts)
        total = 0.0
        for number in range(self.accelerator.process_index, len(parts), processes):
            torch.manual_seed(draw_key(seed, step, number, what, "dropout"))
            chosen = self.chosen(samples, parts[number], step, number, what)
            loss = self.losses(chosen, step, number, what).sum()
            self.accelerator.backward(loss * (weight * processes / count))
            total += float(loss.detach())
        return self.everywhere(total) / count

    def chosen(
        self, samples: Samples, part: Batch, step: int, number: int, what: str
    ) -> list[Sample]:
        """Load a batch's pictures in their epoch's cuts, captions dropped as drawn."""
        seed, chosen = self.recipe.run.seed, []
        share = self.recipe.data.caption_dropout if what == "pictures" else 0.0
        for row, index in enumerate(part.indices):
            sample = samples.sample(index, seed, part.epoch)
            draw = generator_for(seed, step, number, row, sample.name, "caption")
            dropped = float(torch.rand((), generator=draw)) < share
            chosen.append(replace(sample, caption=None) if dropped else sample)
        return chosen

    def losses(self, chosen: Sequence[Sample], step: int, number: int, what: str) -> Tensor:
        """Give the weighted loss of each picture at the timestep and noise drawn for it."""
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

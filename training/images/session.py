"""Take one run on pictures to its end: pipeline, pictures, trainer, average, grids."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from engine.weights.weight_files import digest_of
from training.images.bases import adapted, add_lora, load_pipeline, resolution_of, trained_weights
from training.images.data.folder import Picture, Pictures
from training.images.data.latent_cache import Cache, Embeddings, Latents
from training.images.data.samples import Samples, told_of
from training.images.drawing.generation import DrawRequest, draw, on_device, prior_pictures
from training.images.drawing.grid import save_png, sheet
from training.images.losses import held_out_losses
from training.images.recipe import ImageRecipe
from training.images.schedule import batches_in, steps_in
from training.images.trainer import ImageTrainer
from training.run import checkpoints
from training.run.expiry import stamp_until
from training.run.recipe import digest_of_values
from training.run.schedule import spread
from training.run.session import RunSession
from training.run.trainer import accelerator_for

PREFIX = "average."


class Average:
    """Keep diffusers' own EMAModel over the trained weights; decay 0 means none."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        from diffusers.training_utils import EMAModel

        self.names, self.weights = list(weights), list(weights.values())
        self.model = EMAModel(self.weights, decay=decay) if decay else None

    def step(self) -> None:
        if self.model is not None:
            self.model.step(self.weights)

    @contextmanager
    def applied(self) -> Iterator[None]:
        if self.model is None:
            yield
            return
        self.model.store(self.weights)
        self.model.copy_to(self.weights)
        try:
            yield
        finally:
            self.model.restore(self.weights)

    def state(self) -> dict[str, Tensor]:
        if self.model is None:
            return {}
        pairs = zip(self.names, self.model.shadow_params, strict=True)
        return {PREFIX + name: tensor.detach().cpu().clone() for name, tensor in pairs}

    def load(self, state: dict[str, Tensor], step: int) -> None:
        if self.model is None:
            return
        self.model.optimization_step = step
        for name, shadow in zip(self.names, self.model.shadow_params, strict=True):
            shadow.copy_(state[PREFIX + name])


class ImageSession(RunSession):
    def __init__(self, recipe: ImageRecipe, run: Path, pictures: Pictures, base: Path) -> None:
        self.recipe, self.run, self.pictures, training = recipe, run, pictures, recipe.training
        self.accelerator = accelerator_for(training.precision)
        self.device = self.accelerator.device
        self.pipeline = load_pipeline(recipe, base)
        self.resolution = resolution_of(recipe, self.pipeline)
        embeddings = self.prepare_samples()
        for model in adapted(self.pipeline).values():
            model.to(self.device)
        if training.gradient_checkpointing:
            self.pipeline.unet.enable_gradient_checkpointing()
        self.weights = trained_weights(self.pipeline)
        self.average = Average(self.weights, training.ema)
        self.trainer = ImageTrainer(recipe, self.pipeline, embeddings, self.accelerator)
        digests = (recipe.training_digest, digest_of(base), pictures.digest)
        start = [digest_of(Path(recipe.lora.start).expanduser())] if recipe.lora.start else []
        prior = [picture.sha256 for picture in self.prior.pictures] if self.prior else []
        self.batches = batches_in(self.samples.shapes, training.batch)
        super().__init__(
            run,
            self.trainer,
            steps_in(training, self.batches, self.accelerator.num_processes),
            digest_of_values([*digests, self.resolution, list(self.weights), *start, *prior]),
            min(filter(None, (pictures.due, self.prior_due)), default=None),
            every=recipe.save.every,
            minutes=recipe.save.minutes,
            kept=recipe.save.keep,
        )

    def prepare_samples(self) -> Embeddings:
        """Put the LoRA on, and what VAE and text encoders say on disk while the UNet is elsewhere."""
        recipe, pipeline = self.recipe, self.pipeline
        cache = Cache(self.run / "cache", self.pictures.due)
        latents = Latents(cache, pipeline.vae, self.device)
        embeddings = Embeddings(cache, pipeline, self.device)
        add_lora(pipeline, recipe.lora, recipe.run.seed)

        def samples_of(pictures: tuple[Picture, ...], crops: int) -> Samples:
            return Samples(pictures, recipe.data, self.resolution, crops, latents, embeddings)

        crops = recipe.data.crops
        self.samples = samples_of(self.pictures.train, crops)
        self.held_out = samples_of(spread(self.pictures.held_out, recipe.validation.pictures), 1)
        self.prior: Samples | None = None
        self.prior_due: float | None = None  # as that of the pictures' own
        with self.accelerator.main_process_first():
            if recipe.prior.weight:
                drawn = prior_pictures(recipe, self.run, pipeline, self.resolution, self.device)
                self.prior = samples_of(drawn.train, crops)
                self.prior_due = drawn.due
                stamp_until(self.run / "cache", drawn.due)
            with on_device(pipeline, self.device):
                for samples in filter(None, (self.samples, self.held_out, self.prior)):
                    samples.fill("the pictures")
        return embeddings

    def told(self) -> list[str]:
        lines = [
            f"{count} pictures left out: {why}." for why, count in self.pictures.dropped.items()
        ]
        lines += filter(None, [told_of([*self.samples.words, *self.held_out.words])])
        if enlarged := self.samples.enlarged:
            lines.append(
                f"{enlarged} of {len(self.samples)} pictures are smaller than they are trained at, and "
                "are enlarged; a lower data.resolution would suit them."
            )
        return lines

    def put(self, tensors: dict[str, Any], step: int) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[name])
        self.average.load(tensors, step)

    def tensors(self) -> dict[str, Any]:
        return {**self.weights, **self.average.state()}

    def advance(self) -> dict[str, float]:
        figures = self.trainer.step(self.samples, self.prior, self.progress.step, self.steps)
        self.average.step()
        return figures

    def look(self) -> bool:
        """Measure the held-out loss and draw the grid, both with the averaged weights."""
        with self.average.applied():
            if len(self.held_out):
                denoiser = self.trainer.denoiser
                plain, weighted = held_out_losses(denoiser, self.recipe, self.held_out)
                self.note_loss(float(weighted.mean()), held_out_plain=float(plain.mean()))
            if self.accelerator.is_main_process and self.recipe.validation.prompts:
                self.draw_grid()
        return True

    def draw_grid(self) -> None:
        shown, rows = self.recipe.validation, list[list[Image]]()
        size = shown.size or self.resolution
        self.pipeline.unet.eval()
        with on_device(self.pipeline, self.device, tiled=self.recipe.training.low_memory):
            for prompt in shown.prompts:
                rows.append([])
                for seed in shown.seeds:
                    self.status(f"drawing seed {seed} of “{prompt[:24]}”")
                    rows[-1] += draw(self.pipeline, [DrawRequest(prompt, seed)], shown, size)
        columns = [f"seed {seed}" for seed in shown.seeds]
        columns[0] = f"step {self.progress.step}, {columns[0]}"
        path = self.run / "grids" / f"step-{self.progress.step:06d}.png"
        save_png(sheet(rows, columns, shown.prompts), path)

    @property
    def chosen_step(self) -> int:
        """Choose the step whose weights become the LoRA: the lowest held-out loss, or the last."""
        best: int = self.progress.best_step
        return best if self.recipe.save.choose == "best" and best else self.progress.step

    def choose(self) -> None:
        """Put the chosen step's weights (their average, if one is kept) into the UNet."""
        path = self.folder / f"step-{self.chosen_step:06d}"
        if self.chosen_step != self.progress.step:
            self.put(checkpoints.load(path)[1], self.chosen_step)
        if self.average.model is not None:
            self.average.model.copy_to(self.average.weights)

    @property
    def epochs(self) -> int:
        parts = self.recipe.training.accumulate * self.accelerator.num_processes
        seen: int = self.progress.step * parts
        return math.ceil(seen / self.batches)

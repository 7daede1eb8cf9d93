"""One image run on its way: pipeline, pictures, fitter, average, log, and how far it has come."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.errors import BadRecipe
from training.images.bases import add_lora, load_pipeline, noise_schedule, resolution_of
from training.images.data.captions import told_of
from training.images.data.folder import Picture, Pictures, spread
from training.images.data.latent_cache import Cache, Embeddings, Latents
from training.images.data.samples import Samples
from training.images.drawing.generation import DrawRequest, DrawSettings, draw, on_device
from training.images.drawing.grid import save_png, sheet
from training.images.drawing.prior import prior_pictures
from training.images.drawing.validation import held_out_losses
from training.images.ema import PREFIX, Average
from training.images.lora_files import lora_state
from training.images.optimiser import optimiser_for
from training.images.recipe import ImageRecipe
from training.images.schedule import batches_in, steps_in
from training.images.trainer import ImageTrainer
from training.runs import checkpoints
from training.runs.expiry import require_fresh
from training.runs.metrics import Log
from training.runs.recipe import digest_of_values

if TYPE_CHECKING:
    from accelerate import Accelerator


class ImageSession:
    """One run on its way."""

    def __init__(
        self, recipe: ImageRecipe, run: Path, pictures: Pictures, base: Path | None = None
    ) -> None:
        self.recipe, self.run, self.pictures = recipe, run, pictures
        self.accelerator = accelerator_for(recipe)
        self.device = self.accelerator.device
        self.pipeline = load_pipeline(recipe, base)
        self.resolution = resolution_of(recipe, self.pipeline)
        self.schedule = noise_schedule(self.pipeline)
        self.prepare_samples()
        unet = self.pipeline.unet.to(self.device)
        if recipe.training.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        self.average = Average(unet, recipe.training.ema)
        optimiser = optimiser_for(self.average.weights, recipe.training)
        self.trainer = ImageTrainer(recipe, unet, optimiser, self.schedule, self.accelerator)
        batches = batches_in(self.samples.shapes, recipe.training.batch)
        self.steps = steps_in(recipe.training, batches, self.accelerator.num_processes)
        self.batches = batches
        digest = digest_of_values([recipe.training_digest, pictures.digest, self.resolution])
        self.progress = checkpoints.Progress(digest=digest)
        self.folder = run / "checkpoints"
        self.resume()
        self.log = Log(run, self.progress.step, writes=self.accelerator.is_main_process)

    def prepare_samples(self) -> None:
        """Put the LoRA on, and everything that VAE and text encoders say of the pictures on disk."""
        recipe, pipeline = self.recipe, self.pipeline
        cache = Cache(self.run / "cache", self.pictures.due)
        latents = Latents(cache, pipeline.vae, self.device)
        embeddings = Embeddings(cache, pipeline, self.device)
        add_lora(pipeline.unet, recipe.lora, recipe.run.seed)
        pipeline.unet.to(self.device)

        def samples_of(pictures: tuple[Picture, ...], crops: int) -> Samples:
            tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
            tools = (tokenizers, latents, embeddings)
            return Samples(pictures, recipe.data, self.resolution, crops, *tools)

        crops = recipe.data.crops
        self.samples = samples_of(self.pictures.train, crops)
        self.held_out = samples_of(spread(self.pictures.held_out, recipe.validation.pictures), 1)
        self.prior: Samples | None = None
        with self.accelerator.main_process_first():
            if recipe.prior.weight:
                drawn = prior_pictures(recipe, self.run, pipeline, self.resolution, self.device)
                self.prior = samples_of(drawn, crops)
            with on_device(pipeline, self.device):
                for samples in filter(None, (self.samples, self.held_out, self.prior)):
                    samples.fill("the pictures")

    def told(self) -> list[str]:
        """What the operator should know of the pictures before training."""
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

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        newest = checkpoints.latest(self.folder)
        if newest is None:
            return
        progress, tensors, optimiser = checkpoints.load(newest)
        checkpoints.check_same_run(progress, self.progress.digest)
        self.put(tensors, progress.step)
        self.trainer.optimiser.load_state_dict(optimiser)
        if progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(progress.scaler)
        self.progress = progress

    def put(self, tensors: dict[str, Any], step: int) -> None:
        """A checkpoint's weights and their average in place of the present ones."""
        from peft import set_peft_model_state_dict

        weights = {name: tensors[name] for name in tensors if not name.startswith(PREFIX)}
        set_peft_model_state_dict(self.pipeline.unet, weights, adapter_name="default")
        self.average.load(tensors, step)

    def save(self) -> None:
        """Write a checkpoint (the main process only), while the pictures may still be used."""
        require_fresh(self.pictures.due, time.time())
        scaler = self.accelerator.scaler
        self.progress.scaler = scaler.state_dict() if scaler is not None else None
        if self.accelerator.is_main_process:
            tensors = {**lora_state(self.pipeline.unet), **self.average.state()}
            state = self.trainer.optimiser.state_dict()
            checkpoints.save(self.folder, self.progress, tensors, state, self.recipe.save.keep)

    def train(self) -> None:
        """Step to the end; look and save at step 0 and every so many steps, save by the clock."""
        saved = time.monotonic()
        if self.progress.step == 0:
            self.look()
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[loss]}")) as bar:
            task = bar.add_task("training", total=self.steps, loss="", completed=self.progress.step)
            while self.progress.step < self.steps:
                loss = self.step()
                bar.update(task, completed=self.progress.step, loss=f"loss {loss:.3f}")
                due = self.progress.step % self.recipe.save.every == 0
                if due or self.progress.step == self.steps:
                    self.look()
                elif (time.monotonic() - saved) / 60 < self.recipe.save.minutes:
                    continue
                self.save()
                saved = time.monotonic()

    def step(self) -> float:
        """One optimiser step, noted in the log; gives its loss."""
        started = time.monotonic()
        figures = self.trainer.step(self.samples, self.prior, self.progress.step, self.steps)
        self.average.step()
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - started
        self.log.write(step=self.progress.step, **figures, seconds=self.progress.seconds)
        return figures["loss"]

    def look(self) -> None:
        """Measure the held-out loss and draw the grid, both with the averaged weights."""
        with self.average.applied():
            self.validate()
            if self.accelerator.is_main_process and self.recipe.validation.prompts:
                self.draw_grid()

    def validate(self) -> None:
        """Measure the held-out loss, and note it when it is the lowest so far."""
        if not len(self.held_out):
            return
        plain, weighted = held_out_losses(self.trainer.denoiser, self.recipe, self.held_out)
        loss = float(weighted.mean())
        self.log.write(step=self.progress.step, held_out=loss, held_out_plain=float(plain.mean()))
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_step = loss, self.progress.step

    def draw_grid(self) -> None:
        """The recipe's prompts by its seeds, as one PNG in `grids/`."""
        shown = self.recipe.validation
        manner = DrawSettings(
            shown.size or self.resolution, shown.steps, shown.guidance, shown.negative
        )
        self.pipeline.unet.eval()
        with on_device(self.pipeline, self.device):
            rows = [
                list(
                    draw(self.pipeline, [DrawRequest(prompt, seed) for seed in shown.seeds], manner)
                )
                for prompt in shown.prompts
            ]
        columns = [f"seed {seed}" for seed in shown.seeds]
        columns[0] = f"step {self.progress.step}, {columns[0]}"
        path = self.run / "grids" / f"step-{self.progress.step:06d}.png"
        save_png(sheet(rows, columns, shown.prompts), path)

    @property
    def chosen_step(self) -> int:
        """The step whose weights become the LoRA: the lowest held-out loss, or the last."""
        best: int = self.progress.best_step
        return best if self.recipe.save.choose == "best" and best else self.progress.step

    def choose(self) -> None:
        """Put the chosen step's weights (their average, if one is kept) into the UNet."""
        path = self.folder / f"step-{self.chosen_step:06d}"
        if self.chosen_step != self.progress.step and path.exists():
            self.put(checkpoints.load(path)[1], self.chosen_step)
        if self.average.model is not None:
            self.average.model.copy_to(self.average.weights)

    @property
    def epochs(self) -> int:
        """How many epochs the run's steps are, begun ones included."""
        parts = self.recipe.training.accumulate * self.accelerator.num_processes
        seen: int = self.progress.step * parts
        return math.ceil(seen / self.batches)


def accelerator_for(recipe: ImageRecipe) -> "Accelerator":
    """One process or several, on a GPU where there is one, in the recipe's precision."""
    from accelerate import Accelerator

    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[recipe.training.precision]
    try:
        return Accelerator(mixed_precision=precision)
    except ValueError as error:
        raise BadRecipe(
            f'training.precision = "{recipe.training.precision}" does not work on this machine '
            f'({error}). Set it to "bf16" or "fp32".'
        ) from error


def tell(lines: list[str]) -> None:
    """Show lines to the operator."""
    console = Console()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

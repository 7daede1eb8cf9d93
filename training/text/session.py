"""One training run on its way: the fitter, its blocks, its log, and how far it has come."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.errors import BadCorpus
from training.runs import checkpoints
from training.runs.expiry import due_of, require_fresh
from training.runs.metrics import Log
from training.runs.recipe import Recipe, digest_of_values
from training.runs.record import digest_of_file
from training.text.bases import add_adapter, load_base
from training.text.data.blocks import Block, read_blocks
from training.text.optimiser import optimiser_for
from training.text.schedule import steps_in
from training.text.trainer import Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator


class Session:
    """One run on its way: the fitter, its blocks, and how far it has come."""

    def __init__(self, recipe: Recipe, run: Path, base: Path | None) -> None:
        self.recipe, self.run = recipe, run
        self.due = due_of(run / "corpus")
        require_fresh(self.due, time.time())
        self.blocks = read_split(run, "train")
        held_out = read_split(run, "validation")
        self.held_out = spread(held_out, recipe.training.validation_blocks)
        accelerator = accelerator_for(recipe)  # first: it says which GPU is this process's own
        model = add_adapter(load_base(recipe, base), recipe)
        self.trainer = Trainer(recipe, model, optimiser_for(model, recipe), accelerator)
        self.steps = steps_in(recipe.training, len(self.blocks), accelerator.num_processes)
        blocks_digest = digest_of_file(run / "corpus" / "train.safetensors")
        digest = digest_of_values([recipe.training_digest, blocks_digest])
        self.progress = checkpoints.Progress(digest=digest)
        self.folder = run / "checkpoints"
        self.resume()
        self.log = Log(run, self.progress.step, writes=accelerator.is_main_process)

    @property
    def model(self) -> Any:
        """The PEFT model without the wrapper that several processes need."""
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        from peft import set_peft_model_state_dict

        newest = checkpoints.latest(self.folder)
        if newest is None:
            return
        progress, adapter, optimiser = checkpoints.load(newest)
        checkpoints.check_same_run(progress, self.progress.digest)
        set_peft_model_state_dict(self.model, adapter)
        self.trainer.optimiser.load_state_dict(optimiser)
        if progress.scaler and self.trainer.accelerator.scaler is not None:
            self.trainer.accelerator.scaler.load_state_dict(progress.scaler)
        self.progress = progress

    def save(self) -> None:
        """Write a checkpoint (the main process only), while the texts may still be used."""
        from peft import get_peft_model_state_dict

        require_fresh(self.due, time.time())
        scaler = self.trainer.accelerator.scaler
        self.progress.scaler = scaler.state_dict() if scaler is not None else None
        if self.trainer.accelerator.is_main_process:
            weights = get_peft_model_state_dict(self.model)
            state = self.trainer.optimiser.state_dict()
            checkpoints.save(self.folder, self.progress, weights, state)

    def train(self) -> None:
        """Step to the end, or until the held-out loss has stopped falling."""
        saved = time.monotonic()
        if self.progress.step == 0:
            self.validate()
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[loss]}")) as bar:
            task = bar.add_task("training", total=self.steps, loss="")
            while self.progress.step < self.steps and not self.stale():
                loss = self.step()
                bar.update(task, completed=self.progress.step, loss=f"loss {loss:.3f}")
                better = self.validation_due and self.validate()
                minutes = (time.monotonic() - saved) / 60
                if better or self.ended or minutes >= self.recipe.training.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()

    def step(self) -> float:
        """One optimiser step, noted in the log; gives its loss."""
        started = time.monotonic()
        figures = self.trainer.step(self.blocks, self.progress.step, self.steps)
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - started
        self.log.write(step=self.progress.step, **figures, seconds=self.progress.seconds)
        return figures["loss"]

    @property
    def ended(self) -> bool:
        """Whether all steps are done."""
        return self.progress.step == self.steps

    @property
    def validation_due(self) -> bool:
        """Whether the held-out loss is to be measured after this step."""
        return self.ended or self.progress.step % self.recipe.training.validate_every == 0

    def stale(self) -> bool:
        """Whether the recipe's patience with the held-out loss is used up."""
        return 0 < self.recipe.training.patience <= self.progress.worse

    def validate(self) -> bool:
        """Measure the held-out loss; tells whether it is the lowest so far."""
        loss = self.trainer.held_out_loss(self.held_out)
        self.log.write(step=self.progress.step, held_out=loss)
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_step = loss, self.progress.step
            self.progress.worse = 0
            return self.progress.step > 0
        self.progress.worse += 1
        return False


def read_split(run: Path, name: str) -> list[Block]:
    """The blocks of one split; raises BadCorpus when the corpus stage has not run."""
    path = run / "corpus" / f"{name}.safetensors"
    if not path.exists():
        raise BadCorpus(f"{path} is missing. Run `python -m training.corpus RECIPE` first.")
    blocks = [block for block in read_blocks(path) if len(block.tokens) > 1]
    if not blocks:
        raise BadCorpus(f"The {name} split has no block to predict. Give it more text.")
    return blocks


def spread(blocks: Sequence[Block], count: int) -> list[Block]:
    """So many blocks, evenly spread over a split: the same ones each time."""
    if len(blocks) <= count:
        return list(blocks)
    return [blocks[index * len(blocks) // count] for index in range(count)]


def accelerator_for(recipe: Recipe) -> "Accelerator":
    """One process or several, on a GPU where there is one, in the recipe's precision."""
    from accelerate import Accelerator

    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[recipe.training.precision]
    return Accelerator(mixed_precision=precision)

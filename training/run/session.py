"""Take a run from its last checkpoint to its end: steps, log, validations, checkpoints."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich import progress as bars

from training.errors import TrainingStopped
from training.run import checkpoints
from training.run.expiry import require_fresh
from training.run.json_lines import add_lines, read_lines, write_lines
from training.run.stage import alone_in, say
from training.run.trainer import Trainer

LOG = "metrics.jsonl"
DIVERGED = 2.0  # times the held-out loss that the run began with


class RunSession(ABC):
    """Know one run's trainer, and how far it has come.

    `due` is when its material may no longer be used; `every` is the number of steps between looks
    at the held-out loss, `minutes` the time between checkpoints, `kept` how many of them stay.
    """

    def __init__(
        self,
        run: Path,
        trainer: Trainer,
        steps: int,
        digest: str,
        due: float | None,
        *,
        every: int,
        minutes: float,
        kept: int = checkpoints.KEPT,
    ) -> None:
        self.run, self.steps, self.due = run, steps, due
        self.every, self.minutes, self.kept = every, minutes, kept
        self.accelerator, self.optimiser = trainer.accelerator, trainer.optimiser
        self.progress = checkpoints.Progress(digest=digest)
        self.folder = run / "checkpoints"
        self.status: Callable[[str], None] = say  # what goes on, beside the bar
        self.resume()

    @abstractmethod
    def advance(self) -> dict[str, float]:
        """Take one optimiser step; gives its figures."""

    @abstractmethod
    def look(self) -> bool:
        """Measure the held-out loss; tells whether a checkpoint is worth its space."""

    @abstractmethod
    def tensors(self) -> dict[str, Any]:
        """Give the weights that a checkpoint keeps."""

    @abstractmethod
    def put(self, tensors: dict[str, Any], step: int) -> None:
        """Put a checkpoint's weights in place of the present ones."""

    def stale(self) -> bool:
        """Tell whether the held-out loss has stopped falling for too long."""
        return False

    def resume(self) -> None:
        newest = checkpoints.resume(self.folder, self.progress.digest)
        if newest is None:
            return
        progress, tensors, optimiser = newest
        self.put(tensors, progress.step)
        self.optimiser.load_state_dict(optimiser)
        if progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(progress.scaler)
        self.progress = progress

    def save(self) -> None:
        """Write a checkpoint (the main process only), while the material may still be used."""
        require_fresh(self.due, time.time())
        scaler = self.accelerator.scaler
        self.progress.scaler = scaler.state_dict() if scaler is not None else None
        if self.accelerator.is_main_process:
            state = self.optimiser.state_dict()
            checkpoints.save(self.folder, self.progress, self.tensors(), state, self.kept)

    def train(self) -> None:
        """Step to the end, alone in the run's folder."""
        with alone_in(self.run) if self.accelerator.is_main_process else nullcontext():
            self.take_steps()

    def take_steps(self) -> None:
        """Look at step 0 and every few steps, save after a look or by the clock."""
        saved, step = time.monotonic(), self.progress.step
        if self.accelerator.is_main_process:  # lines of steps that an interruption took back go
            kept = [row for row in read_lines(self.run / LOG) if row["step"] <= step > 0]
            write_lines(self.run / LOG, kept)
        if step and self.accelerator.is_main_process:
            say(f"Goes on from step {step} of {self.steps}.")
        shown = (
            bars.SpinnerColumn(),
            *bars.Progress.get_default_columns()[:2],
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[loss]}"),
        )
        with bars.Progress(*shown, disable=not self.accelerator.is_main_process) as bar:
            task = bar.add_task("training", total=self.steps, loss="", completed=step)

            def told(what: str) -> None:
                bar.update(task, description=what, completed=self.progress.step)
                bar.refresh()

            self.status = told
            if step == 0:
                told("held-out loss")
                self.look()
            while not self.ended and not self.stale():
                told("training")
                bar.update(task, loss=f"loss {self.step():.3f}")
                due = self.ended or self.progress.step % self.every == 0
                if due:
                    told("held-out loss")
                worth = due and self.look()
                if worth or self.ended or time.monotonic() - saved >= self.minutes * 60:
                    told("saving")
                    self.save()
                    saved = time.monotonic()
            told("trained")

    def log(self, **figures: float) -> None:
        """Add a line to `metrics.jsonl`; of several processes only one writes."""
        if self.accelerator.is_main_process:
            finite = {n: value if math.isfinite(value) else None for n, value in figures.items()}
            add_lines(self.run / LOG, finite)

    def step(self) -> float:
        started = time.monotonic()
        figures = self.advance()
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - started
        self.log(step=self.progress.step, **figures, seconds=self.progress.seconds)
        return figures["loss"]

    def note_loss(self, loss: float, **more: float) -> bool:
        """Log a held-out loss; tells whether it is the lowest so far."""
        self.log(step=self.progress.step, held_out=loss, **more)
        if self.progress.step == 0:
            self.progress.first_loss = loss
        if not loss < DIVERGED * self.progress.first_loss:
            raise TrainingStopped(
                f"The training diverged: its held-out loss is {loss:.3g} at step {self.progress.step}, "
                f"and was {self.progress.first_loss:.3g} at its start. Lower training.learning_rate "
                "(try a tenth of it), then start over with --fresh."
            )
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_step = loss, self.progress.step
            self.progress.worse = 0
            return True
        self.progress.worse += 1
        return False

    @property
    def ended(self) -> bool:
        return self.progress.step >= self.steps

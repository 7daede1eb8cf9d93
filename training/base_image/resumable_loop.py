"""A training loop that can be stopped at any moment and goes on as if it had not been.

Every draw follows from seed and step, so a checkpoint needs only weights, their running average,
and the optimiser's state.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from training.run import checkpoints
from training.run.json_lines import add_lines
from training.run.schedule import learning_rate
from training.run.tables import AnyTraining

AVERAGING = 0.999
AVERAGE = "average."  # before the names of averaged weights


class Part:
    """Train one part (the autoencoder, or the UNet with its text encoders) in its folder."""

    def __init__(self, folder: Path, model: nn.Module, peak: float, steps: int, digest: str):
        self.folder, self.model, self.steps = folder, model.to(device()), steps
        self.training = AnyTraining(
            learning_rate=peak, schedule="cosine", warmup_steps=200, floor=0.03
        )
        self.state = checkpoints.Progress(digest=digest)
        self.weights = dict(model.named_parameters())
        self.buffers = dict(model.named_buffers())
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimiser = torch.optim.AdamW(
            self.weights.values(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def resume(self) -> None:
        newest = checkpoints.resume(self.folder, self.state.digest)
        if newest is None:
            return
        state, tensors, optimiser = newest
        with torch.no_grad():
            for name, weight in (self.weights | self.buffers).items():
                weight.copy_(tensors[name])
        self.average = {  # in their order
            name: tensors[AVERAGE + name].to(weight.device) for name, weight in self.weights.items()
        }
        self.optimiser.load_state_dict(optimiser)
        self.state = state

    def save(self) -> None:
        average = {AVERAGE + name: weight for name, weight in self.average.items()}
        tensors = {**self.weights, **self.buffers, **average}
        checkpoints.save(self.folder, self.state, tensors, self.optimiser.state_dict())

    def averaged(self) -> nn.Module:
        """Put the running average in place of the weights (the last act of a part)."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.average[name])
        return self.model.eval()

    def fit(
        self,
        loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
        minutes: float,
        watch: Callable[[int], None],
        every: int = 500,
        after: Callable[["Part"], None] = lambda _part: None,
    ) -> None:
        """Train to the planned step; `watch` is called every so many steps and at the end, `after`
        after each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = began = time.monotonic()
        spent = self.state.seconds
        while self.state.step < self.steps:
            step = self.state.step
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.training, step, self.steps)
            loss, told = loss_of(step)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            decay = min(AVERAGING, (step + 1) / (step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.values()), list(self.weights.values()), 1 - decay
                )
            self.state.step += 1
            self.state.seconds = spent + time.monotonic() - began
            if self.state.step % 50 == 0:
                self.note(told)
            after(self)
            if time.monotonic() - saved > minutes * 60:
                self.save()
                saved = time.monotonic()
            if self.state.step % every == 0 or self.state.step == self.steps:
                watch(self.state.step)
        self.save()

    def note(self, told: dict[str, float]) -> None:
        line = {"step": self.state.step, "seconds": round(self.state.seconds, 1)}
        line |= {name: round(value, 5) for name, value in told.items()}
        add_lines(self.folder / "metrics.jsonl", line)
        print(json.dumps(line), flush=True)


def device() -> torch.device:
    """Train on a GPU where there is one; draws are made on the processor, so that both draw alike."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def threads(count: int) -> None:
    """Set how many threads torch may use; 0 means as many as there are cores."""
    torch.set_num_threads(count or os.cpu_count() or 1)

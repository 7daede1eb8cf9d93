"""Train an adapter on a corpus's blocks: one run on its way."""

import time
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict

from engine.weights.weight_files import digest_of
from training.run.expiry import due_of, require_fresh
from training.run.recipe import Recipe, digest_of_values
from training.run.record import digest_of_file
from training.run.schedule import spread, steps_in
from training.run.session import RunSession
from training.run.trainer import accelerator_for
from training.text.bases import add_adapter, load_base, place_of
from training.text.data.blocks import rare_in_prompts, read_split
from training.text.trainer import TextTrainer


class Session(RunSession):
    def __init__(self, recipe: Recipe, run: Path, base: Path | None) -> None:
        self.recipe, training = recipe, recipe.training
        due = due_of(run / "corpus")
        require_fresh(due, time.time())
        self.blocks = read_split(run, "train")
        held_out = read_split(run, "validation") if recipe.corpus.split != "none" else []
        self.held_out = spread(held_out, training.validation_blocks)
        accelerator = accelerator_for(training.precision)  # first: it says which GPU is our own
        model = add_adapter(load_base(recipe, base), recipe)
        self._start = {n: t.clone() for n, t in get_peft_model_state_dict(model).items()}
        self.trainer = TextTrainer(recipe, model, accelerator, rare_in_prompts(self.blocks))
        start = [digest_of(Path(recipe.lora.start).expanduser())] if recipe.lora.start else []
        base_digest = digest_of(place_of(recipe.base, base))
        blocks_digest = digest_of_file(run / "corpus" / "train.safetensors")
        super().__init__(
            run,
            self.trainer,
            steps_in(training, len(self.blocks), accelerator.num_processes),
            digest_of_values([recipe.training_digest, base_digest, blocks_digest, *start]),
            due,
            every=training.validate_every,
            minutes=training.checkpoint_minutes,
        )

    @property
    def model(self) -> Any:
        """Give the PEFT model without the wrapper that several processes need."""
        return self.accelerator.unwrap_model(self.trainer.model)

    def put(self, tensors: dict[str, Any], step: int) -> None:  # noqa: ARG002 - no average is kept
        set_peft_model_state_dict(self.model, tensors)

    def tensors(self) -> dict[str, Any]:
        return get_peft_model_state_dict(self.model)  # type: ignore[no-any-return]

    def keep_of_start(self) -> None:
        """Put the weights between those it started from and its own in place, with their loss."""
        kept, progress, own = self.recipe.lora.kept, self.progress, self.tensors().items()
        self.put({name: new.lerp(self._start[name].to(new), kept) for name, new in own}, 0)
        progress.best_step = progress.step
        if self.held_out:
            progress.best_loss = self.trainer.held_out_loss(self.held_out)

    def advance(self) -> dict[str, float]:
        return self.trainer.step(self.blocks, self.progress.step, self.steps)

    def stale(self) -> bool:
        return 0 < self.recipe.training.patience <= self.progress.worse

    @property
    def chosen_step(self) -> int:
        """Choose the step whose weights become the adapter; 0 when none was better than the base."""
        last = self.recipe.training.choose == "last" or not self.held_out
        return self.progress.step if last else self.progress.best_step

    def look(self) -> bool:
        if not self.held_out:
            return False
        better = self.note_loss(self.trainer.held_out_loss(self.held_out))
        return better and self.progress.step > 0

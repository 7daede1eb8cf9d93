"""Checkpoints of a run: written whole or not at all, the last two and the best kept.

Orders and dropout draws follow from seed and step, so they need no state.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import in_one_line
from engine.files import whole_folder, write_json
from training.errors import TrainingStopped

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2


@dataclass(slots=True, kw_only=True)
class Progress:
    """Know how far a run has come; `worse` counts validations without a new best."""

    digest: str
    step: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    first_loss: float = float("inf")  # held out, before the first step
    worse: int = 0
    seconds: float = 0.0
    scaler: dict[str, Any] | None = None


def save(
    folder: Path,
    progress: Progress,
    adapter: "dict[str, Tensor]",
    optimiser: dict[str, Any],
    kept: int = KEPT,
) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / f"step-{progress.step:06d}"
    try:
        with whole_folder(path) as part:
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.items()}
            save_file(weights, part / "adapter.safetensors")
            torch.save(optimiser, part / "optimiser.pt")
            write_json(part / "progress.json", asdict(progress))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingStopped(
            f"The checkpoint of step {progress.step} could not be written: {in_one_line(error)} Make "
            "room on the disk, then run the same command again: it goes on from the one before."
        ) from error
    for old in all_of(folder)[:-kept]:
        if int(old.name[5:]) != progress.best_step:
            shutil.rmtree(old)


def load(path: Path) -> "tuple[Progress, dict[str, Tensor], dict[str, Any]]":
    import torch
    from safetensors.torch import load_file

    if not path.is_dir():
        raise TrainingStopped(f"The best checkpoint {path.name} is gone: start over with --fresh.")
    progress = Progress(**json.loads((path / "progress.json").read_text(encoding="utf-8")))
    optimiser = torch.load(path / "optimiser.pt", map_location="cpu", weights_only=True)
    return progress, load_file(path / "adapter.safetensors"), optimiser


def resume(
    folder: Path, digest: str
) -> "tuple[Progress, dict[str, Tensor], dict[str, Any]] | None":
    """Load the newest checkpoint, if there is one; raises TrainingStopped for another recipe's."""
    there = all_of(folder)
    if not there:
        return None
    found = load(there[-1])
    if found[0].digest != digest:
        raise TrainingStopped(
            "This run's checkpoints were made with another recipe, base, corpus or start. Give the "
            "recipe a new [run] name, or start over with --fresh (the old checkpoints are deleted)."
        )
    return found


def all_of(folder: Path) -> list[Path]:
    """List whole checkpoints, oldest first; a half-written one has another name."""
    return sorted(path for path in folder.glob("step-*") if path.name[5:].isdigit())

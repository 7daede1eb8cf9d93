"""What choosing a step's tokens costs: sixteen rows, plainly and with every sampler and forty bans."""

import random
from pathlib import Path
from typing import Any

from engine.backends.row_sampler import RowSampler
from engine.plan.cards import Sampling
from engine.plan.job import Job
from tests.benchmarks.figures import Figure, clock, middle
from tests.tiny_models import byte_fallback

ROWS, VOCABULARY, STEPS, SAID = 16, 49_152, 30, 600
PLAIN = {"top_p": 0.95, "repetition_penalty": 1.1}
PROSE = {"dry_multiplier": 0.8, "min_p": 0.05}
WAYS: dict[str, dict[str, Any]] = {
    "as before": PLAIN,
    "DRY and min-p": PROSE,
    "all": PLAIN | PROSE | {"top_n_sigma": 1.5, "xtc_probability": 0.5},
}


def run(folder: Path) -> list[Figure]:
    """Rows of words that repeat, so that DRY has something to find."""
    import torch

    from engine.backends.mixing.sampler import choose

    torch.set_num_threads(1)
    tokenizer, draw = byte_fallback(), random.Random(1)
    logits = torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, :60] += 12  # as sure as a model of prose is
    tokens = [[draw.randrange(4, 60) for _ in range(SAID)] for _ in range(ROWS)]
    bans = [f"phrase number {n}" for n in range(40)]
    figures = []
    for name, values in WAYS.items():
        job = Job(
            id="j", request="r", expert="e", medium="text", prompt="", head=0, length=2 * SAID,
            seed=1, sampling=Sampling(**values),
        )  # fmt: skip
        rows = [RowSampler(job, tokenizer, (1,), bans if name == "all" else ()) for _ in tokens]
        taken = []
        for _ in range(STEPS):
            own = logits.clone()
            with clock() as spent:
                choose(
                    own, [row.draw(said, 50, "") for row, said in zip(rows, tokens, strict=True)]
                )
            taken.append(spent.cpu)
        cost, label = middle(taken), f"{ROWS} rows, {name}"
        figures.append(
            Figure(name=label, value=1000 * cost, unit="CPU ms a step", cpu_seconds=cost)
        )
    return figures

"""A queue of mixed experts: the report's way, PEFT, transformers' continuous batching, this engine.

Every comparison is interleaved in one run, in one thread; the figures are tokens a second of process
CPU, which a busy machine disturbs least. PASTICHE_BENCH_ROUNDS says how often (2). The gate comes
first: greedy tokens in float32 must be PEFT's, alone and mixed.
"""

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.figures import Figure, clock, middle
from tests.benchmarks.mixed_ways import (
    EXPERTS,
    Ask,
    Way,
    adapter_of,
    asks,
    engine,
    prepared,
    reports_way,
    resident_peft,
)

ROUNDS = int(os.environ.get("PASTICHE_BENCH_ROUNDS", "2"))
SLOTS = (1, 2, 4, 8, 16, 32)


def run(folder: Path) -> list[Figure]:
    """All of it; about ten minutes of CPU."""
    import torch

    torch.set_num_threads(1)
    base = prepared(folder)
    figures = [_gate(base, asks(base, 8))]
    one_by_one, static, continuous = resident_peft(base)
    bf16 = engine(base, "bf16", 32)[0]
    bare = engine(base, "bf16", 32, experts=False)[0]
    queue, long = asks(base, 16), asks(base, 64)
    figures += interleaved(
        "16 mixed",
        queue,
        {
            "the report's way": reports_way(base, folder),
            "PEFT one by one": one_by_one,
            "PEFT static batch": static,
            "transformers' continuous batching": continuous,
            "engine bf16": bf16,
            "engine bf16, no adapter": bare,
        },
        "the report's way",
    )
    figures += interleaved(
        "64 mixed",
        long,
        {
            "PEFT static batches of 16": static,
            "engine bf16": bf16,
            "engine bf16, no adapter": bare,
        },
        "PEFT static batches of 16",
    )
    figures += interleaved(
        "one alone",
        queue[:1],
        {
            "PEFT": one_by_one,
            "engine bf16": bf16,
            "engine bf16, no adapter": bare,
        },
        "PEFT",
    )
    ways = {f"{n} slots": engine(base, "bf16", n)[0] for n in SLOTS}
    figures += interleaved("32 mixed by slots", asks(base, 32), ways, "1 slots", rounds=1)
    return figures


def interleaved(
    workload: str, queue: Sequence[Ask], ways: dict[str, Way], first: str, rounds: int = ROUNDS
) -> list[Figure]:
    """Tokens a CPU second of each way, the median of the rounds, beside those of `first`."""
    tokens = sum(ask.new for ask in queue)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        if name != "the report's way":
            way(queue[:3])  # warm
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            with clock() as taken:
                made = way(queue)
            assert [len(row) for row in made] == [ask.new for ask in queue], name
            spent[name].append(taken.cpu)
            walls[name].append(taken.wall)
    figures = []
    for name in ways:
        rate = tokens / middle(spent[name])
        times = rate / (tokens / middle(spent[first]))
        figures.append(
            Figure(
                name=f"{workload}: {name}",
                value=rate,
                unit="tokens/CPU s",
                against=f"{times:.2f} x {first}",
                wall_seconds=middle(walls[name]),
                cpu_seconds=middle(spent[name]),
            )
        )
        print(figures[-1], flush=True)
    return figures


def _gate(base: Path, queue: list[Ask]) -> Figure:
    """How many of the answers are PEFT's in float32, token by token, mixed and alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    serve, _ = engine(base, "fp32", 4)
    mixed = serve(queue)
    alone = [serve([ask])[0] for ask in queue]
    same = 0
    for expert in EXPERTS:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        peft = PeftModel.from_pretrained(model, adapter_of(expert)).eval()
        for number, ask in enumerate(queue):
            if ask.expert != expert:
                continue
            ids = torch.tensor([ask.ids])
            with torch.inference_mode():
                made = peft.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=ask.new,
                    min_new_tokens=ask.new,
                    do_sample=False,
                    pad_token_id=0,
                )
            own = made[0, len(ask.ids) :].tolist()
            same += own == mixed[number] == alone[number]
    figure = Figure(
        name="answers that are PEFT's own in fp32, mixed and alone",
        value=same,
        unit="answers",
        against=f"of {len(queue)}",
    )
    print(figure, flush=True)
    return figure

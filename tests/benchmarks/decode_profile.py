"""Where a decode step of the mixing engine spends its time, by torch's profiler: one row and sixteen.

Shares are of the step's CPU time. What is left over after all operators is Python and their dispatch.
"""

from collections import Counter
from pathlib import Path

from engine.backends.mixing.adapters import BARE, AdapterKey
from engine.backends.mixing.attention import Attention
from engine.backends.mixing.decoder import Batch
from engine.backends.mixing.scheduler import MixingScheduler
from tests.benchmarks.figures import Figure, clock, middle
from tests.benchmarks.mixed_ways import EXPERTS, engine, prepared

STEPS = 10
POSITION = 100  # tokens that each row has behind it
KINDS = {
    "products with weights": ("_linear_pointwise", "addmm", "aten::mm"),
    "attention's products": ("bmm", "scaled_dot"),
    "softmax": ("softmax",),
    "copies and conversions": ("copy_", "_to_copy", "index_copy", "clone", "cat", "contiguous"),
    "norms": ("norm", "hypot"),
    "sampling": ("argmax", "sort"),
}


def run(folder: Path) -> list[Figure]:
    """Profile one row, then sixteen without and with experts."""
    import torch

    torch.set_num_threads(1)
    base = prepared(folder)
    figures = []
    _, mixer = engine(base, "bf16", 16)
    for rows, experts in ((1, 1), (16, 0), (16, 3)):
        figures += _profile(mixer, f"bf16, {rows} rows, {experts} experts", rows, experts)
    return figures


def step(mixer: MixingScheduler, rows: int, experts: int) -> None:
    """One forward of so many rows, of so many experts in turn; none is the base alone."""
    keys = [AdapterKey(EXPERTS[n % experts]) if experts else BARE for n in range(rows)]
    mixer.cache.reserve(rows, POSITION + 100)
    places = [POSITION + n * 7 % 40 for n in range(rows)]
    mix = mixer._stacks.mix(keys, mixer._adapters)
    attend = Attention(mixer.cache, places, [])
    mixer.decoder(Batch(ids=[5] * rows, attend=attend, wanted=list(range(rows)), mix=mix))


def step_seconds(mixer: MixingScheduler, rows: int, experts: int, steps: int = STEPS) -> float:
    """CPU seconds of one, the median of so many."""
    taken = []
    for _ in range(steps + 2):
        with clock() as spent:
            step(mixer, rows, experts)
        taken.append(spent.cpu)
    return middle(taken[2:])


def _profile(mixer: MixingScheduler, name: str, rows: int, experts: int) -> list[Figure]:
    from torch.profiler import ProfilerActivity, profile

    whole = step_seconds(mixer, rows, experts)
    with clock() as taken, profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(STEPS):
            step(mixer, rows, experts)
    shares: Counter[str] = Counter()
    operators = 0
    for event in seen.key_averages():
        kind = next(
            (k for k, names in KINDS.items() if any(n in event.key for n in names)), "others"
        )
        shares[kind] += event.self_cpu_time_total / 1e6
        operators += event.count
    shares["Python and dispatch"] = max(0.0, taken.cpu - sum(shares.values()))
    figures = [
        Figure(
            name=f"{name}: a step",
            value=1000 * whole,
            unit="CPU ms",
            against=f"{operators // STEPS} operators",
            cpu_seconds=whole,
        )
    ]
    total = sum(shares.values())
    for kind, seconds in shares.most_common():
        figures.append(Figure(name=f"{name}: {kind}", value=100 * seconds / total, unit="%"))
    for figure in figures:
        print(figure, flush=True)
    return figures

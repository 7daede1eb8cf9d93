"""How the engine grows: experts and rows, threads, memory, a Gemma 2 of about 90 million, one of 2b.

A decode step is measured, the median of several; the models of Gemma's shape are random. The 2b shape
takes 13 GiB of memory and some minutes: PASTICHE_BENCH_2B=1 asks for it.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from engine.backends.counters import Counters
from engine.backends.mixing.adapters import BARE, AdapterKey
from engine.backends.mixing.kernels import Precision
from engine.backends.mixing.layouts import Gemma2
from engine.backends.mixing.scheduler import MixingScheduler
from tests.benchmarks.decode_profile import step_seconds
from tests.benchmarks.figures import Figure, clock, middle
from tests.benchmarks.mixed_experts import interleaved
from tests.benchmarks.mixed_ways import (
    EXPERTS,
    asks,
    engine,
    prepared,
    resident_peft,
)

ROWS = (1, 4, 16, 32)
GEMMA_2B = {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "head_dim": 256,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 256_000,
}  # fmt: skip
GEMMA_SMALL = GEMMA_2B | {
    "hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 10, "head_dim": 80,
    "vocab_size": 49_152, "query_pre_attn_scalar": 80,
}  # fmt: skip


def run(folder: Path) -> list[Figure]:
    """All of it."""
    import torch

    torch.set_num_threads(1)
    base = prepared(folder)
    figures = _experts_and_rows(base) + _memory(base) + _threads(base) + _small_gemma(base, folder)
    if os.environ.get("PASTICHE_BENCH_2B"):
        figures += _gemma_2b()
    return figures


def _shown(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(figure, flush=True)
    return figures


def _experts_and_rows(base: Path) -> list[Figure]:
    """Tokens a CPU second of a decode step; beyond three, experts are the same three by other names."""
    _, mixer = engine(base, "bf16", 32)
    held = dict(mixer._adapters)
    made = []
    for count in (0, 1, 2, 4, 8):
        keys = [AdapterKey(f"expert{n}") for n in range(count)]
        mixer._adapters.clear()
        for number, key in enumerate(keys):
            mixer.adopt(key, held[AdapterKey(EXPERTS[number % 3])])
        for rows in ROWS:
            taken = _step_of(mixer, rows, keys)
            value = rows / taken
            made.append(
                Figure(name=f"{count} experts, {rows} rows", value=value, unit="tokens/CPU s")
            )
    return _shown(made)


def _step_of(mixer: MixingScheduler, rows: int, keys: list[AdapterKey]) -> float:
    from engine.backends.mixing.attention import Attention
    from engine.backends.mixing.decoder import Batch

    mixer.cache.reserve(rows, 256)
    taken = []
    for _ in range(7):
        with clock() as spent:
            who = [keys[n % len(keys)] if keys else BARE for n in range(rows)]
            mix = mixer._stacks.mix(who, mixer._adapters)
            attend = Attention(mixer.cache, [100 + n % 40 for n in range(rows)], [])
            mixer.decoder(Batch(ids=[5] * rows, attend=attend, wanted=list(range(rows)), mix=mix))
        taken.append(spent.cpu)
    return middle(taken[2:])


def _memory(base: Path) -> list[Figure]:
    """Of a process of its own for each precision, three experts, after 16 rows were written."""
    made = []
    for precision in ("fp32", "bf16"):
        told = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.scaling", str(base), precision],
            capture_output=True,
            text=True,
            check=True,
        )
        resident, peak = map(float, told.stdout.split()[-2:])
        made.append(
            Figure(
                name=f"memory, {precision}", value=resident, unit="MB", against=f"peak {peak:.0f}"
            )
        )
    return _shown(made)


def tell_memory(base: Path, precision: Precision) -> None:
    """Print this process's memory and its peak in MB."""
    import resource

    import torch

    torch.set_num_threads(1)
    serve, _mixer = engine(base, precision, 16)
    gc.collect()
    serve(asks(base, 16, most=20))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(psutil.Process().memory_info().rss / 2**20, peak)


def _threads(base: Path) -> list[Figure]:
    """Wall seconds of a step with one thread and two; what other programs left free is said."""
    import torch

    _, mixer = engine(base, "bf16", 16)
    made = []
    for rows in (1, 16):
        least: dict[int, float] = {}
        for _ in range(8):
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with clock() as taken:
                    step_seconds(mixer, rows, 1 if rows == 1 else 3, steps=1)
                least[threads] = min(least.get(threads, 9e9), taken.wall / 3)
        load = os.getloadavg()[0]
        made += [
            Figure(
                name=f"{rows} rows, {threads} threads, best of 8",
                value=rows / seconds,
                unit="tokens/wall s",
                against=f"load of the machine {load:.1f} on {os.cpu_count()} cores",
            )
            for threads, seconds in least.items()
        ]
    torch.set_num_threads(1)
    return _shown(made)


def _small_gemma(base: Path, folder: Path) -> list[Figure]:
    """A queue of 16 mixed on a random Gemma 2 with random adapters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    small = folder / "gemma"
    model: Any = Gemma2ForCausalLM(Gemma2Config(**GEMMA_SMALL)).to(torch.bfloat16)
    model.save_pretrained(small)
    AutoTokenizer.from_pretrained(base).save_pretrained(small)
    for expert in EXPERTS:
        config = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False)
        adapted = get_peft_model(model, config)
        adapted.save_pretrained(folder / f"gemma-{expert}")
        model = adapted.unload()

    def adapter(expert: str) -> Path:
        return folder / f"gemma-{expert}"

    ways = {
        "PEFT static batch": resident_peft(small, adapter)[1],
        "engine bf16": engine(small, "bf16", 16, adapter=adapter)[0],
        "engine bf16, no adapter": engine(small, "bf16", 16, experts=False)[0],
    }
    return interleaved("Gemma 2, 90 M, 16 mixed", asks(base, 16), ways, "PEFT static batch")


def _gemma_2b() -> list[Figure]:
    """A decode step without adapters at the true shape."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    with torch.device("meta"):
        model: Any = Gemma2ForCausalLM(Gemma2Config(**GEMMA_2B)).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    tile = torch.randn(1 << 20, dtype=torch.bfloat16).mul_(0.02)
    for weight in model.parameters():
        flat = weight.data.view(-1)
        for start in range(0, len(flat), len(tile)):
            flat[start : start + len(tile)] = tile[: len(flat) - start]
    rotary = type(model.model.rotary_emb)
    model.model.rotary_emb = rotary(model.config)
    mixer = MixingScheduler(Gemma2(model, "bf16"), Counters(), 16, 1 << 30)
    del model
    gc.collect()
    made = []
    for rows in (1, 16):
        taken = step_seconds(mixer, rows, 0, steps=3)
        made.append(
            Figure(
                name=f"Gemma 2 2b shape, bf16, {rows} rows",
                value=rows / taken,
                unit="tokens/CPU s",
                against=f"{taken:.3f} CPU s a step",
            )
        )
        print(made[-1], flush=True)
    return made


if __name__ == "__main__":
    tell_memory(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]

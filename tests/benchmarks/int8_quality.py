"""What int8 costs in quality: perplexity on held-out text in each precision, each expert on its own.

PASTICHE_BENCH_TEXTS names a folder with <expert>-embedded/corpus/test.jsonl as the trainings leave them
(runs); without it nothing is measured.
"""

import json
import math
import os
from pathlib import Path

from tests.benchmarks.figures import Figure, clock
from tests.benchmarks.mixed_ways import EXPERTS, engine, prepared

TOKENS = 1024  # of each expert's text, in windows of WINDOW
WINDOW = 256


def run(folder: Path) -> list[Figure]:
    """Perplexities, and int8's against bf16's (aim: within 1 %)."""
    import torch
    from transformers import AutoTokenizer

    texts = Path(os.environ.get("PASTICHE_BENCH_TEXTS", "runs"))
    torch.set_num_threads(1)
    base = prepared(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    figures, losses = [], {}
    for precision in ("fp32", "bf16", "int8"):
        _, mixer = engine(base, precision, 1)
        total, count = 0.0, 0
        with clock() as taken:
            for expert in EXPERTS:
                file = texts / f"{expert}-embedded" / "corpus" / "test.jsonl"
                if not file.is_file():
                    continue
                lines = file.read_text(encoding="utf-8").splitlines()
                words = "\n\n".join(p for line in lines for p in json.loads(line)["paragraphs"])
                ids = tokenizer(words[: TOKENS * 6]).input_ids[:TOKENS]
                for start in range(0, len(ids) - WINDOW + 1, WINDOW):
                    total += _loss(mixer, expert, ids[start : start + WINDOW])
                    count += WINDOW - 1
        if not count:
            return []
        losses[precision] = total / count
        against = math.exp(losses[precision] - losses.get("bf16", losses[precision])) - 1
        figures.append(
            Figure(
                name=f"perplexity, {precision}",
                value=math.exp(losses[precision]),
                unit=f"over {count} tokens",
                against=f"{100 * against:+.2f} % of bf16" if "bf16" in losses else "",
                wall_seconds=taken.wall,
                cpu_seconds=taken.cpu,
            )
        )
    return figures


def _loss(mixer, expert: str, ids: list[int]) -> float:  # type: ignore[no-untyped-def]
    """Summed negative log likelihood of all tokens but the first."""
    import torch.nn.functional as F
    from torch import tensor

    from engine.backends.mixing.adapters import AdapterKey
    from engine.backends.mixing.attention import Attention, Piece
    from engine.backends.mixing.decoder import Batch
    from engine.backends.mixing.multi_lora import Stacks

    stacks = Stacks(mixer.decoder.linears)
    mixer.cache.reserve(1, len(ids))
    mix = stacks.mix([AdapterKey(expert)] * len(ids), mixer._adapters)
    attend = Attention(mixer.cache, [], [Piece(0, 0, len(ids))])
    logits = mixer.decoder(Batch(ids=ids, attend=attend, wanted=list(range(len(ids))), mix=mix))
    return float(F.cross_entropy(logits[:-1], tensor(ids[1:]), reduction="sum"))

"""A real Gemma, bare and with a LoRA in one batch, token by token beside PEFT, in float32.

The base is what `pastiche prepare gemma-3-270m` made; the adapter is a run's (training.train_text).
Greedy, no ends: each request writes its length. Near ties are told by the reference's margin there.
"""

import argparse
import random
from pathlib import Path
from typing import Any

from engine.backends.counters import Counters
from engine.backends.mixing.adapters import BARE, AdapterKey, read_adapter
from engine.backends.mixing.layouts import make_decoder
from engine.backends.mixing.scheduler import MixingScheduler
from engine.plan.job import Job
from engine.settings import default_home
from tests.benchmarks.figures import Figure, clock
from tests.benchmarks.mixed_ways import GREEDY, WORDS, FixedRow

OPTIONS = argparse.ArgumentParser(prog="real_gemma", description=__doc__)
BASE = default_home() / "models/gemma-3-270m"
ADAPTER = default_home() / "experts/lovecraft/adapter-gemma-3-270m"
OPTIONS.add_argument("--base", type=Path, default=BASE, help="the base's folder")
OPTIONS.add_argument("--adapter", type=Path, default=ADAPTER, help="the adapter's folder")
OPTIONS.add_argument("--requests", type=int, default=16, help="every other one is the bare base's")
OPTIONS.add_argument("--tokens", type=int, default=48)
KEY = AdapterKey("lovecraft")
BEGINNINGS = (
    "The old house on the hill",
    "It was on a dreary night that I",
    "My friend the professor had written",
    "Beyond the last of the stars there",
)


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Requests whose every token is PEFT's, bare and with the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (options.base.is_dir() and options.adapter.is_dir()):
        print(
            "No Gemma with an adapter here: pastiche prepare gemma-3-270m, then train and publish."
        )
        return []
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    draw = random.Random(5)
    prompts = []
    for number in range(options.requests):
        words = " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 24)))
        prompts.append(tokenizer(f"{words}. {BEGINNINGS[number % 4]}").input_ids)

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32).eval()

    torch.set_num_threads(1)
    with clock() as ours:
        mixer = MixingScheduler(make_decoder(load(), "fp32"), Counters(), options.requests)
        mixer.adopt(KEY, read_adapter("lovecraft", options.adapter, mixer.decoder.shapes))
        rows = [_row(ids, n % 2 == 0, tokenizer, options.tokens) for n, ids in enumerate(prompts)]
        for row in rows:
            mixer.add(row)
        while mixer.busy:
            mixer.step()
    written = [row.tokens[row.prompt :] for row in rows]
    del mixer

    model = PeftModel.from_pretrained(load(), options.adapter).eval()
    equal = {True: 0, False: 0}
    with clock() as peft:
        for number, (ids, got) in enumerate(zip(prompts, written, strict=True)):
            plain = number % 2 == 0
            if plain:
                with model.disable_adapter():
                    wanted, margins = _greedy(model, ids, options.tokens)
            else:
                wanted, margins = _greedy(model, ids, options.tokens)
            equal[plain] += wanted == got
            if wanted != got:
                at = next(n for n, (a, b) in enumerate(zip(wanted, got, strict=True)) if a != b)
                print(
                    f"request {number}: token {at} differs; PEFT's margin there {margins[at]:.2e}"
                )
            elif number < 2:
                print(tokenizer.decode(ids + wanted, skip_special_tokens=True))
    names = {True: "the bare base", False: "the adapter"}
    count = {True: (options.requests + 1) // 2, False: options.requests // 2}
    return [
        Figure(
            name=f"{names[plain]}: requests equal to PEFT's in every token",
            value=equal[plain],
            unit="requests",
            against=f"of {count[plain]}",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        )
        for plain, taken in ((True, ours), (False, peft))
    ]


def _row(ids: list[int], plain: bool, tokenizer: Any, new: int) -> FixedRow:
    job = Job(
        id="j", request="r", expert="lovecraft", medium="text", prompt="", head=0, length=1000,
        seed=0, sampling=GREEDY,
    )  # fmt: skip
    key = BARE if plain else KEY
    row = FixedRow(job, key, ids, (), tokenizer, (), ("", ""), lambda: False, lambda _event: None)
    row.new = new
    return row


def _greedy(model: Any, ids: list[int], new: int) -> tuple[list[int], list[float]]:
    """The likeliest tokens, each with how far it is ahead of the next."""
    import torch

    known, tokens, margins, read = None, [], [], ids
    with torch.inference_mode():
        for _ in range(new):
            out = model(input_ids=torch.tensor([read]), past_key_values=known, use_cache=True)
            known = out.past_key_values
            first, second = out.logits[0, -1].topk(2).values.tolist()
            tokens.append(int(out.logits[0, -1].argmax()))
            margins.append(first - second)
            read = tokens[-1:]
    return tokens, margins

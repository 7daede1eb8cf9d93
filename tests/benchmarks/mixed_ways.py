"""The ways to serve a queue of mixed requests that the mixing engine is compared with.

Each takes (expert, prompt ids, new tokens) triples, writes greedily to the exact length without
ending early, and gives the tokens back by request. All run in bfloat16, the base's own type.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.counters import Counters
from engine.backends.mixing.adapters import BARE, AdapterKey, read_adapter
from engine.backends.mixing.kernels import Precision
from engine.backends.mixing.layouts import make_decoder
from engine.backends.mixing.sampler import Draw
from engine.backends.mixing.scheduler import MixingScheduler
from engine.backends.mixing.sequence import TextSequence
from engine.files import BUILT_IN
from engine.plan.cards import Sampling
from engine.plan.job import Job
from engine.settings import default_home
from engine.weights import bases, conversion

BASE = "smollm2-135m-instruct"
EXPERTS = ("lovecraft", "agatha", "newsroom")
INSTRUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request in the voice of the author. Keep the answer short and do not break the character of the "
    "narrator.\n\n"
)
WORDS = (
    "rain", "house", "night", "door", "letter", "stone", "river", "garden", "silence", "window",
    "road", "lamp", "voice", "sea",
)  # fmt: skip
GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the queue."""

    expert: str
    ids: list[int]
    new: int


Way = Callable[[Sequence[Ask]], list[list[int]]]
Adapters = Callable[[str], Path]  # an expert's folder


def prepared(folder: Path) -> Path:
    """The base's folder; prepared first if it is not."""
    home = default_home() if bases.present(BASE, default_home() / "models") else folder
    return conversion.prepare(BASE, home / "models") or home / "models" / BASE


def adapter_of(expert: str) -> Path:
    """The built-in expert's adapter."""
    return BUILT_IN / expert / "adapter"


def asks(base: Path, number: int, seed: int = 3, most: int = 64) -> list[Ask]:
    """Requests of unequal lengths: 12 to 60 words behind a shared instruction, 16 to `most` tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    draw = random.Random(seed)
    made = []
    for place in range(number):
        words = " ".join(draw.choice(WORDS) for _ in range(draw.randint(12, 60)))
        ids = tokenizer(INSTRUCTION + words).input_ids
        made.append(Ask(EXPERTS[place % 3], ids, draw.randint(16, most)))
    return made


def _load(base: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()


def _generate(model: Any, ids: Any, new: int, **options: Any) -> Any:
    import torch

    mask = options.pop("attention_mask", torch.ones_like(ids))
    with torch.inference_mode():
        return model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            **options,
        )


def reports_way(base: Path, folder: Path) -> Way:
    """(a) A merged model an expert, and a pipeline built anew for every request."""
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer, pipeline

    for expert in EXPERTS:
        merged = PeftModel.from_pretrained(_load(base), adapter_of(expert)).merge_and_unload()
        merged.save_pretrained(folder / expert)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder / expert)

    def serve(queue: Sequence[Ask]) -> list[list[int]]:
        made = []
        for ask in queue:
            pipe = pipeline("text-generation", model=str(folder / ask.expert))
            out = _generate(pipe.model, torch.tensor([ask.ids]), ask.new)
            made.append(out[0, len(ask.ids) :].tolist())
        return made

    return serve


def resident_peft(base: Path, adapter: Adapters = adapter_of) -> tuple[Way, Way, Way]:
    """(b) one by one with set_adapter, (c) one static mixed batch, (d) transformers' continuous
    batching, adapter by adapter: all on one resident model."""
    import torch
    from peft import PeftModel

    model: Any = PeftModel.from_pretrained(
        _load(base), adapter(EXPERTS[0]), adapter_name=EXPERTS[0]
    )
    for expert in EXPERTS[1:]:
        model.load_adapter(adapter(expert), adapter_name=expert)
    model.eval()

    def one_by_one(queue: Sequence[Ask]) -> list[list[int]]:
        made = []
        for ask in queue:
            model.set_adapter(ask.expert, inference_mode=True)
            out = _generate(model, torch.tensor([ask.ids]), ask.new)
            made.append(out[0, len(ask.ids) :].tolist())
        return made

    def static(queue: Sequence[Ask]) -> list[list[int]]:
        made: list[list[int]] = []
        for start in range(0, len(queue), 16):
            part = queue[start : start + 16]
            width = max(len(ask.ids) for ask in part)
            ids = torch.tensor([[0] * (width - len(a.ids)) + a.ids for a in part])
            mask = torch.tensor([[0] * (width - len(a.ids)) + [1] * len(a.ids) for a in part])
            new = max(ask.new for ask in part)
            names = [ask.expert for ask in part]
            out = _generate(model, ids, new, attention_mask=mask, adapter_names=names)
            made += [row[width : width + a.new].tolist() for row, a in zip(out, part, strict=True)]
        return made

    def continuous(queue: Sequence[Ask]) -> list[list[int]]:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        made: dict[str, list[int]] = {}
        options = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
        config = ContinuousBatchingConfig(
            num_blocks=64, max_batch_tokens=512, allow_block_sharing=False
        )
        for expert in EXPERTS:
            model.set_adapter(expert, inference_mode=True)
            inner = model.base_model.model
            own = [(n, ask) for n, ask in enumerate(queue) if ask.expert == expert]
            with inner.continuous_batching_context_manager(
                generation_config=options, continuous_batching_config=config
            ) as manager:
                for n, ask in own:
                    manager.add_request(ask.ids, request_id=str(n), max_new_tokens=ask.new)
                while len([n for n, _ in own if str(n) in made]) < len(own):
                    result = manager.get_result(timeout=60)
                    if result is not None and result.is_finished():
                        made[result.request_id] = list(result.generated_tokens)
        return [made[str(n)] for n in range(len(queue))]

    return one_by_one, static, continuous


class FixedRow(TextSequence):
    """A row of the engine that writes exactly so many tokens."""

    new = 0

    def draw(self) -> Draw:
        """As it is, with no end allowed."""
        draw = super().draw()
        draw.banned = self.ends
        return draw

    def add(self, token: int) -> bool:
        """As it is, text and all, and over at the length."""
        return super().add(token) or self.written >= self.new


def a_row(ask: Ask, tokenizer: Any, mixer: MixingScheduler) -> FixedRow:
    """A request as the engine's batch takes it; without its adapter it is the base alone."""
    key = AdapterKey(ask.expert)
    job = Job(
        id="j",
        request="r",
        expert=ask.expert,
        medium="text",
        prompt="",
        head=0,
        length=1000,
        seed=0,
        sampling=GREEDY,
    )
    row = FixedRow(
        job,
        key if mixer.has(key) else BARE,
        ask.ids,
        (),
        tokenizer,
        (2,),
        ("", ""),
        lambda: False,
        lambda _event: None,
    )
    row.new = ask.new
    return row


def engine(
    base: Path,
    precision: Precision,
    slots: int = 16,
    *,
    experts: bool = True,
    adapter: Adapters = adapter_of,
) -> tuple[Way, MixingScheduler]:
    """(e) This engine; without its adapters every expert is the base alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    mixer = MixingScheduler(make_decoder(_load(base), precision), Counters(), slots)
    for expert in EXPERTS if experts else ():
        read = read_adapter(expert, adapter(expert), mixer.decoder.shapes)
        mixer.adopt(AdapterKey(expert), read)

    def serve(queue: Sequence[Ask]) -> list[list[int]]:
        mixer.prefixes.forget()  # nothing is known from the round before
        rows = []
        for ask in queue:
            rows.append(a_row(ask, tokenizer, mixer))
            mixer.add(rows[-1])
        while mixer.busy:
            mixer.step()
        return [row.tokens[row.prompt :] for row in rows]

    return serve, mixer

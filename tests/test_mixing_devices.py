"""The mixing engine on a processor and on a GPU alike: `pytest -m gpu` runs these on CUDA, in float32.

They need only torch, transformers, PEFT and the engine, so that they also run where little else is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peft_answers import choices, peft_model
from tiny_layouts import LAYOUTS, shared_layouts
from tiny_models import byte_fallback

from engine.backends.counters import Counters
from engine.backends.mixing.adapters import BARE, AdapterKey, read_adapter
from engine.backends.mixing.attention import Attention, Piece
from engine.backends.mixing.decoder import Batch
from engine.backends.mixing.layouts import make_decoder
from engine.backends.mixing.sampler import choose
from engine.backends.mixing.scheduler import MixingScheduler
from engine.backends.mixing.sequence import TextSequence
from engine.backends.row_sampler import Draw
from engine.plan.cards import Sampling
from engine.plan.job import Job

EXPERTS = ("moss", "fern", "reed", "bare")
LENGTH = 20
NEW = 30  # tokens that a row writes; with these the shortest prompt meets the sliding window too
SAMPLED = {
    "temperature": 0.9, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "top_n_sigma": 2.0,
    "xtc_probability": 0.5, "repetition_penalty": 1.1, "dry_multiplier": 0.8,
}  # fmt: skip
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where it runs; on a GPU products are whole float32."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no accelerator")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield request.param
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(scope="session")
def tiny() -> Path:
    """Every layout with the adapters moss, fern and reed."""
    return shared_layouts()


def load(folder: Path, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return model.to(device).eval()  # older transformers' other ways leave Gemma 2's cap out


def a_mixer(
    tiny: Path, layout: str, device: str, precision: Any = "fp32", fixed: bool | None = None
) -> MixingScheduler:
    decoder = make_decoder(load(tiny / layout, device), precision)
    mixer = MixingScheduler(decoder, Counters(), 8, 1 << 28, fixed=fixed)
    for name in EXPERTS[:3]:
        read = read_adapter(name, tiny / f"{layout}-{name}", mixer.decoder.shapes)
        mixer.adopt(AdapterKey(name), read)
    return mixer


def a_row(
    mixer: MixingScheduler,
    number: int,
    sampling: Sampling,
    kind: type[TextSequence] = TextSequence,
    words: int = NEW,
) -> TextSequence:
    """A request with a prompt of its own length; it ends after so many words, whatever they are."""
    name = EXPERTS[number % 4]
    job = Job(
        id=f"j{number}",
        request="r",
        expert=name,
        medium="text",
        prompt="",
        head=0,
        length=LENGTH,
        seed=number,
        sampling=sampling,
    )
    ids = [4 + (number * 31 + place * 37) % 250 for place in range(20 + 30 * (number % 3))]
    key = AdapterKey(name) if mixer.has(AdapterKey(name)) else BARE
    row = kind(job, key, ids, (), byte_fallback(), (), ("", ""), lambda: False, lambda _event: None)
    row.stopped = lambda: row.written >= words
    return row


def written(mixer: MixingScheduler, rows: list[TextSequence]) -> list[list[int]]:
    mixer.prefixes.forget()
    for row in rows:
        mixer.add(row)
    while mixer.busy:
        mixer.step()
    return [row.tokens[row.prompt :] for row in rows]


def by_peft(
    tiny: Path, layout: str, device: str, row: TextSequence, tokens: list[int]
) -> list[int]:
    from transformers import RepetitionPenaltyLogitsProcessor

    expert, prompt = row.job.expert, row.tokens[: row.prompt]
    model = peft_model(tiny, layout, expert, device)
    penalty = RepetitionPenaltyLogitsProcessor(row.job.sampling.repetition_penalty, row.prompt)
    return choices(model, prompt, tokens, [penalty])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_greedy_tokens_are_pefts_alone_and_mixed(tiny: Path, layout: str, device: str) -> None:
    mixer = a_mixer(tiny, layout, device)
    greedy = Sampling(temperature=0.0, repetition_penalty=1.3, repetition_last_n=0, end_gain=0.0)

    def rows() -> list[TextSequence]:
        return [a_row(mixer, number, greedy) for number in range(7)]

    mixed = written(mixer, rows())
    assert len({tuple(tokens) for tokens in mixed}) > 4, "experts differ"
    for row, tokens in zip(rows(), mixed, strict=True):
        expected = by_peft(tiny, layout, device, row, tokens)
        assert written(mixer, [row]) == [tokens]
        assert tokens == expected and len(tokens) == NEW


def staggered(mixer: MixingScheduler, sampling: Sampling) -> list[list[int]]:
    """Eleven requests for eight places, one more every other step; the last three are of the base."""
    waiting = [a_row(mixer, number, sampling) for number in (*range(8), 3, 7, 11)]
    rows = list(waiting)
    for number in range(60):
        if waiting and number % 2 == 0:
            mixer.add(waiting.pop(0))
        mixer.step()
    while mixer.busy:
        mixer.step()
    return [row.tokens[row.prompt :] for row in rows]


@pytest.mark.parametrize(
    ("layout", "sampling"),
    [("llama", SAMPLED), ("gemma2", {"temperature": 0.0}), ("gemma3", SAMPLED)],
    ids=["llama-drawn", "gemma2-greedy", "gemma3-drawn"],
)
def test_fixed_shapes_write_the_same_tokens(tiny: Path, layout: str, device: str, sampling) -> None:
    fixed, loose = (a_mixer(tiny, layout, device, fixed=way) for way in (True, False))
    found = staggered(fixed, Sampling(**sampling))
    assert found == staggered(loose, Sampling(**sampling))
    assert all(len(tokens) == NEW for tokens in found)
    assert fixed._graphs.fault == ""
    shapes = {(bool(present), count) for present, count, _ in fixed._graphs._graphs}
    assert {(True, 4), (True, 8), (False, 1)} <= shapes
    fixed.rest()
    assert (fixed.cache.rows, len(fixed._graphs._graphs)) == (0, 0)
    again = a_row(fixed, 7, Sampling(**sampling))
    assert written(fixed, [again]) == [found[7]]


def test_an_adapter_that_comes_while_others_write_is_met_by_its_own_rows(
    tiny: Path, device: str
) -> None:
    def tokens(fixed: bool) -> list[list[int]]:
        mixer, greedy = a_mixer(tiny, "llama", device, fixed=fixed), Sampling(temperature=0.0)
        late = read_adapter("moss", tiny / "llama-moss", mixer.decoder.shapes)
        del mixer._adapters[AdapterKey("moss")]
        first, second = a_row(mixer, 1, greedy), a_row(mixer, 0, greedy)
        mixer.add(first)
        for _ in range(6):
            mixer.step()
        mixer.adopt(AdapterKey("moss"), late)
        second.adapter = AdapterKey("moss")
        return [first.tokens, *written(mixer, [second])]

    assert tokens(fixed=True) == tokens(fixed=False)


def test_where_a_step_cannot_be_captured_it_is_told_once_and_served(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixer = a_mixer(tiny, "llama", "cpu", fixed=True)
    mixer._graphs._captures = True  # there is no CUDA here
    rows = [a_row(mixer, number, Sampling(temperature=0.0)) for number in range(3)]
    plain = a_mixer(tiny, "llama", "cpu", fixed=False)
    again = [a_row(plain, number, Sampling(temperature=0.0)) for number in range(3)]
    assert written(mixer, rows) == written(plain, again)
    assert mixer._graphs.fault
    assert sum("without CUDA graphs" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("fixed", [True, False])
def test_a_prompt_of_many_pieces_is_read_alone(tiny: Path, device: str, fixed: bool) -> None:
    mixer = a_mixer(tiny, "llama", device, fixed=fixed)
    row = a_row(mixer, 0, Sampling(temperature=0.0))
    row.tokens = [4 + n * 37 % 250 for n in range(600)]
    row.prompt = len(row.tokens)
    assert written(mixer, [row]) == [row.tokens[600:]] != [[]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_prompt_that_is_known_has_the_very_numbers_of_one_read_anew(
    tiny: Path, layout: str
) -> None:
    import torch

    mixer = a_mixer(tiny, layout, "cpu", "bf16")

    def a_prompt(length: int, number: int = 0) -> TextSequence:
        row = a_row(mixer, number, Sampling(temperature=0.0), words=5)
        row.tokens = [4 + n * 37 % 250 for n in range(length)]
        row.prompt = length
        return row

    def numbers(length: int) -> torch.Tensor:
        """Keys and values of its prompt and first words, after which it leaves."""
        row = a_prompt(length)
        mixer.add(row)
        while row.written < 4:
            mixer.step()
        held = mixer.cache.copy_out(row.place, row.read)
        while mixer.busy:
            mixer.step()
        return held

    for length in (20, 61, 541):
        mixer.prefixes.forget()
        anew = numbers(length)
        known = mixer._gauges.tokens_known
        assert torch.equal(numbers(length), anew), "it is known itself"
        assert (mixer._gauges.tokens_known > known) == (length > 47)
        for start in (length // 2, length + 3):
            written(mixer, [a_prompt(start)])
            assert torch.equal(numbers(length), anew), "a start of it is known, or more"
        written(
            mixer, [a_row(mixer, 1, Sampling(), words=5), *[a_prompt(length, n) for n in (0, 1, 4)]]
        )
        assert torch.equal(numbers(length), anew), "it was read in company"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_transformers_own(tiny: Path, layout: str, device: str) -> None:
    import torch

    mixer = a_mixer(tiny, layout, device)
    ids = [4 + n * 37 % 250 for n in range(100)]
    found = torch.cat(logits_of(mixer, ids, AdapterKey("moss")))
    model = peft_model(tiny, layout, "moss", device)
    with torch.inference_mode():
        whole = model(torch.tensor([ids], device=device)).logits[0]
    assert torch.allclose(found, whole, atol=2e-4 * float(whole.abs().max()))


def logits_of(mixer: MixingScheduler, ids: list[int], key: AdapterKey) -> list[Any]:
    """Of every token, read in two pieces and then one by one."""
    mixer.cache.reserve(3, 128)
    rows = []
    steps = [Attention(mixer.cache, [], [Piece(0, 0, 60)])]
    steps += [Attention(mixer.cache, [], [Piece(0, 60, 30)])]
    steps += [Attention(mixer.cache, [n], []) for n in range(90, len(ids))]
    for attend in steps:
        there = attend.all_positions()
        mix = mixer._stacks.mix([key] * len(there), mixer._adapters)
        part, wanted = [ids[n] for n in there], list(range(len(there)))
        rows.append(mixer.decoder(Batch(ids=part, attend=attend, wanted=wanted, mix=mix)))
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_stays_near_float32(tiny: Path, layout: str, device: str) -> None:
    import torch

    ids, key = [5 + n % 200 for n in range(96)], AdapterKey("moss")
    whole = torch.cat(logits_of(a_mixer(tiny, layout, device), ids, key))
    half = torch.cat(logits_of(a_mixer(tiny, layout, device, "bf16"), ids, key))
    off = float((half - whole).norm() / whole.norm())
    assert 0 < off < 0.08


def test_a_drawn_answer_is_its_seeds_alone_and_mixed(tiny: Path, device: str) -> None:
    mixer = a_mixer(tiny, "gemma2", device)
    drawn = Sampling(**SAMPLED)
    mixed = written(mixer, [a_row(mixer, number, drawn) for number in range(6)])
    assert mixed == [written(mixer, [a_row(mixer, number, drawn)])[0] for number in range(6)]


def test_a_draw_is_the_same_wherever_its_logits_are(device: str) -> None:
    import random

    import torch

    logits = torch.randn(64, 4000, generator=torch.Generator().manual_seed(2)) * 2

    def tokens(where: str) -> list[int | None]:
        draws = [
            Draw(
                Sampling(temperature=0.7 + row % 3, top_p=1.0 - row % 2 / 10),
                random.Random(row),
                (),
            )
            for row in range(64)
        ]
        return choose(logits.clone().to(where), draws)

    assert sum(a != b for a, b in zip(tokens("cpu"), tokens(device), strict=True)) <= 1


def test_numbers_that_are_not_finite_end_their_own_row(device: str) -> None:
    import random

    import torch

    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    logits[1, 7] = float("nan")
    draws = [Draw(Sampling(temperature=0.0), random.Random(1), [3], [4]) for _ in range(3)]
    best = logits.argmax(1).tolist()
    assert choose(logits.to(device), draws) == [best[0], None, best[2]]


def test_a_step_keeps_to_its_device(tiny: Path) -> None:
    """No GPU is needed to see it: on `meta` nothing is computed, but every tensor says where it is."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class OneDevice(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            kinds = {tensor.device.type for tensor in tensors if tensor.dim()}
            if func not in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
                assert len(kinds) <= 1, f"{func} meets {kinds}"
            return func(*args, **(kwargs or {}))

    for layout in LAYOUTS:
        mixer = a_mixer(tiny, layout, "meta")
        mixer.cache.reserve(4, 128)
        keys = [AdapterKey("moss"), AdapterKey("fern"), BARE, *[AdapterKey("reed")] * 11]
        attend = Attention(mixer.cache, [5, 6, 7], [Piece(3, 0, 11)])
        with OneDevice():
            mix = mixer._stacks.mix(keys, mixer._adapters)
            made = mixer.decoder(Batch([1] * 14, attend, [0, 1, 2, 13], mix))
            mixer.cache.swap(0, 1, 3)
            mixer.cache.copy_in(1, mixer.cache.copy_out(0, 3), 3)
        assert made.device.type == "meta"


class _Short(TextSequence):
    """A row in whose first draw memory runs out: the numbers are there by then."""

    left = 1

    def draw(self) -> Draw:
        if self.left:
            self.left -= 1
            raise MemoryError
        return super().draw()


@pytest.mark.parametrize("fixed", [True, False])
def test_memory_that_runs_out_late_in_a_step_loses_no_row(
    tiny: Path, device: str, fixed: bool
) -> None:
    """The rows have moved by then; the slots are as many as before once nobody is there."""
    greedy = Sampling(temperature=0.0)
    mixer = a_mixer(tiny, "llama", device, fixed=fixed)
    alone = [written(mixer, [a_row(mixer, number, greedy, words=12)])[0] for number in range(5)]
    kinds = [TextSequence, TextSequence, TextSequence, _Short, TextSequence]
    rows = [a_row(mixer, number, greedy, kind, 12) for number, kind in enumerate(kinds)]
    assert written(mixer, rows) == alone
    assert mixer.slots == 2
    again = [a_row(mixer, number, greedy, words=12) for number in range(5)]
    assert written(mixer, again) == alone
    assert mixer.slots == 8


@pytest.mark.parametrize("fixed", [True, False])
def test_numbers_that_were_not_finite_spoil_no_row_that_comes_later(
    tiny: Path, device: str, fixed: bool
) -> None:
    """Two rows fail in one step, and one moves to the other's place: both places are clean then."""
    greedy, bad = Sampling(temperature=0.0), AdapterKey("bad")
    mixer = a_mixer(tiny, "llama", device, fixed=fixed)
    whole = mixer._adapters[AdapterKey(EXPERTS[0])]
    mixer.adopt(bad, {name: (a * 1e25, b * 1e25) for name, (a, b) in whole.items()})
    first, *failing = (a_row(mixer, number, greedy) for number in (1, 5, 8))
    alone = written(mixer, [a_row(mixer, 1, greedy)])
    mixer.prefixes.forget()
    mixer.add(first)
    for row in failing:
        row.adapter = bad
        mixer.add(row)
    while mixer.busy:
        mixer.step()
        assert all(bool(t.isfinite().all()) for t in (*mixer.cache.keys, *mixer.cache.values))
    assert [row.tokens[row.prompt :] for row in (first, *failing)] == [*alone, [], []]


def test_one_long_request_leaves_all_seats_where_shapes_are_fixed(tiny: Path, device: str) -> None:
    def seats() -> int:
        rows, most = [a_row(mixer, n, Sampling(temperature=0.0), words=8) for n in range(8)], 0
        for row in rows:
            mixer.add(row)
        while mixer.busy:
            mixer.step()
            most = max(most, mixer.seated)
        return most

    mixer = a_mixer(tiny, "llama", device, fixed=True)
    mixer.cache.budget = 8 * 1024 * mixer.cache.token_bytes
    assert seats() == 8
    long = a_row(mixer, 0, Sampling(temperature=0.0))
    long.tokens = [4 + n * 37 % 250 for n in range(4000)]
    long.prompt = len(long.tokens)
    assert written(mixer, [long]) != [[]]
    assert seats() == 8

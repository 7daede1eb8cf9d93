"""The mixing engine: each row equals PEFT's own answer for its expert, alone and in company."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft_answers import choices, on_base, peft_model
from tiny_layouts import LAYOUTS, make_layout, make_lora, shared_layouts, shifted
from tiny_models import byte_fallback, write_card

from engine.backends.mixing.adapters import BARE
from engine.backends.mixing.attention import Attention, Piece
from engine.backends.mixing.decoder import Batch
from engine.backends.mixing.prefix_cache import BLOCK, LEAST_TOKENS
from engine.backends.mixing.sampler import pick
from engine.backends.mixing.sequence import TextSequence
from engine.backends.prompt_window import prompt_ids
from engine.backends.resident_base import ResidentBase
from engine.backends.stop_rules import NO_END, finish, legible
from engine.backends.text import TextBackend
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Started, Text, is_final
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.settings import Settings

LENGTH = 6  # its answers are cut at 36 tokens, behind the sliding window
GREEDY = Sampling(temperature=0.0, end_gain=0.0)
EXPERTS = ("moss", "fern", "reed", "bare")
PROMPTS = (
    "Continue.\n\nIt rained.",
    "Continue.\n\n" + "The wind went round the house and came back again. " * 3,
    "Continue.\n\nShe had not " + "slept " * 20,
)

Build = Callable[..., TextBackend]


@pytest.fixture(scope="session")
def tiny() -> Path:
    """Every layout with the adapters moss, fern and reed."""
    return shared_layouts()


@pytest.fixture
def build(tiny: Path, settings: Settings) -> Build:
    """A text backend on a layout with the experts moss, fern, reed, and bare, the base alone."""

    def made(layout: str = "llama", **changes: object) -> TextBackend:
        root = settings.home / "experts"
        for name in EXPERTS[:3]:
            write_card(root, name, tiny / layout, tiny / f"{layout}-{name}")
        write_card(root, "bare", tiny / layout)
        return TextBackend(
            settings.model_copy(update={"threads": 1, "precision": "fp32", **changes}),
            Registry.load([root], "embedded"),
        )

    return made


def a_job(expert: str = "moss", number: int = 0, **changes: object) -> Job:
    values = {
        "id": f"j{number}",
        "request": "r",
        "expert": expert,
        "medium": "text",
        "prompt": PROMPTS[number % len(PROMPTS)],
        "head": 11,
        "length": LENGTH,
        "seed": 7 + number,
        "sampling": GREEDY,
        **changes,
    }
    return Job(**values)  # type: ignore[arg-type]


async def run(backend: TextBackend, job: Job) -> Event:
    """The final event, having checked that it is the only one and the last."""
    events = [event async for event in backend.generate(job, threading.Event())]
    assert [is_final(e) for e in events] == [False] * (len(events) - 1) + [True]
    return events[-1]


async def together(backend: TextBackend, jobs: list[Job]) -> list[Event]:
    return list(await asyncio.gather(*[run(backend, job) for job in jobs]))


def rules(job: Job, prompt: int, ends: Sequence[int]) -> list[Any]:
    """What makes PEFT's greedy answer keep to the job's own rules."""
    from transformers import MinNewTokensLengthLogitsProcessor, RepetitionPenaltyLogitsProcessor

    return [
        MinNewTokensLengthLogitsProcessor(prompt, int(job.length * NO_END), list(ends)),
        RepetitionPenaltyLogitsProcessor(job.sampling.repetition_penalty, prompt),
    ]


def write(resident: ResidentBase, jobs: list[Job]) -> list[list[int]]:
    """The tokens of the jobs' answers, written together without the backend around the batch."""
    rows, finals = [], []
    for job in jobs:
        ids, notes = prompt_ids(job, resident.tokenizer, resident.window)
        says = finals.append
        key = resident.adapters.get(job.expert, BARE)
        rest = (resident.tokenizer, resident.ends, ("", ""), lambda: False, says)
        row = TextSequence(job, key, ids, notes, *rest)
        resident.mixer.add(row)
        rows.append(row)
    while resident.mixer.busy:
        resident.mixer.step()
    assert sum(isinstance(event, Finished) for event in finals) == len(jobs)
    return [row.tokens[row.prompt :] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_greedy_tokens_equal_pefts_alone_and_mixed(build: Build, tiny, layout) -> None:
    backend = build(layout, slots=6)
    penalised = replace(GREEDY, repetition_penalty=1.3, repetition_last_n=0)
    jobs = [
        a_job(EXPERTS[n % 4], n, sampling=penalised if n == 5 else GREEDY, length=LENGTH + n % 5)
        for n in range(8)
    ]
    await together(backend, jobs[:4])  # now every adapter is in memory
    resident = next(iter(backend._bases.values()))
    mixed = write(resident, jobs)
    resident.mixer.prefixes.forget()
    for job, tokens in zip(jobs, mixed, strict=True):
        assert write(resident, [job]) == [tokens]
        ids, _ = prompt_ids(job, resident.tokenizer, resident.window)
        model = peft_model(tiny, layout, job.expert)
        assert choices(model, ids, tokens, rules(job, len(ids), resident.ends)) == tokens
    same_prompt = write(resident, [a_job(name) for name in EXPERTS])
    assert len({tuple(tokens) for tokens in same_prompt}) > 2, "experts differ"


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_the_numbers_in_pieces_and_steps_are_transformers_own(
    build: Build, tiny, layout
) -> None:
    import torch

    backend = build(layout)
    await run(backend, a_job())
    mixer = next(iter(backend._bases.values())).mixer
    mixer.cache.reserve(3, 128)
    ids = [4 + n * 37 % 250 for n in range(100)]
    rows = []
    pieces = [Attention(mixer.cache, [], [Piece(0, 0, 60)])]
    pieces += [Attention(mixer.cache, [], [Piece(0, 60, 30)])]
    pieces += [Attention(mixer.cache, [n], []) for n in range(90, 100)]
    for attend in pieces:
        there = attend.all_positions()
        mix = mixer._stacks.mix([*mixer._adapters] * len(there), mixer._adapters)
        part, wanted = [ids[n] for n in there], list(range(len(there)))
        rows.append(mixer.decoder(Batch(ids=part, attend=attend, wanted=wanted, mix=mix)))
    with torch.inference_mode():
        whole = peft_model(tiny, layout, "moss")(torch.tensor([ids])).logits[0]
    assert torch.allclose(torch.cat(rows), whole, atol=2e-4 * float(whole.abs().max()))


@pytest.mark.slow
async def test_a_drawn_answer_is_its_seeds_whatever_it_was_batched_with(build: Build) -> None:
    backend = build(slots=3)
    drawn = Sampling(temperature=0.9, top_p=0.9, top_k=40, min_p=0.01, repetition_penalty=1.1)
    jobs = [a_job(EXPERTS[n % 4], n, sampling=drawn, length=LENGTH + 7 * (n % 3)) for n in range(7)]
    mixed = await together(backend, jobs)
    alone = [await run(backend, job) for job in jobs]
    assert [final.text for final in mixed] == [final.text for final in alone]
    assert len({final.text for final in mixed}) == 7


async def test_more_requests_than_slots_are_served_in_their_order(build: Build) -> None:
    backend = build(slots=2)
    begun: list[str] = []

    async def watch(job: Job) -> None:
        async for event in backend.generate(job, threading.Event()):
            if isinstance(event, Started):
                begun.append(event.job)

    await asyncio.gather(*[watch(a_job(EXPERTS[n % 4], n)) for n in range(6)])
    assert backend.slots == 2
    assert begun == [f"j{n}" for n in range(6)]


async def test_a_cancel_ends_one_row_and_none_of_the_others(build: Build) -> None:
    backend = build()
    others = [a_job(EXPERTS[n], n) for n in (1, 2)]
    untouched = [await run(backend, job) for job in others]
    stop, events = threading.Event(), []

    async def stopped() -> None:
        async for event in backend.generate(a_job(length=300), stop):
            events.append(event)
            if sum(isinstance(e, Text) for e in events) == 3:
                stop.set()

    _, *finals = await asyncio.gather(stopped(), *[run(backend, job) for job in others])
    assert isinstance(events[-1], Cancelled)
    texts = [e.text for e in events if isinstance(e, Text)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert [f.text for f in finals] == [f.text for f in untouched]


async def test_one_who_vanishes_leaves_the_batch(build: Build) -> None:
    backend = build(slots=1)
    answer = backend.generate(a_job(length=300), threading.Event())
    async for event in answer:
        if isinstance(event, Text):
            break
    await answer.aclose()
    assert isinstance(await run(backend, a_job()), Finished)


async def test_numbers_that_are_not_finite_fail_their_own_request_only(
    build: Build, tiny: Path, settings: Settings
) -> None:
    backend = build()
    bad = shifted(tiny / "llama-moss", settings.home / "bad", lambda weight: weight * 1e25)
    write_card(settings.home / "experts", "bad", tiny / "llama", bad)
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    jobs = [a_job("fern", 1), a_job("bad", 0), a_job("bare", 2), a_job("reed", 4)]
    untouched = [await run(backend, job) for job in jobs if job.expert != "bad"]
    results = await asyncio.gather(*[run(backend, job) for job in jobs], return_exceptions=True)
    assert isinstance(results.pop(1), ModelError)
    assert [r.text for r in results] == [r.text for r in untouched]  # type: ignore[union-attr]
    again = [await run(backend, job) for job in jobs if job.expert != "bad"]
    assert [r.text for r in again] == [r.text for r in untouched]


async def test_a_prompt_read_in_pieces_gives_the_same_answer(build: Build, tiny: Path) -> None:
    long = a_job(prompt="Continue.\n\n" + "It rained on the roof. " * 16, number=0)
    backend = build("gemma2")
    alone = await run(backend, long)
    backend = build("gemma2")
    others = [a_job(EXPERTS[n % 4], n, length=30) for n in range(1, 4)]
    mixed, *_ = await together(backend, [*others[:0], long, *others])
    assert mixed.tokens_in > 300, "more than two pieces"
    assert mixed.text == alone.text
    gauges = backend.gauges
    before = gauges.tokens_known
    assert (await run(backend, long)).text == alone.text
    whole = (alone.tokens_in - LEAST_TOKENS) // BLOCK * BLOCK
    assert gauges.tokens_known - before == whole, "it was known by heart, but for its end"


@pytest.mark.parametrize("repeats", [4, 12])
async def test_a_beginning_that_several_share_is_read_once(build: Build, repeats: int) -> None:
    start = "Continue.\n\n" + "It rained on the roof. " * repeats
    jobs = [
        a_job(("moss", "fern")[n % 2], n, prompt=f"{start}{word}")
        for n, word in enumerate(("Then she", "Then he", "They", "A dog", "Nobody", "The"))
    ]
    alone = [await run(build(), job) for job in jobs]
    backend = build()
    mixed = await together(backend, jobs)
    assert [final.text for final in mixed] == [final.text for final in alone]
    read = backend.gauges.tokens_in - backend.gauges.tokens_known
    assert read < 2.3 * max(final.tokens_in for final in mixed), "once for each expert"


async def test_a_plain_job_reads_nothing_of_the_expert_beside_it(build: Build) -> None:
    jobs = [a_job("moss", 1), a_job("moss", 1, id="plain", plain=True)]
    told = {job.id: (await run(build(), job)).text for job in jobs}
    assert len(set(told.values())) == 2, "the expert is heard"
    for order in (jobs, jobs[::-1]):
        backend = build()
        for _ in ("cold", "warm"):
            finals = await together(backend, order)
            assert [final.text for final in finals] == [told[job.id] for job in order]


async def test_the_prefix_of_one_expert_is_never_anothers(build: Build) -> None:
    backend = build()
    texts = {name: (await run(backend, a_job(name))).text for name in EXPERTS}
    fresh = build()
    for name in reversed(EXPERTS):
        assert (await run(fresh, a_job(name))).text == texts[name]


async def test_too_little_memory_seats_fewer_and_tells_one_who_never_fits(build: Build) -> None:
    backend = build(slots=4)
    jobs = [a_job(EXPERTS[n % 4], n) for n in range(5)]
    untouched = await together(backend, jobs)
    mixer = next(iter(backend._bases.values())).mixer
    mixer.cache.budget = 384 * mixer.cache.token_bytes
    finals = await together(backend, jobs)
    assert [f.text for f in finals] == [f.text for f in untouched]
    with pytest.raises(ModelError, match="does not fit the memory"):
        await run(backend, a_job(prompt="It rained. " * 60, length=300))
    assert isinstance(await run(backend, a_job()), Finished)


async def test_a_refused_allocation_ends_the_greedy_one_and_spares_the_rest(build: Build) -> None:
    backend = build()
    await backend.load()
    resident = next(iter(backend._bases.values()))
    resident.window, resident.mixer.cache.budget = 1 << 60, 1 << 62
    untouched = await run(backend, a_job())
    huge = a_job(number=1, length=1 << 44)
    results = await asyncio.gather(
        run(backend, a_job()), run(backend, huge), run(backend, a_job()), return_exceptions=True
    )
    assert isinstance(results.pop(1), ModelError)
    assert [r.text for r in results] == [untouched.text] * 2  # type: ignore[union-attr]


async def test_adapters_beyond_what_fits_take_turns(build: Build) -> None:
    texts = {name: (await run(build(), a_job(name))).text for name in EXPERTS}
    backend = build()
    await backend.load()
    mixer = next(iter(backend._bases.values())).mixer
    mixer._adapter_bytes = 1
    for name in (*EXPERTS, *EXPERTS):
        assert (await run(backend, a_job(name))).text == texts[name]
        assert len(mixer._adapters) == 1
    mixed = await together(backend, [a_job(name) for name in EXPERTS])
    assert [f.text for f in mixed] == list(texts.values())


@pytest.mark.parametrize("kind", [{"use_dora": True}, {"trainable_token_indices": [40, 41]}])
async def test_an_adapter_that_cannot_be_mixed_is_served_by_peft(
    build: Build,
    tiny: Path,
    settings: Settings,
    kind: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    caplog.set_level("INFO")
    odd = make_lora(tiny / "llama", settings.home / "odd", 5, **kind)
    backend = build()
    write_card(settings.home / "experts", "odd", tiny / "llama", odd)
    registry = Registry.load([settings.home / "experts"], "embedded")
    backend._files.registry = backend._peft._files.registry = registry
    odd_one, moss = await together(backend, [a_job("odd"), a_job("moss", 1)])
    resident = next(iter(backend._bases.values()))
    ids, _ = prompt_ids(a_job("odd"), resident.tokenizer, resident.window)
    prompt = torch.tensor([ids])
    made = on_base(tiny / "llama", odd).generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=odd_one.tokens_out,
        pad_token_id=0,
        logits_processor=rules(a_job("odd"), len(ids), resident.ends),
    )
    tokens = made[0, len(ids) :].tolist()
    text = legible(resident.tokenizer.decode(tokens, skip_special_tokens=True))
    assert finish(text, len(tokens), LENGTH) == odd_one.text
    assert "served without mixing" in caplog.text
    assert isinstance(moss, Finished)


async def test_an_adapter_with_numbers_that_are_not_finite_is_refused_by_name(
    build: Build, tiny: Path, settings: Settings
) -> None:
    bad = shifted(tiny / "llama-moss", settings.home / "bad", lambda weight: weight / 0.0)
    backend = build()
    write_card(settings.home / "experts", "moss", tiny / "llama", bad)
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    with pytest.raises(ModelError, match="of moss holds numbers that are not finite"):
        await run(backend, a_job())


async def test_an_adapter_with_a_linear_too_many_is_refused_by_name(
    build: Build, tiny: Path, settings: Settings
) -> None:
    backend = build()
    shallow = make_layout(settings.home / "shallow", "llama", layers=1)
    write_card(settings.home / "experts", "moss", shallow, tiny / "llama-moss")
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    with pytest.raises(ModelError, match=r"of moss does not fit its base: layers\.1"):
        await run(backend, a_job())


def test_half_a_letter_at_an_answers_end_is_left_out_whole() -> None:
    told: list[Event | Exception] = []
    tokenizer = byte_fallback()
    row = TextSequence(
        a_job(), BARE, [259], (), tokenizer, (1,), ("", ""), lambda: False, told.append
    )
    for token in (259, *(3 + byte for byte in "😀".encode()[:3])):
        row.add(token)
    assert row.add(1)
    assert told[-1].text == "Rain"  # type: ignore[union-attr]


async def test_an_unknown_architecture_is_served_by_peft(
    build: Build, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other = make_layout(settings.home / "other", "qwen2")
    backend = build()
    write_card(settings.home / "experts", "moss", other)
    registry = Registry.load([settings.home / "experts"], "embedded")
    backend._files.registry = backend._peft._files.registry = registry
    assert isinstance(await run(backend, a_job()), Finished)
    assert "served without mixing" in caplog.text


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_bf16_stays_near_the_full_precision(build: Build, layout: str) -> None:
    import torch

    ids, rows = [5 + n % 200 for n in range(90)], {}
    for name in ("fp32", "bf16"):
        backend = build(layout, precision=name)
        await run(backend, a_job())
        mixer = next(iter(backend._bases.values())).mixer
        mixer.cache.reserve(1, 128)
        mix = mixer._stacks.mix([*mixer._adapters] * len(ids), mixer._adapters)
        attend = Attention(mixer.cache, [], [Piece(0, 0, len(ids))])
        wanted = list(range(len(ids)))
        rows[name] = mixer.decoder(Batch(ids=ids, attend=attend, wanted=wanted, mix=mix))
    off = (rows["bf16"] - rows["fp32"]).norm() / rows["fp32"].norm()
    assert torch.isfinite(off)
    assert 0 < off < 0.08


async def test_few_rows_get_the_numbers_of_many(build: Build) -> None:
    import torch

    backend = build(precision="bf16")
    await together(backend, [a_job(name) for name in EXPERTS])
    resident = next(iter(backend._bases.values()))
    mixer = resident.mixer
    linear = mixer.decoder.layers[1].qkv
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    keys = [resident.adapters.get(name, BARE) for name in ("moss", "bare", "fern", "reed") * 2]
    many = linear(x, mixer._stacks.mix(keys, mixer._adapters)).float()
    for row, key in enumerate(keys):
        few = linear(x[row : row + 1], mixer._stacks.mix([key], mixer._adapters)).float()
        assert torch.allclose(few[0], many[row], atol=0.03 * float(many.abs().max()))
    moss = mixer._stacks.mix(keys[:1] * 8, mixer._adapters)
    assert not torch.allclose(linear(x, moss).float()[1], many[1], atol=0.03), "moss is heard"


async def test_a_batch_in_bf16_ends_every_request_once(build: Build) -> None:
    finals = await together(build(precision="bf16"), [a_job(EXPERTS[n % 4], n) for n in range(6)])
    assert all(isinstance(final, Finished) for final in finals)


@given(
    st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40),
    st.floats(0.05, 1.0),
    st.integers(0, 50),
    st.floats(0.0, 0.9),
    st.floats(0.0, 0.999999),
)
def test_a_draw_keeps_to_top_k_top_p_and_min_p(raw, top_p, top_k, min_p, number) -> None:
    chances = np.sort(np.array(raw))[::-1]
    chances = chances / chances.sum()
    sampling = Sampling(top_p=top_p, top_k=top_k, min_p=min_p)
    found = pick(chances, True, sampling, number, min_p)
    assert found is not None
    kept = chances[: top_k or None] / chances[: top_k or None].sum()
    assert found < len(kept)
    assert kept[:found].sum() < top_p + 1e-9
    assert found == 0 or kept[found] >= min_p * kept[0]


def test_the_adapters_scale_follows_its_config(tiny: Path) -> None:
    from engine.backends.mixing.adapters import read_adapter

    config = json.loads((tiny / "llama-fern" / "adapter_config.json").read_text())
    shapes = {"layers.0.self_attn.v_proj": (16, 32)}
    assert config["use_rslora"] is True
    with pytest.raises(ModelError, match="does not fit"):
        read_adapter("fern", tiny / "llama-fern", shapes)

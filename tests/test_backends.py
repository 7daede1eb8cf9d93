"""The Backend's contract, held against every backend; and what the text backend promises beyond it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_adapter, make_base, write_card

from engine.backends import Backend
from engine.backends.echo import EchoBackend
from engine.backends.memory import free_bytes
from engine.backends.model_loading import load_base
from engine.backends.prompt_window import prompt_ids
from engine.backends.stop_rules import finish, latest, settled
from engine.backends.text import TextBackend
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Started, Text
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.settings import Settings

LAYOUTS = ("gemma2", "llama")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both layouts, each with two adapters."""
    root = tmp_path_factory.mktemp("tiny")
    for layout in LAYOUTS:
        base = make_base(root / layout, layout)
        for seed, name in enumerate(("moss", "fern")):
            make_adapter(base, root / f"{layout}-{name}", seed)
    return root


@pytest.fixture
def text_backend(tiny: Path, settings: Settings):
    """A text backend with the experts moss and fern, and bare, which is the base alone."""

    def build(layout: str = "llama", **changes: object) -> TextBackend:
        root = settings.home / "experts"
        for name in ("moss", "fern"):
            write_card(root, name, tiny / layout, tiny / f"{layout}-{name}")
        write_card(root, "bare", tiny / layout)
        chosen = settings.model_copy(update=changes)
        return TextBackend(chosen, Registry.load([root], "embedded", learns=True))

    return build


def a_job(expert: str = "moss", **changes: object) -> Job:
    values = {
        "id": "j",
        "request": "r",
        "expert": expert,
        "medium": "text",
        "prompt": "Continue.\n\nIt rained and rained and rained and rained.",
        "head": 11,
        "length": 20,
        "seed": 7,
        "sampling": Sampling(),
        **changes,
    }
    return Job(**values)  # type: ignore[arg-type]


async def run(backend: Backend, job: Job, stop_after: int | None = None) -> list[Event]:
    """All events; `stop_after` sets the stop at that many texts."""
    stop, events, texts = threading.Event(), [], 0
    async for event in backend.generate(job, stop):
        events.append(event)
        texts += isinstance(event, Text)
        if texts == stop_after:
            stop.set()
    return events


@pytest.fixture(params=["echo", *LAYOUTS])
async def backend(request, text_backend) -> AsyncIterator[Backend]:
    made = EchoBackend() if request.param == "echo" else text_backend(request.param)
    await made.load()
    yield made


async def test_events_go_from_started_over_growing_text_to_one_final(backend: Backend) -> None:
    events = [e for e in await run(backend, a_job()) if e.kind != "loading"]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    texts = [e.text for e in events[1:-1] if isinstance(e, Text)]
    assert len(texts) == len(events) - 2 >= 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


async def test_the_same_job_gives_the_same_answer(backend: Backend) -> None:
    first, second = [(await run(backend, a_job()))[-1] for _ in range(2)]
    assert first.text == second.text


async def test_a_stop_ends_it_at_the_next_token_with_what_is_there(backend: Backend) -> None:
    events = await run(backend, a_job(length=200), stop_after=2)
    assert isinstance(events[-1], Cancelled)
    assert sum(isinstance(e, Text) for e in events) <= 3
    assert events[-1].text.startswith(next(e.text for e in events if isinstance(e, Text)))


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_request_meets_exactly_its_own_adapter(text_backend, tiny, layout) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    together = text_backend(layout)
    greedy = Sampling(temperature=0.0, end_gain=0.0)
    said = {}
    for name in ("moss", "fern", "bare", "moss"):
        events = await run(together, a_job(name, sampling=greedy, length=16))
        assert said.setdefault(name, events[-1].text) == events[-1].text
    assert len(set(said.values())) == 3
    for name in ("moss", "fern"):
        base = AutoModelForCausalLM.from_pretrained(tiny / layout).eval()
        alone = PeftModel.from_pretrained(base, tiny / f"{layout}-{name}").eval()
        tokenizer = (await _loaded(together)).tokenizer
        ids = torch.tensor([prompt_ids(a_job(), tokenizer, 512)[0]])
        tokens = alone.generate(
            input_ids=ids, do_sample=False, max_new_tokens=20, min_new_tokens=9, pad_token_id=0
        )
        text = tokenizer.decode(
            tokens[0, ids.shape[1] :].tolist(), skip_special_tokens=True
        ).lstrip()
        assert said[name][:10] and text.startswith(said[name][:10].rstrip("…"))


async def _loaded(backend: TextBackend):
    return next(iter(backend._bases.values()))


async def test_another_seed_gives_another_answer(text_backend) -> None:
    backend = text_backend()
    one = (await run(backend, a_job(seed=1)))[-1]
    two = (await run(backend, a_job(seed=2)))[-1]
    assert one.text != two.text


async def test_the_adapter_is_named_by_its_digest_and_the_bare_base_by_none(text_backend) -> None:
    backend = text_backend()
    assert (await run(backend, a_job("moss")))[-1].adapter_digest.startswith("sha256:")
    bare = (await run(backend, a_job("bare")))[-1]
    assert (bare.adapter_digest, bare.base_digest[:7]) == ("", "sha256:")


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_bos_stands_first_exactly_once_where_the_base_has_one(text_backend, layout) -> None:
    backend = text_backend(layout)
    await backend.load()
    tokenizer = (await _loaded(backend)).tokenizer
    ids, _ = prompt_ids(a_job(prompt="<bos>It <eos>rained."), tokenizer, 512)
    assert ids.count(2) == (1 if layout == "gemma2" else 0)
    assert ids[:1] == [2] or layout == "llama"
    assert 1 not in ids, "a typed end-of-text is only text"


async def test_a_prompt_beyond_the_window_loses_the_front_of_its_beginning_and_says_so(
    text_backend,
) -> None:
    job = a_job(prompt="Continue.\n\n" + "It rained. " * 100 + "The end is near.")
    final = (await run(text_backend(), job))[-1]
    assert isinstance(final, Finished)
    assert "first" in final.notes[0] and "left out" in final.notes[0]
    assert final.tokens_in + latest(job.length) <= 512


async def test_an_adapter_of_another_base_is_refused_by_name(text_backend, tiny, settings) -> None:
    backend = text_backend("llama")
    other = make_base(settings.home / "wide", "gemma2")
    write_card(settings.home / "experts", "moss", other, tiny / "llama-fern")
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    config = settings.home / "wide" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 40'))
    with pytest.raises(ModelError, match=r"cannot be loaded|does not fit"):
        await run(backend, a_job("moss"))


async def test_damaged_and_pickled_weights_are_refused(text_backend, tiny, settings) -> None:
    import shutil

    for harm in ("cut", "pickle", "changed"):
        broken = settings.home / f"broken-{harm}"
        shutil.copytree(tiny / "llama-moss", broken)
        file = broken / "adapter_model.safetensors"
        if harm == "cut":
            file.write_bytes(file.read_bytes()[:100])
        if harm == "pickle":
            file.rename(broken / "adapter_model.bin")
        backend = text_backend()
        card = write_card(settings.home / "experts", "moss", tiny / "llama", broken) / "card.toml"
        if harm == "changed":
            card.write_text(card.read_text().replace("[rights]", 'digest = "sha256:0"\n[rights]'))
        backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
        told = {"cut": "damaged", "pickle": "pickled", "changed": "not the one on its card"}[harm]
        with pytest.raises(ModelError, match=told):
            await run(backend, a_job("moss"))


async def test_a_merged_full_model_serves_in_the_adapters_place(
    text_backend, tiny, settings
) -> None:
    backend = text_backend()
    write_card(settings.home / "experts", "moss", "org/unreachable", tiny / "llama")
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    merged = (await run(backend, a_job("moss")))[-1]
    bare = (await run(backend, a_job("bare")))[-1]
    assert (merged.text, bare.adapter_digest) == (bare.text, "")
    assert merged.adapter_digest == merged.base_digest, "it stands in the adapter's place"


async def test_the_loop_stays_free_while_a_model_writes(text_backend) -> None:
    backend = text_backend()
    await backend.load()
    ticks, done = 0, asyncio.create_task(run(backend, a_job(length=100)))
    while not done.done():
        ticks += 1
        await asyncio.sleep(0.001)
    assert ticks > 10


@given(st.text(alphabet="ab ,.;:—-\n”“", max_size=60))
def test_what_was_shown_is_never_taken_back(text: str) -> None:
    shown = ""
    for end in range(len(text) + 1):
        now = settled(text[:end].lstrip())
        assert now.startswith(shown)
        shown = now
    for tokens in (10, 100):
        assert finish(text.lstrip(), tokens, 20).startswith(shown.rstrip())


@pytest.mark.parametrize("engine_of_text", ["mixing", "peft"])
async def test_a_plain_job_is_the_base_alone_whoever_is_named(text_backend, engine_of_text) -> None:
    backend = text_backend(text_engine=engine_of_text)
    jobs = [
        a_job(name, sampling=Sampling(temperature=0.0), plain=plain, length=16)
        for name, plain in (("moss", False), ("moss", True), ("bare", False), ("fern", True))
    ]
    finals = [(await run(backend, job))[-1] for job in jobs]
    moss, plain, bare, fern = (final.text for final in finals)
    assert plain == bare == fern != moss
    assert [bool(final.adapter_digest) for final in finals] == [True, False, False, False]
    again = (await run(backend, jobs[0]))[-1]
    assert again.text == moss, "the adapter is worn again"


async def test_a_plain_job_of_a_merged_model_is_the_base_on_its_card(
    text_backend, tiny, settings
) -> None:
    backend = text_backend()
    write_card(settings.home / "experts", "moss", tiny / "gemma2", tiny / "llama")
    backend._files.registry = Registry.load([settings.home / "experts"], "embedded")
    merged = (await run(backend, a_job("moss")))[-1]
    plain = (await run(backend, a_job("moss", plain=True)))[-1]
    assert merged.base_digest != plain.base_digest and plain.adapter_digest == ""


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says what is available")
def test_without_a_containers_limit_all_that_is_available_counts(tmp_path: Path) -> None:
    processor = torch.device("cpu")
    (tmp_path / "memory.current").write_text("0")
    (tmp_path / "memory.max").write_text("max")
    available = psutil.virtual_memory().available
    assert free_bytes(processor, tmp_path) == pytest.approx(available, rel=0.3)
    (tmp_path / "memory.max").write_text(str(1 << 20))
    assert free_bytes(processor, tmp_path) == 1 << 20


def test_a_base_is_loaded_for_writing_alone_and_whoever_trains_beside_it_still_can(
    tiny: Path, tmp_path: Path
) -> None:
    loaded = load_base(str(tiny / "llama"), tmp_path)
    assert torch.is_grad_enabled()
    assert not [p for p in loaded.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("engine_of_text", ["mixing", "peft"])
async def test_a_worker_learns_the_card_of_a_job_that_it_has_no_expert_for(
    text_backend, tiny, settings, engine_of_text
) -> None:
    backend = text_backend(text_engine=engine_of_text)
    await run(backend, a_job("moss"))
    write_card(settings.home / "experts", "ivy", tiny / "llama", tiny / "llama-fern")
    with pytest.raises(ModelError, match="no expert 'oak'"):
        await run(backend, a_job("oak"))
    new, known = [(await run(backend, a_job(name)))[-1] for name in ("ivy", "fern")]
    assert new.text == known.text
    assert new.adapter_digest == known.adapter_digest

"""The path of transformers and PEFT: few bits, fixed shapes."""

import asyncio
import threading
from pathlib import Path

import pytest
from test_backends import a_job
from tiny_layouts import make_layout, make_lora
from tiny_models import make_adapter, make_base, write_card

from engine.backends.model_loading import RESIDENT_BASES, Loaded, load_base
from engine.backends.peft_text import PeftTextBackend
from engine.backends.text import TextBackend
from engine.errors import ModelError
from engine.events import Cancelled, Finished
from engine.plan.cards import Registry, Sampling
from engine.settings import Settings

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny bases of two layouts, with an adapter each."""
    root = tmp_path_factory.mktemp("tiny")
    for layout in ("llama", "gemma2"):
        make_adapter(make_base(root / layout, layout), root / f"{layout}-moss", seed=1)
    return root


@pytest.fixture
def registry_of(tiny: Path, settings: Settings):
    """The expert moss on the tiny base of a layout."""

    def build(layout: str) -> Registry:
        root = settings.home / "experts"
        write_card(root, "moss", tiny / layout, tiny / f"{layout}-moss")
        return Registry.load([root], "embedded")

    return build


async def written(backend: PeftTextBackend | TextBackend) -> Finished:
    """The answer to the usual job, greedily."""
    if isinstance(backend, TextBackend):
        await backend.load()
    job = a_job(sampling=GREEDY)
    return [event async for event in backend.generate(job, threading.Event())][-1]


@pytest.mark.parametrize("layout", ["llama", "gemma2"])
async def test_fixed_shapes_write_what_growing_ones_write(
    tiny, settings, registry_of, layout
) -> None:
    """What a GPU needs for CUDA graphs, on a processor: a static cache, sliding windows too."""
    usual = await written(PeftTextBackend(settings, registry_of(layout)))
    fixed = PeftTextBackend(settings, registry_of(layout))
    loaded: Loaded = load_base(str(tiny / layout), settings.models)
    assert loaded.cache == "dynamic", "nothing is compiled on a processor"
    loaded.cache = "static"
    fixed.take(str(tiny / layout), lambda: loaded)
    answer = await written(fixed)
    assert isinstance(answer, Finished)
    assert answer.text == usual.text
    assert answer.adapter_digest == usual.adapter_digest


async def test_a_load_that_fails_half_way_leaves_no_trace(tiny, settings, registry_of) -> None:
    backend = PeftTextBackend(settings, registry_of("llama"))
    bare = a_job(sampling=GREEDY, plain=True)
    before = [event async for event in backend.generate(bare, threading.Event())][-1]
    loaded = backend._bases[str(tiny / "llama")]
    loaded.model.model.layers = loaded.model.model.layers[:1]  # less than its configuration says
    with pytest.raises(ModelError, match=r"of moss does not fit its base: .*layers\.1"):
        await written(backend)
    after = [event async for event in backend.generate(bare, threading.Event())][-1]
    assert (after.text, after.base_digest) == (before.text, before.base_digest)
    assert backend._bases[str(tiny / "llama")] is not loaded


async def test_an_expert_may_have_a_name_that_torch_uses(tiny, settings) -> None:
    root = settings.home / "experts"
    for name in ("moss", "children"):
        write_card(root, name, tiny / "llama", tiny / "llama-moss")
    backend = PeftTextBackend(settings, Registry.load([root], "embedded"))
    jobs = [a_job(name, sampling=GREEDY) for name in ("moss", "children")]
    one, other = [[e async for e in backend.generate(j, threading.Event())][-1] for j in jobs]
    assert (other.text, other.adapter_digest) == (one.text, one.adapter_digest)


def test_no_more_bases_stay_than_there_is_room_for(tiny, settings, registry_of) -> None:
    backend = PeftTextBackend(settings, registry_of("llama"))
    loaded = load_base(str(tiny / "llama"), settings.models)
    for number in range(RESIDENT_BASES + 2):  # those that mixing does not know come by this way
        backend.take(f"base {number}", lambda: loaded)
    assert list(backend._bases) == [f"base {n + 2}" for n in range(RESIDENT_BASES)]


async def test_a_request_for_a_base_that_is_missing_unloads_no_other(tiny, settings) -> None:
    root = settings.home / "experts"
    for name, base in (("moss", "llama"), ("fern", "gemma2"), ("absent", "nowhere")):
        write_card(root, name, tiny / base)
    backend = TextBackend(settings, Registry.load([root], "embedded"))
    for name in ("moss", "fern"):
        job = a_job(name, sampling=GREEDY)
        [*_, last] = [event async for event in backend.generate(job, threading.Event())]
        assert isinstance(last, Finished)
    there = dict(backend._bases)
    assert len(there) == RESIDENT_BASES
    with pytest.raises(ModelError, match="no base"):
        [_ async for _ in backend.generate(a_job("absent"), threading.Event())]
    assert dict(backend._bases) == there


async def test_who_is_cancelled_behind_another_story_is_told_at_once(settings, registry_of) -> None:
    backend, stop, ends = (
        PeftTextBackend(settings, registry_of("llama")),
        threading.Event(),
        threading.Event(),
    )
    backend._thread.submit(ends.wait, 60)  # the other's
    asyncio.get_running_loop().call_later(0.1, stop.set)
    try:
        async with asyncio.timeout(20):
            [last] = [event async for event in backend.generate(a_job(), stop)]
    finally:
        ends.set()
    assert isinstance(last, Cancelled)
    assert isinstance(await written(backend), Finished), "the next is served"


async def test_who_was_cancelled_while_waiting_has_no_base_loaded_for_it(
    settings, registry_of
) -> None:
    backend, stop = PeftTextBackend(settings, registry_of("llama")), threading.Event()
    stop.set()
    [*_, last] = [event async for event in backend.generate(a_job(), stop)]
    assert isinstance(last, Cancelled) and not backend._bases


def test_gemma_2_keeps_the_cap_on_its_scores(settings, tmp_path) -> None:
    """Only eager attention has it; transformers takes that by itself."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = make_layout(tmp_path / "base", "gemma2")
    adapter = make_lora(base, tmp_path / "moss", seed=1)
    loaded = load_base(str(base), settings.models)
    loaded.adopt("moss", adapter, "")
    eager = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    eager = PeftModel.from_pretrained(eager, adapter).eval()
    ids = torch.arange(3, 90)[None]
    with torch.inference_mode():
        capped = loaded.model(ids).logits
        assert torch.equal(capped, eager(ids).logits)
        for layer in loaded.model.base_model.model.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        assert not torch.allclose(capped, loaded.model(ids).logits, atol=1e-3), "it is heard"

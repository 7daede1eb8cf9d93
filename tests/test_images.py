"""The image backend on a tiny pipeline of true SDXL architecture: what it draws, told, and refuses."""

import asyncio
import io
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from tiny_loras import (
    lora_on,
    save_diffusers,
    save_kohya,
    save_peft,
    save_with_words,
    write_image_card,
)
from tiny_sdxl import make_base, make_pipeline

from engine.backends.diffusion.prompt_encoder import KEPT
from engine.backends.images import ImageBackend
from engine.backends.png import SOURCE_TYPE
from engine.errors import ModelError
from engine.events import Cancelled, Event, Failed, Finished, Image, Started
from engine.plan import picture as drawing
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.plan.picture import Drawing
from engine.settings import Settings

ROUNDING = 2  # of 255: what a larger batch may change in float32
# These LoRAs at full strength magnify rounding: by PEFT too, four rows are 1e-4 off one alone.
GENTLE = {"scale": 0.1, "speed": 0.1}
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),  # as is meant
]
shallow = partial(make_pipeline, depth=1)
PLAIN = Drawing(size=64, largest=256, steps=2, guidance=3.0)
FEW_WORDS = 'prompt = "a photo of TOK, {request}"\ntoken = "TOK"\nwords = ["a", "gold", "ring"]\n'
PICKLE = b"cos\nsystem\n(S'touch pwned'\ntR."  # would run a command if it were ever opened


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base, and a LoRA of it by three names in diffusers' format, kohya's and PEFT's."""
    root = tmp_path_factory.mktemp("tiny-image")
    make_base(root / "base", depth=1)
    unet = lora_on(shallow(), 1, alpha=12)
    save_diffusers(unet, root / "moss")
    save_kohya(unet, root / "moss-kohya")
    save_peft(unet, root / "moss-peft")
    save_diffusers(lora_on(shallow(), 2), root / "fern")
    save_with_words(shallow(), root / "wordy", 3)
    return root


@pytest.fixture(scope="session")
def draws(tiny_image: Path, tmp_path_factory: pytest.TempPathFactory):
    """Builds a backend whose experts are `cards`, and bare, which is the base alone."""

    def build(*cards: tuple[str, dict[str, Any]], **changes: Any) -> ImageBackend:
        home = tmp_path_factory.mktemp("home")
        for name, card in [("bare", {}), *cards]:
            write_image_card(home / "experts", name, **{"base": tiny_image / "base", **card})
        registry = Registry.load([home / "experts"], "embedded")
        assert not registry.problems
        return ImageBackend(Settings(home=home, threads=1, **changes), registry)

    return build


@pytest.fixture(scope="session")
def backend(draws, tiny_image: Path) -> ImageBackend:
    """What most tests draw with; nothing in it changes but which LoRAs are loaded."""
    moss, fern = tiny_image / "moss", tiny_image / "fern"
    return draws(
        ("moss", {"adapter": moss}),
        ("fern", {"adapter": fern}),
        ("moss-kohya", {"adapter": tiny_image / "moss-kohya"}),
        ("moss-peft", {"adapter": tiny_image / "moss-peft"}),
        ("wordy", {"adapter": tiny_image / "wordy"}),
        ("later", {"adapter": tiny_image / "not-yet"}),
        ("quick", {"adapter": moss, "speed": fern}),
        ("calm", {"speed": fern}),
        ("small", {"drawing": FEW_WORDS}),
        ("half", {"adapter": moss}),
        ("children", {"adapter": fern}),
    )


@pytest.fixture(scope="session")
def pipeline(tiny_image: Path) -> Any:
    """diffusers' own, of the same base."""
    from diffusers import StableDiffusionXLPipeline

    made = StableDiffusionXLPipeline.from_pretrained(tiny_image / "base")
    made.set_progress_bar_config(disable=True)
    return made


def a_job(expert: str = "bare", prompt: str = "a ring", seed: int = 7, **asked: Any) -> Job:
    order = replace(drawing.order(PLAIN), **asked)
    return Job(
        id=f"j{seed}", request="r", expert=expert, medium="image", prompt=prompt, head=len(prompt),
        length=0, seed=seed, sampling=Sampling(), order=order,
    )  # fmt: skip


async def run(backend: ImageBackend, job: Job, stop_after: int | None = None) -> list[Event]:
    """All events; `stop_after` sets the stop at that many previews."""
    stop, events, shown = threading.Event(), [], 0
    async for event in backend.generate(job, stop):
        events.append(event)
        shown += isinstance(event, Image)
        if shown == stop_after:
            stop.set()
    return events


async def drawn(backend: ImageBackend, job: Job) -> Finished:
    final = (await run(backend, job))[-1]
    assert isinstance(final, Finished), final
    return final


def pixels(final: Finished, number: int = 0) -> np.ndarray:
    with Pillow.open(io.BytesIO(final.pictures[number].data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """The biggest difference of two pictures, in levels of 255."""
    return int(np.abs(one - other).max())


async def test_events_go_from_loading_over_an_early_preview_to_the_pictures(backend) -> None:
    events = await run(backend, a_job(count=2, steps=4))
    kinds = [event.kind for event in events]
    assert kinds[:3] == ["loading", "started", "image"] and kinds[-1] == "finished"
    first = next(event for event in events if isinstance(event, Image))
    assert (first.step, first.steps) == (1, 4) and first.eta > 0
    with Pillow.open(io.BytesIO(first.preview)) as preview:
        assert (preview.format, preview.size) == ("JPEG", (128, 64))
    final = events[-1]
    assert [(p.width, p.height, p.seed) for p in final.pictures] == [(64, 64, 7), (64, 64, 8)]
    assert 0 < final.first_token_seconds <= final.seconds
    assert (final.tokens_in, final.tokens_out, final.text) == (2, 0, "")
    assert SOURCE_TYPE.encode() in final.pictures[1].data and b"j7-2" in final.pictures[1].data
    assert b"a ring" not in final.pictures[0].data


@pytest.mark.parametrize("name", ["", "euler", "euler_a", "dpm", "ddim", "lcm", "tcd"])
async def test_a_picture_is_what_the_pipeline_itself_draws(
    backend, pipeline, tiny_image, name
) -> None:
    import torch
    from diffusers import EulerDiscreteScheduler

    from engine.backends.diffusion.denoise import build_scheduler

    mine = await drawn(backend, a_job(scheduler=name, negative="a hand", steps=4))
    own = EulerDiscreteScheduler.from_pretrained(tiny_image / "base", subfolder="scheduler")
    pipeline.scheduler = build_scheduler(own, name, 4, "cpu", fast=False)
    theirs = pipeline(
        "a ring", negative_prompt="a hand", height=64, width=64, num_inference_steps=4,
        guidance_scale=3.0, generator=torch.Generator().manual_seed(7),
        eta=0.3 if name == "tcd" else 0.0,
    ).images[0]  # fmt: skip
    assert apart(pixels(mine), np.asarray(theirs).astype(int)) <= ROUNDING


async def test_a_picture_depends_on_its_seed_and_not_on_its_company(backend) -> None:
    two = await drawn(backend, a_job(count=2))
    for number in (0, 1):
        alone = await drawn(backend, a_job(seed=7 + number))
        assert apart(pixels(two, number), pixels(alone)) <= ROUNDING
    assert apart(pixels(two, 0), pixels(two, 1)) > 20


async def test_equal_requests_of_several_jobs_are_drawn_together(backend) -> None:
    alone = [await drawn(backend, a_job(seed=seed)) for seed in (1, 2)]
    both = [a_job(seed=1, steps=8), a_job(seed=2, steps=8)]
    finals: list[int] = []
    steps: list[tuple[str, int]] = []

    async def follow(job: Job) -> Finished:
        async for event in backend.generate(job, threading.Event()):
            if isinstance(event, Image):
                steps.append((job.id, len(finals)))
            if isinstance(event, Finished):
                finals.append(1)
        return event

    await asyncio.gather(*(follow(job) for job in both))
    assert {job for job, finished in steps if finished == 0} == {"j1", "j2"}
    together = await asyncio.gather(*(drawn(backend, a_job(seed=seed)) for seed in (1, 2)))
    for one, other in zip(together, alone, strict=True):
        assert apart(pixels(one), pixels(other)) <= ROUNDING


async def test_jobs_of_different_experts_at_once_meet_their_own_loras(backend) -> None:
    names = ("moss", "bare", "fern", "moss")
    alone = {name: await drawn(backend, a_job(name, **GENTLE)) for name in names}
    together = await asyncio.gather(*(drawn(backend, a_job(name, **GENTLE)) for name in names))
    for name, final in zip(names, together, strict=True):
        assert apart(pixels(final), pixels(alone[name])) <= ROUNDING
    assert apart(pixels(alone["moss"]), pixels(alone["fern"])) > 5 * ROUNDING
    assert apart(pixels(alone["moss"]), pixels(alone["bare"])) > 5 * ROUNDING


@pytest.mark.parametrize("asked", [{}, {"guidance": 0.0}])
async def test_jobs_of_unlike_loras_share_one_pass(backend, asked) -> None:
    names = ("moss", "bare", "quick", "wordy")
    jobs = [a_job(name, steps=6, seed=n, **GENTLE, **asked) for n, name in enumerate(names)]
    alone = [await drawn(backend, job) for job in jobs]
    begun: set[str] = set()
    company: list[int] = []  # how many had begun when each was finished

    async def follow(job: Job) -> Finished:
        async for event in backend.generate(job, threading.Event()):
            if isinstance(event, Image):
                begun.add(job.id)
        company.append(len(begun))
        return event

    together = await asyncio.gather(*map(follow, jobs))
    assert company == [4] * 4
    for one, other in zip(together, alone, strict=True):
        assert apart(pixels(one), pixels(other)) <= ROUNDING
        assert one.adapter_digest == other.adapter_digest


async def test_a_dora_is_drawn_in_its_own_company_only(draws, tiny_image, tmp_path) -> None:
    dora = save_peft(lora_on(shallow(), 4, use_dora=True), tmp_path / "dora")
    experts = ("dora", {"adapter": dora}), ("moss", {"adapter": tiny_image / "moss"})
    by_peft = await drawn(draws(*experts, picture_memory="low"), a_job("dora"))
    backend = draws(*experts)
    assert apart(pixels(await drawn(backend, a_job("dora"))), pixels(by_peft)) <= ROUNDING
    names = ("moss", "dora", "dora", "moss", "bare")
    jobs = [a_job(name, seed=n, **GENTLE) for n, name in enumerate(names)]
    alone = [await drawn(backend, job) for job in jobs]
    together = await asyncio.gather(*(drawn(backend, job) for job in jobs))
    for one, other in zip(together, alone, strict=True):
        assert apart(pixels(one), pixels(other)) <= ROUNDING


async def test_a_stop_among_unlike_loras_makes_room_for_the_next(backend) -> None:
    names = ("moss", "fern", "bare", "quick", "moss", "fern")
    jobs = [a_job(name, steps=6, seed=n, **GENTLE) for n, name in enumerate(names)]
    alone = [await drawn(backend, job) for job in jobs[1:]]
    stopped, *others = await asyncio.gather(
        run(backend, jobs[0], stop_after=1), *(drawn(backend, job) for job in jobs[1:])
    )
    assert isinstance(stopped[-1], Cancelled)
    for one, other in zip(others, alone, strict=True):
        assert apart(pixels(one), pixels(other)) <= ROUNDING


async def test_one_jobs_stop_leaves_its_company_alone(backend) -> None:
    alone = await drawn(backend, a_job(seed=2, steps=8))
    stopped, going = await asyncio.gather(
        run(backend, a_job(seed=1, steps=8), stop_after=1), drawn(backend, a_job(seed=2, steps=8))
    )
    assert isinstance(stopped[-1], Cancelled)
    assert sum(isinstance(e, Image) for e in stopped) <= 2
    assert apart(pixels(going), pixels(alone)) <= ROUNDING


async def test_a_stop_is_heard_between_two_steps(backend) -> None:
    events = await run(backend, a_job(steps=150), stop_after=1)
    assert isinstance(events[-1], Cancelled)
    shown = [event.step for event in events if isinstance(event, Image)]
    assert shown[-1] < 75


async def test_more_pictures_than_are_drawn_together_still_all_come(draws, backend) -> None:
    low = await drawn(draws(picture_memory="low"), a_job(count=4, steps=2))
    full = await drawn(backend, a_job(count=4, steps=2))
    for number in range(4):
        assert apart(pixels(low, number), pixels(full, number)) <= ROUNDING


async def test_formats_of_one_lora_draw_one_picture(backend) -> None:
    own = await drawn(backend, a_job("moss"))
    for kind in ("kohya", "peft"):
        other = await drawn(backend, a_job(f"moss-{kind}"))
        assert apart(pixels(own), pixels(other)) <= ROUNDING


async def test_scale_nought_is_the_base_and_has_no_digest(backend) -> None:
    bare = await drawn(backend, a_job("bare"))
    off = await drawn(backend, a_job("moss", scale=0.0))
    half, whole = [await drawn(backend, a_job("moss", scale=scale)) for scale in (0.5, 1.0)]
    assert apart(pixels(bare), pixels(off)) == 0
    assert apart(pixels(half), pixels(whole)) > 5 < apart(pixels(half), pixels(bare))
    assert (off.adapter_digest, bare.adapter_digest) == ("", "")
    assert whole.adapter_digest.startswith("sha256:") and bare.base_digest == whole.base_digest


async def test_a_lora_of_the_text_encoders_changes_its_own_words_only(backend) -> None:
    bare, wordy = [await drawn(backend, a_job(name)) for name in ("bare", "wordy")]
    encoder = backend._scheduler._loaded().encoder
    dressed = encoder.encode("a ring", (("expert wordy", 1.0),))
    assert float((dressed.states - encoder.encode("a ring").states).abs().max()) > 0.01
    assert apart(pixels(bare), pixels(wordy)) > 20
    assert apart(pixels(bare), pixels(await drawn(backend, a_job("bare", prompt="a ring")))) == 0
    moss = await drawn(backend, a_job("moss", prompt="a new ring"))
    assert (
        apart(pixels(moss), pixels(await drawn(backend, a_job("moss", prompt="a new ring")))) == 0
    )


async def test_a_prompt_is_encoded_once_while_it_is_remembered(backend) -> None:
    await drawn(backend, a_job("bare"))
    encoder = backend._scheduler._loaded().encoder
    ring = encoder.encode("a ring")
    assert encoder.encode("a ring") is ring
    for number in range(KEPT):
        encoder.encode(f"ring {number}")
    assert encoder.encode("a ring") is not ring


async def test_a_base_that_is_missing_stops_its_own_expert_only(draws, tmp_path) -> None:
    backend = draws(("absent", {"base": tmp_path / "nowhere"}))
    await backend.load()
    await drawn(backend, a_job("bare"))
    there = backend._scheduler._loaded()
    with pytest.raises(ModelError, match="no base"):
        await run(backend, a_job("absent"))
    assert backend._scheduler._loaded() is there, "nobody waits for it to be loaded again"
    write_image_card(tmp_path / "experts", "absent", tmp_path / "nowhere")
    registry = Registry.load([tmp_path / "experts"], "embedded")
    with pytest.raises(ModelError, match="no base"):
        await ImageBackend(Settings(home=tmp_path), registry).load()


@pytest.mark.parametrize(("named", "like"), [("half", "moss"), ("children", "fern")])
async def test_an_expert_may_have_a_name_that_torch_uses(backend, named, like) -> None:
    one, other = await drawn(backend, a_job(named)), await drawn(backend, a_job(like))
    assert apart(pixels(one), pixels(other)) <= ROUNDING
    assert one.adapter_digest == other.adapter_digest != ""


async def test_a_lora_still_to_be_trained_leaves_the_base_alone(backend) -> None:
    later = await drawn(backend, a_job("later"))
    assert apart(pixels(later), pixels(await drawn(backend, a_job("bare")))) == 0


async def test_a_few_step_lora_acts_beside_the_experts_own(backend) -> None:
    both = await drawn(backend, a_job("quick", scheduler="lcm", guidance=0.0))
    again = await drawn(backend, a_job("quick", scheduler="lcm", guidance=0.0))
    moss = await drawn(backend, a_job("moss", scheduler="lcm", guidance=0.0))
    fern = await drawn(backend, a_job("calm", scheduler="lcm", guidance=0.0))
    assert apart(pixels(both), pixels(again)) == 0
    assert min(apart(pixels(both), pixels(moss)), apart(pixels(both), pixels(fern))) > 5
    assert both.adapter_digest == moss.adapter_digest and fern.adapter_digest == ""


async def test_guidance_of_one_or_none_leaves_the_second_pass_out(backend) -> None:
    none, one = [await drawn(backend, a_job(guidance=g, negative="a hand")) for g in (0.0, 1.0)]
    assert apart(pixels(none), pixels(one)) == 0
    assert apart(pixels(none), pixels(await drawn(backend, a_job(negative="a hand")))) > 0


async def test_an_empty_prompt_draws(backend) -> None:
    assert (await drawn(backend, a_job(prompt=""))).tokens_in == 0


async def test_words_beyond_the_encoders_window_are_named(backend) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    final = await drawn(backend, a_job(prompt=f"a ring {words} the end", negative=words))
    told, left_out = final.notes
    assert told.startswith("The model reads 75 tokens") and told.endswith("word59 the end”.")
    cut = told.partition("“")[2].rstrip("”.")
    assert words.endswith(cut.removesuffix(" the end")) and cut.startswith("word")
    assert "leave out" in left_out and final.tokens_in == 75


async def test_words_that_a_small_model_never_saw_are_named(backend) -> None:
    final = await drawn(backend, a_job("small", prompt="a photo of TOK, a gold spaceship"))
    (note,) = final.notes
    assert note.startswith("The small model does not know: spaceship. /help")


async def test_a_vae_of_its_own_takes_the_bases_place(draws, tmp_path) -> None:
    other = shallow().vae
    other.decoder.conv_out.bias.data += 0.5
    other.save_pretrained(tmp_path / "vae")
    backend = draws(("fixed", {"vae": tmp_path / "vae"}))
    bare = await drawn(backend, a_job("bare"))
    assert apart(pixels(bare), pixels(await drawn(backend, a_job("fixed")))) > 5
    assert apart(pixels(bare), pixels(await drawn(backend, a_job("bare")))) == 0


async def test_an_overflow_in_half_precision_is_decoded_again_in_full(
    draws, tiny_image, tmp_path
) -> None:
    base = tmp_path / "hot"
    shutil.copytree(tiny_image / "base", base)
    vae = shallow(velocity=True).vae  # one that is not decoded in float32 at once
    vae.decoder.conv_in.weight.data *= 3e4
    vae.save_pretrained(base / "vae")
    half, full = [
        await drawn(draws(("hot", {"base": base}), picture_precision=kind), a_job("hot"))
        for kind in ("fp16", "fp32")
    ]
    assert np.abs(pixels(half) - pixels(full)).mean() < 10 < np.ptp(pixels(half))


@pytest.mark.parametrize("harm", ["nan", "black"])
async def test_a_picture_that_stays_empty_fails_with_words(
    draws, tiny_image, tmp_path, harm
) -> None:
    base = tmp_path / harm
    shutil.copytree(tiny_image / "base", base)
    vae = shallow().vae
    vae.decoder.conv_out.weight.data *= 0
    vae.decoder.conv_out.bias.data.fill_(float("nan") if harm == "nan" else -2.0)
    vae.save_pretrained(base / "vae")
    backend = draws((harm, {"base": base}))
    final = (await run(backend, a_job(harm)))[-1]
    assert isinstance(final, Failed) and "another seed" in final.message
    assert "sdxl-vae-fp16-fix" in final.reason
    await drawn(backend, a_job("bare"))


async def test_loras_that_cannot_be_used_are_refused_and_the_base_goes_on(
    draws, tiny_image, tmp_path
) -> None:
    from safetensors.torch import load_file, save_file

    name = "pytorch_lora_weights.safetensors"
    for harm in ("cut", "pickle", "wide", "foreign", "changed", "lokr"):
        folder = tmp_path / harm
        shutil.copytree(tiny_image / "moss", folder)
        file = folder / name
        weights = load_file(file)
        if harm == "cut":
            file.write_bytes(file.read_bytes()[:100])
        if harm == "pickle":
            file.unlink()
            (folder / "pytorch_lora_weights.bin").write_bytes(PICKLE)
        if harm == "wide":
            save_file({k: w.repeat(2, 2) for k, w in weights.items()}, file)
        if harm == "foreign":
            foreign = {k.replace("down_blocks.1", "down_blocks.0"): w for k, w in weights.items()}
            save_file(foreign, file)
        if harm == "lokr":
            save_file({k.replace("lora", "lokr"): w for k, w in weights.items()}, file)
    told = {
        "cut": "damaged", "pickle": "pickled", "wide": "another base", "foreign": "another base",
        "changed": "not the one on its card", "lokr": "another kind",
    }  # fmt: skip
    cards = [(harm, {"adapter": tmp_path / harm}) for harm in told]
    cards[4][1]["digest"] = "sha256:0"
    backend = draws(("moss", {"adapter": tiny_image / "moss"}), *cards)
    before = await drawn(backend, a_job("moss"))
    for harm, words in told.items():
        with pytest.raises(ModelError, match=words):
            await run(backend, a_job(harm))
        after = await drawn(backend, a_job("moss"))
        assert apart(pixels(before), pixels(after)) == 0


async def test_a_base_of_another_layout_or_with_pickles_is_refused(
    draws, tiny_image, tmp_path
) -> None:
    base = tmp_path / "pickled"
    shutil.copytree(tiny_image / "base", base)
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (base / "unet" / "diffusion_pytorch_model.bin").write_bytes(PICKLE)
    backend = draws(("pickled", {"base": base}), ("empty", {"base": tmp_path}))
    with pytest.raises(ModelError, match="pickled weights"):
        await run(backend, a_job("pickled"))
    with pytest.raises(ModelError, match="no image base"):
        await run(backend, a_job("empty"))
    await drawn(backend, a_job("bare"))


async def test_the_loop_stays_free_while_a_model_draws(backend) -> None:
    await backend.load()
    ticks, done = 0, asyncio.create_task(run(backend, a_job(steps=20)))
    while not done.done():
        ticks += 1
        await asyncio.sleep(0.001)
    assert ticks > 10
    assert isinstance(done.result()[1], Started)


async def test_a_plain_picture_is_the_bases_own(backend) -> None:
    bare = await drawn(backend, a_job("bare"))
    plain = await drawn(backend, replace(a_job("moss"), plain=True))
    assert apart(pixels(bare), pixels(plain)) == 0 and plain.adapter_digest == ""

"""A LoRA for pictures is exact: resumed, reloaded and exported it is the one that was trained."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stages import begin, stage
from tiny_sdxl import make_base, make_pictures, make_recipe

from engine.backends.diffusion.loras import activate, load_lora
from engine.errors import ModelError
from engine.weights.picture_layers import layers_of
from engine.weights.picture_lora import SETTINGS
from engine.weights.weight_files import digest_of
from tests.benchmarks.training_step import measure_image
from training.errors import BadCorpus, BadRecipe, NotAllowed, TrainingStopped
from training.images.bases import base_folder, load_pipeline, noise_schedule
from training.images.data.folder import read_folder
from training.images.evaluation.measures import Measures
from training.images.lora_files import KOHYA, WEIGHTS, copy_lora, read_marks
from training.images.recipe import ImageRecipe, load_image_recipe
from training.images.session import ImageSession
from training.museum.metadata_rows import METADATA
from training.run.checkpoints import all_of
from training.run.expiry import due_of
from training.run.record import note_stage
from training.run.stage import memory_told
from training.train_image import MEMORY_HELP, facts_of_training, train_image, write_lora

pytestmark = pytest.mark.filterwarnings("ignore")
QUIET = ("validation.prompts=[]", "data.held_out=0.0")
KOHYA_TOO = ("training.steps=1", "save.kohya=true")
BRIEF = ("training.steps=2", "training.learning_rate=0.05")  # and yet to be seen


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_base(tmp_path_factory.mktemp("tiny-sdxl"), depth=1)


@pytest.fixture(scope="module")
def deep_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what names layers: more than one transformer in a block, and half as much again to reckon."""
    torch.set_num_threads(1)
    return make_base(tmp_path_factory.mktemp("tiny-deep"))


@pytest.fixture(scope="module")
def velocity_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny-v"), velocity=True, depth=1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures", 6)


def prepared(
    tmp_path: Path, base: Path, pictures: Path, *changes: str, name: str = "run"
) -> tuple[ImageRecipe, Path]:
    recipe = load_image_recipe(make_recipe(tmp_path / "r.toml", base, pictures), changes)
    run = tmp_path / name
    run.mkdir(exist_ok=True)
    return recipe, run


def session_of(recipe: ImageRecipe, run: Path, base: Path | None = None) -> ImageSession:
    pictures = read_folder(Path(recipe.data.folder), recipe.data, recipe.run.seed, time.time())
    return ImageSession(recipe, run, pictures, base or base_folder(recipe))


def log_of(run: Path) -> list[dict[str, float]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


def difference(left: Path, right: Path) -> float:
    a, b = load_file(left), load_file(right)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def answer(unet: Any, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    unet.eval()
    with torch.no_grad():
        answered: torch.Tensor = unet(
            torch.randn(1, 4, 8, 8, generator=draw),
            torch.tensor([500]),
            encoder_hidden_states=torch.randn(1, 77, 24, generator=draw),
            added_cond_kwargs={
                "text_embeds": torch.randn(1, 16, generator=draw),
                "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]]),
            },
        ).sample
    return answered


def test_training_lowers_the_held_out_loss_and_writes_a_record_without_places(
    tmp_path: Path, base: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    changes = ("training.steps=12", "save.every=4", "save.keep=1", "training.low_memory=true")
    recipe, run = prepared(tmp_path, base, pictures, *changes)
    session = train_image(recipe, run)
    held_out = [row["held_out"] for row in log_of(run) if "held_out" in row]
    assert len(held_out) == 4 and min(held_out[1:]) < held_out[0]
    steps = {int(path.name[5:]) for path in all_of(run / "checkpoints")}
    assert steps == {12, session.progress.best_step}
    grids = sorted(path.name for path in (run / "grids").iterdir())
    assert grids == [f"step-{step:06d}.png" for step in (0, 4, 8, 12)]
    assert str(tmp_path) not in (run / "run.json").read_text()
    facts = json.loads((run / "run.json").read_text())["stages"]["train_image"]
    assert facts["base"]["digest"] == digest_of(base)
    assert facts["shapes"] == ["32x96", "64x64", "96x32"] and facts["prediction"] == "epsilon"


FOUR = ("data.caption_dropout=0.3", "training.steps=4", "save.every=2")


@pytest.mark.parametrize(
    "changes",
    [
        (
            *("lora.dropout=0.2", "training.noise_offset=0.1"),
            *("lora.text_encoders=true", "lora.conv_rank=2"),
        ),
        ("prior.weight=0.5", "prior.pictures=3", 'training.optimiser="adamw8bit"', "lora.rank=16"),
    ],
)
def test_a_resumed_run_equals_an_unbroken_one(
    tmp_path: Path, base: Path, pictures: Path, changes: tuple[str, ...]
) -> None:
    recipe, one = prepared(tmp_path, base, pictures, *FOUR, *changes, name="one")
    train_image(recipe, one)
    recipe, two = prepared(tmp_path, base, pictures, *FOUR, *changes, name="two")
    broken = session_of(recipe, two)
    broken.look()
    for _ in range(3):  # the step beyond the checkpoint is lost
        broken.step()
        if broken.progress.step == 2:
            broken.look()
            broken.save()
    train_image(recipe, two)
    assert difference(one / "lora" / WEIGHTS, two / "lora" / WEIGHTS) == 0.0
    assert log_of(one) == log_of(two)
    assert (one / "grids" / "step-000004.png").read_bytes() == (
        two / "grids" / "step-000004.png"
    ).read_bytes()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_from_its_checkpoint(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    changes = (*QUIET, "training.steps=9", "save.minutes=1e-9")
    recipe, one = prepared(tmp_path, base, pictures, *changes, name="one")
    train_image(recipe, one)
    command = [tmp_path / "r.toml", "--runs", tmp_path, "--data", pictures]
    command += [word for change in changes for word in ("--set", change)]
    with TemporaryFile() as told:
        child = begin("train_image", *command, told=told)
    two = tmp_path / "disc-tiny"
    until = time.monotonic() + 90
    while not all_of(two / "checkpoints") and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    reached = all_of(two / "checkpoints")[-1]
    assert reached is not None and reached.name < "step-000009"
    stage("train_image", *command)
    assert difference(one / "lora" / WEIGHTS, two / "lora" / WEIGHTS) == 0.0


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, deep_base: Path) -> torch.Tensor:
    """What the base's UNet says without any LoRA."""
    root = tmp_path_factory.mktemp("untrained")
    return answer(load_pipeline(prepared(root, deep_base, root)[0]).unet)


@pytest.mark.parametrize("kind", ["plain", "rslora", "dora"])
def test_a_saved_lora_reloads_to_the_same_pictures_and_so_does_kohyas(
    tmp_path: Path, deep_base: Path, pictures: Path, untrained: torch.Tensor, kind: str
) -> None:
    changes = (*BRIEF,) if kind == "plain" else (*BRIEF, f"lora.{kind}=true")
    changes += (f"save.kohya={'false' if kind == 'dora' else 'true'}", 'lora.target="attn-mlp"')
    recipe, run = prepared(tmp_path, deep_base, pictures, *QUIET, *changes)
    trained = answer(train_image(recipe, run).pipeline.unet)
    assert float((trained - untrained).abs().max()) > 1e-3
    for name in (WEIGHTS,) if kind == "dora" else (WEIGHTS, KOHYA):
        fresh = load_pipeline(recipe)
        fresh.load_lora_weights(run / ("lora" if name == WEIGHTS else "kohya"), weight_name=name)
        assert float((answer(fresh.unet) - trained).abs().max()) == 0.0


def test_a_lora_file_tells_other_tools_what_it_is(
    tmp_path: Path, deep_base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, deep_base, pictures, *QUIET, *KOHYA_TOO)
    train_image(recipe, run)
    assert json.loads(read_marks(run / "lora" / WEIGHTS)[SETTINGS])["unet.lora_alpha"] == 16
    for path in (run / "lora" / WEIGHTS, run / "kohya" / KOHYA):
        marks = read_marks(path)
        assert marks["ss_network_dim"] == "4" and marks["ss_network_alpha"] == "16"
        assert marks["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
        assert marks["modelspec.trigger_phrase"] == "TOK"
        assert str(tmp_path) not in json.dumps(marks)
    assert alphas_of(run) == {16.0}
    steady, second = prepared(
        tmp_path, deep_base, pictures, *QUIET, *KOHYA_TOO, "lora.rslora=true", name="s"
    )
    train_image(steady, second)
    assert alphas_of(second) == {32.0}, "the effective one, alpha times the root of the rank"
    assert read_marks(second / "kohya" / KOHYA)["ss_network_alpha"] == "32"


def alphas_of(run: Path) -> set[float]:
    tensors = load_file(run / "kohya" / KOHYA)
    return {float(tensors[name]) for name in tensors if name.endswith(".alpha")}


def test_a_dora_is_not_exported_to_kohya(tmp_path: Path, base: Path, pictures: Path) -> None:
    with pytest.raises(BadRecipe, match="no kohya export"):
        prepared(tmp_path, base, pictures, "lora.dora=true", "save.kohya=true")


def test_a_lora_without_a_kohya_export_leaves_none_of_the_one_before(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    session = session_of(*prepared(tmp_path, base, pictures, *QUIET, "save.kohya=true"))
    write_lora(session, session.run / "lora")
    assert (session.run / "kohya" / KOHYA).is_file()
    session.recipe, _ = prepared(tmp_path, base, pictures, *QUIET)
    write_lora(session, session.run / "lora")
    assert not (session.run / "kohya").exists()


def test_a_velocity_base_with_zero_terminal_snr_is_trained_as_what_it_is(
    tmp_path: Path, velocity_base: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    recipe, run = prepared(tmp_path, velocity_base, pictures, "training.steps=8", "save.every=8")
    session = train_image(recipe, run)
    assert session.trainer.schedule.config.prediction_type == "v_prediction"
    assert float(session.trainer.schedule.alphas_cumprod[-1]) == 0.0
    held_out = [row["held_out"] for row in log_of(run) if "held_out" in row]
    assert held_out[-1] < held_out[0]
    assert read_marks(run / "lora" / WEIGHTS)["modelspec.prediction_type"] == "v"


def test_the_noise_schedule_gives_the_velocity_of_the_paper(velocity_base: Path) -> None:
    from types import SimpleNamespace

    from diffusers import EulerDiscreteScheduler

    euler = EulerDiscreteScheduler.from_pretrained(velocity_base / "scheduler")
    schedule = noise_schedule(SimpleNamespace(scheduler=euler))
    latents, noise, time_ = torch.randn(1, 4), torch.randn(1, 4), torch.tensor([300])
    alpha = schedule.alphas_cumprod[300]
    wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    assert torch.allclose(schedule.get_velocity(latents, noise, time_), wanted, atol=1e-6)


def test_a_step_weighs_pictures_alike_however_it_is_split(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    session = session_of(*prepared(tmp_path, base, pictures, *QUIET, "data.buckets=false"))
    sample = session.samples.sample(0, 7, 0)
    noise = torch.randn(4, *sample.mean.shape, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([10, 300, 600, 990])
    found = []
    for batch in (4, 1):
        rows = [
            session.trainer.denoiser.errors(
                [sample] * batch,
                sample.mean.expand(batch, -1, -1, -1),
                noise[start : start + batch],
                times[start : start + batch],
            )
            for start in range(0, 4, batch)
        ]
        found.append(torch.cat(rows).detach())
    assert torch.allclose(*found, rtol=1e-5)


def test_prior_pictures_have_their_own_time_ids_and_are_drawn_by_the_base_once(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, base, pictures, *QUIET, "prior.weight=1.0", "prior.pictures=2")
    session = session_of(recipe, run)
    assert session.prior is not None
    made = {path.name: path.stat().st_mtime_ns for path in (run / "prior").glob("*.png")}
    assert session.prior.sample(0, 7, 0).time_ids == (64, 64, 0, 0, 64, 64)
    assert session.samples.sample(0, 7, 0).time_ids[:2] == (64, 128)
    assert {word.text for word in session.prior.words} == {"a photo of jewellery"}
    again = session_of(recipe, run)
    assert again.prior is not None and len(again.prior) == 2
    assert made == {path.name: path.stat().st_mtime_ns for path in (run / "prior").glob("*.png")}
    figures = again.trainer.step(again.samples, again.prior, 0, 6)
    assert figures["prior"] > 0 and figures["norm"] > 0
    said = (
        *QUIET,
        "prior.weight=1.0",
        f'prior.folder="{pictures}"',
        'data.wording="TOK {caption}"',
    )
    own = session_of(prepared(tmp_path, base, pictures, *said)[0], run)
    assert own.prior is not None and not any("TOK" in word.text for word in own.prior.words)


def test_a_second_run_makes_no_latents_and_a_spoilt_one_is_made_again(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, base, pictures, *QUIET)
    first = session_of(recipe, run)
    entries = sorted((run / "cache").rglob("*.safetensors"))
    spoilt = first.samples.latents.cache.path(
        first.samples.latents.key(first.samples.pictures[0], first.samples.cuts[0][0])
    )
    before = {path: path.stat().st_mtime_ns for path in entries}
    spoilt.write_bytes(b"cut short")
    again = session_of(recipe, run)
    mean, _ = again.samples.latents.of(again.samples.pictures[0], again.samples.cuts[0][0])
    assert bool(mean.isfinite().all())
    after = {
        path: path.stat().st_mtime_ns for path in sorted((run / "cache").rglob("*.safetensors"))
    }
    assert {path for path in after if after[path] != before.get(path)} == {spoilt}


def test_cached_latents_go_when_the_museums_pictures_must(tmp_path: Path, base: Path) -> None:
    folder = make_pictures(tmp_path / "pictures", 6, expires_at="2999-01-01T00:00:00+00:00")
    recipe, run = prepared(tmp_path, base, folder, *QUIET)
    session = session_of(recipe, run)
    assert due_of(run / "cache") == pytest.approx(session.pictures.due, abs=1)


def test_a_class_folder_is_learnt_from_within_its_pictures_time_and_its_latents_go_then(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    old, later = "2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    folder = make_pictures(tmp_path / "class", 4, expires_at=later)
    lines = (folder / METADATA).read_text().splitlines()
    (folder / METADATA).write_text("\n".join([lines[0].replace(later, old), *lines[1:]]))
    said = (*QUIET, "prior.weight=1.0", f'prior.folder="{folder}"')
    recipe, run = prepared(tmp_path, base, pictures, *said)
    session = session_of(recipe, run)
    assert session.prior is not None and len(session.prior) == 3
    due = datetime.fromisoformat(later).timestamp()
    assert session.due == due == pytest.approx(due_of(run / "cache"), abs=1)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, base, pictures, *QUIET)
    session = session_of(recipe, run)
    session.step()
    session.save()
    with torch.no_grad():
        session.average.weights[0].fill_(float("nan"))
    with pytest.raises(TrainingStopped, match=r"Lower training\.learning_rate"):
        session.step()
    kept = load_file(run / "checkpoints" / "step-000001" / "adapter.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values())


def test_pictures_or_recipes_without_the_right_to_train_are_refused(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, base, pictures)
    for rights, why in (
        ({"train_allowed": False, "basis": "private study"}, "train_allowed is not true"),
        ({"train_allowed": True, "basis": " "}, "states no basis"),
        ({}, "train_allowed is not true"),
    ):
        (pictures / "rights.json").write_text(json.dumps(rights))
        with pytest.raises(NotAllowed, match=why):
            train_image(recipe, run)
    inner, *_ = prepared(tmp_path, base, pictures / "images")
    with pytest.raises(NotAllowed, match=f"a part of {pictures}, which has rights"):
        train_image(inner, run)
    recipe, _ = prepared(tmp_path, base, pictures)  # its file anew
    (pictures / "rights.json").unlink()
    text = (
        (tmp_path / "r.toml").read_text().replace("train_allowed = true", "train_allowed = false")
    )
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(NotAllowed, match="disc-tiny"):
        train_image(load_image_recipe(tmp_path / "r.toml"), run)
    assert not (run / "cache").exists()


def test_a_run_goes_on_from_its_checkpoints_by_the_same_recipe_and_pictures_of_the_class_alone(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    changes = (*QUIET, "prior.weight=1.0", "prior.pictures=1")
    recipe, run = prepared(tmp_path, base, pictures, *changes)
    session = session_of(recipe, run)
    session.step()
    session.save()
    for change in ("lora.alpha=8", "validation.guidance=4.0"):
        changed, _ = prepared(tmp_path, base, pictures, *changes, change)
        with pytest.raises(TrainingStopped, match="another recipe"):
            session_of(changed, run)
    other = shutil.copytree(base, tmp_path / "other")
    session_of(recipe, run, other)
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({n: tensor + 1 for n, tensor in load_file(weights).items()}, weights)
    with pytest.raises(TrainingStopped, match=r"another recipe, base"):
        session_of(recipe, run, other)
    session.progress.step, session.progress.best_step = 3, 2
    with pytest.raises(TrainingStopped, match=r"step-000002 is gone.*--fresh"):
        session.choose()


def test_pictures_that_changed_since_the_training_are_not_called_held_out(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    recipe, run = prepared(tmp_path, base, pictures, QUIET[0])
    session = session_of(recipe, run)
    write_lora(session, run / "lora")
    note_stage(run, recipe, "train_image", facts_of_training(session))
    (pictures / "images" / "O3.png").unlink()
    with pytest.raises(BadCorpus, match=r"saw other pictures.*train again"):
        Measures(recipe, run, None, print, None)


def test_a_base_of_pickles_or_of_another_layout_is_refused(
    tmp_path: Path, base: Path, pictures: Path
) -> None:
    import shutil

    pickled = shutil.copytree(base, tmp_path / "pickled")
    for path in (pickled / "unet").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    recipe, _ = prepared(tmp_path, pickled, pictures)
    with pytest.raises(ModelError, match="pickled weights"):
        load_pipeline(recipe)
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "unet" / "config.json").read_text())
    config |= {"projection_class_embeddings_input_dim": 5 * 8 + 16}
    (other / "unet" / "config.json").write_text(json.dumps(config))
    for path in (other / "unet").glob("*.safetensors"):
        path.unlink()
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel.from_config(config).save_pretrained(other / "unet")
    recipe, _ = prepared(tmp_path, other, pictures)
    with pytest.raises(ModelError, match="SDXL's layout"):
        load_pipeline(recipe)
    with pytest.raises(ModelError, match="no base"):
        load_pipeline(prepared(tmp_path, tmp_path / "nowhere", pictures)[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.resolution=72", "multiple of 32"),
        ("data.bucket_step=40", "multiple of 32"),
        ('lora.target=["nothing"]', "to_k"),
        ('training.precision="fp16"', '"bf16" or "fp32"'),
        ('base.id="nobody/has-this"', "Check the name and the network"),
    ],
)
def test_a_recipe_that_the_base_cannot_follow_says_what_to_change(
    tmp_path: Path, base: Path, pictures: Path, change: str, told: str
) -> None:
    recipe, run = prepared(tmp_path, base, pictures, *QUIET, change)
    with pytest.raises((BadRecipe, ModelError), match=told):
        session_of(recipe, run)


def test_a_step_on_random_weights_is_timed_without_pictures(tmp_path: Path, base: Path) -> None:
    recipe, _ = prepared(tmp_path, base, tmp_path / "none", "training.steps=1")
    found = measure_image(recipe, base, 1)
    assert found["side"] == 64 and found["seconds"] > 0
    assert found["parameters"] > found["trained"] > 0
    with pytest.raises(BadRecipe, match="--base"):
        measure_image(recipe, None, 1)


def test_running_out_of_memory_names_the_settings_to_lower() -> None:
    with pytest.raises(TrainingStopped, match=r"data\.resolution"), memory_told(MEMORY_HELP):
        raise torch.OutOfMemoryError


def test_a_folder_of_expired_pictures_trains_nothing(tmp_path: Path, base: Path) -> None:
    folder = make_pictures(tmp_path / "pictures", 3, expires_at="2020-01-01")
    recipe, run = prepared(tmp_path, base, folder)
    with pytest.raises(BadCorpus, match="3 left out: its time is over"):
        train_image(recipe, run)


def test_a_base_of_half_precision_alone_is_read(tmp_path: Path, base: Path, pictures: Path) -> None:
    halved = tmp_path / "halved"
    pipeline = load_pipeline(prepared(tmp_path, base, pictures)[0])
    pipeline.to(torch.float16).save_pretrained(halved, variant="fp16")
    changes = (f'base.vae="{halved / "vae"}"',)
    recipe, _ = prepared(tmp_path, halved, pictures, *changes)
    found = load_pipeline(recipe)
    assert (found.unet.dtype, found.vae.dtype) == (torch.float32, torch.float32)
    assert float(answer(found.unet).abs().max()) > 0


@pytest.fixture(scope="module")
def widest(
    tmp_path_factory: pytest.TempPathFactory, deep_base: Path
) -> tuple[ImageRecipe, Path, Any]:
    """A run that trained attention, convolutions and both text encoders."""
    root = tmp_path_factory.mktemp("widest")
    pictures = make_pictures(root / "pictures", 6)
    changes = (*QUIET, "lora.text_encoders=true", "lora.conv_rank=2", "save.kohya=true")
    recipe, run = prepared(root, deep_base, pictures, *changes, *BRIEF)
    return recipe, run, train_image(recipe, run).pipeline


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, deep_base: Path) -> tuple[Path, torch.Tensor]:
    """The run of another LoRA, and what the UNet that has it says."""
    root = tmp_path_factory.mktemp("other")
    recipe, run = prepared(root, deep_base, make_pictures(root / "pictures", 6), *QUIET, *BRIEF)
    return run, answer(train_image(recipe, run).pipeline.unet)


def both(pipeline: Any) -> torch.Tensor:
    """What encoders and UNet say together."""
    with torch.no_grad():
        words = pipeline.encode_prompt("a TOK ring", do_classifier_free_guidance=False)
    return torch.cat([answer(pipeline.unet).flatten(), words[0].flatten(), words[2].flatten()])


def test_convolutions_and_text_encoders_are_trained_and_loaded_by_diffusers(
    widest: tuple[ImageRecipe, Path, Any],
) -> None:
    recipe, run, trained = widest
    names = load_file(run / "lora" / WEIGHTS)
    assert {name.partition(".")[0] for name in names} == {
        "unet", "text_encoder", "text_encoder_2"
    }  # fmt: skip
    ranks = {name: len(tensor) for name, tensor in names.items() if "lora_A" in name}
    assert {rank for name, rank in ranks.items() if "conv" in name} == {2}
    assert {rank for name, rank in ranks.items() if "conv" not in name} == {4}
    plain, wanted = both(load_pipeline(recipe)), both(trained)
    parts = (answer(trained.unet).numel(), 77 * 24, 16)
    for mine, bare in zip(wanted.split(parts), plain.split(parts), strict=True):
        assert float((mine - bare).abs().max()) > 1e-3
    fresh = load_pipeline(recipe)
    fresh.load_lora_weights(run / "lora", weight_name=WEIGHTS)
    assert float((both(fresh) - wanted).abs().max()) < 1e-6


@pytest.mark.parametrize("place", [f"lora/{WEIGHTS}", f"kohya/{KOHYA}"])
def test_our_own_engine_loads_them_alone_and_beside_another(
    widest: tuple[ImageRecipe, Path, Any], other: tuple[Path, torch.Tensor], place: str
) -> None:
    recipe, run, trained = widest
    second, wanted = other
    pipeline = load_pipeline(recipe)
    layers = layers_of(pipeline)
    load_lora(pipeline, layers, "one", run / place)
    activate(pipeline, {"one": 1.0})
    assert float((both(pipeline) - both(trained)).abs().max()) < 1e-5
    load_lora(pipeline, layers, "two", second / "lora")
    activate(pipeline, {"two": 1.0})
    assert float((answer(pipeline.unet) - wanted).abs().max()) < 1e-5
    activate(pipeline, {"one": 1.0})
    assert float((both(pipeline) - both(trained)).abs().max()) < 1e-5


@pytest.mark.parametrize("place", ["lora", f"kohya/{KOHYA}"])
def test_a_lora_can_be_gone_on_from(
    tmp_path: Path,
    deep_base: Path,
    pictures: Path,
    widest: tuple[ImageRecipe, Path, Any],
    place: str,
) -> None:
    _, run, trained = widest
    start = f'lora.start="{run / place}"'
    wide = (*QUIET, "lora.text_encoders=true", "lora.conv_rank=3", "lora.rank=6", "lora.alpha=3")
    recipe, second = prepared(tmp_path, deep_base, pictures, *wide, start)
    session = session_of(recipe, second)
    assert float((both(session.pipeline) - both(trained)).abs().max()) < 1e-5
    assert float(session.step()) > 0 and str(tmp_path) not in json.dumps(recipe.recorded())
    narrow, third = prepared(tmp_path, deep_base, pictures, *QUIET, start, name="third")
    with pytest.raises(BadRecipe, match=r"Raise lora\.rank, or widen"):
        session_of(narrow, third)


def test_a_lora_file_has_the_hashes_that_other_tools_reckon(
    tmp_path: Path, widest: tuple[ImageRecipe, Path, Any]
) -> None:
    path = widest[1] / "kohya" / KOHYA
    marks, body = read_marks(path), path.read_bytes()
    weights = hashlib.sha256(body[8 + int.from_bytes(body[:8], "little") :]).hexdigest()
    assert marks["sshs_model_hash"] == weights
    assert marks["modelspec.hash_sha256"] == f"0x{weights}"
    assert re.fullmatch("[0-9a-f]{8}", marks["sshs_legacy_hash"])
    assert json.loads(marks["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "8"}
    copy_lora(path, tmp_path / "half.safetensors", half=True)
    halved = load_file(tmp_path / "half.safetensors")
    assert {t.dtype for name, t in halved.items() if ".alpha" not in name} == {torch.float16}
    assert read_marks(tmp_path / "half.safetensors")["sshs_model_hash"] != weights

"""The small image base: captions, exact resume, and a folder that diffusers opens as SDXL."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from engine.lock import take_lock
from engine.weights.bases import SHIPPED
from engine.weights.weight_files import SUMS, damaged
from training import train_base_image
from training.base_image import autoencoder
from training.base_image.base_recipe import BaseRecipe
from training.base_image.collection import for_autoencoder, load
from training.base_image.latent_views import views_of
from training.base_image.perception import Critic, Perception
from training.base_image.vocabulary import GROUNDS, METALS, STONES, caption_of, vocabulary
from training.errors import BadRecipe, TrainingStopped
from training.renders import design
from training.renders.materials import ENAMELS
from training.renders.patterns import PATTERNS
from training.run.recipe import read_recipe
from training.run.stage import LOCK

facts = st.builds(
    lambda kind_and_form, rest: dict(zip(("kind", "form"), kind_and_form, strict=True)) | rest,
    st.sampled_from([(kind, form) for kind, forms in design.FORMS.items() for form in forms]),
    st.fixed_dictionaries(
        {
            "metal": st.sampled_from(sorted(METALS)),
            "stone": st.sampled_from(sorted(STONES)),
            "second_stone": st.sampled_from(["", *STONES]),
            "ground": st.sampled_from(sorted(GROUNDS)),
            "cut": st.sampled_from(design.CUTS),
            "setting": st.sampled_from(design.SETTINGS),
            "engraving": st.sampled_from(["", *PATTERNS]),
            "filigree": st.sampled_from(["", "scrolls"]),
            "enamel": st.sampled_from(["", *ENAMELS]),
            "caption": st.just("a ring of gold set with ruby, on a black ground"),
        }
    ),
)


@pytest.fixture(scope="module")
def renders(tmp_path_factory) -> Path:
    """Twenty coloured discs, captioned as renders are."""
    folder = tmp_path_factory.mktemp("renders")
    rng, lines = random.Random(0), []
    for number in range(20):
        picture = Image.new("RGB", (80, 80), tuple(rng.randrange(256) for _ in "rgb"))
        ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill=(rng.randrange(256), 90, 40))
        picture.save(folder / f"{number:03d}-ring.jpg")
        row = {
            "file": f"{number:03d}-ring.jpg", "kind": "ring", "metal": "gold", "stone": "ruby",
            "second_stone": "pearl", "ground": "black", "form": "rope", "cut": "oval",
            "setting": "claws", "engraving": "leaves", "filigree": "", "enamel": "blue",
            "caption": "a ring of gold set with ruby, on a black ground",
        }  # fmt: skip
        lines.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def recipe(renders: Path) -> BaseRecipe:
    """The same layout as the real one, as small as it goes."""
    return BaseRecipe.model_validate(
        {
            "name": "tiny",
            "checkpoint_minutes": 60,
            "pictures": {"folder": renders, "size": 64, "held_out": 8},
            "autoencoder": {
                "channels": [8, 8, 8, 8], "groups": 4, "crop": 32, "batch": 2, "whole_batch": 1,
                "steps": 4, "whole_share": 0.5,
            },
            "denoiser": {
                "channels": [16, 16, 16], "groups": 8, "transformers": [1, 1, 1],
                "heads": [1, 1, 1], "text_widths": [16, 16], "text_layers": [2, 2],
                "time_embedding": 8, "batch": 2, "steps": 4, "views": 3,
            },
        }
    )  # fmt: skip


def _coder(recipe: BaseRecipe, folder: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
    """The autoencoder's weights; with `stop`, the run is broken off there and taken up again."""
    seen, unseen = load(recipe.pictures)
    if stop is not None:
        part = recipe.autoencoder.model_copy(update={"steps": stop})
        autoencoder.fit_autoencoder(
            recipe.model_copy(update={"autoencoder": part}), folder, seen, unseen
        )
    autoencoder.fit_autoencoder(recipe, folder, seen, unseen)
    return load_file(max(folder.glob("step-*")) / "adapter.safetensors")


@given(facts, st.randoms(use_true_random=False))
def test_a_caption_says_only_words_that_the_card_lists(row: dict[str, str], rng) -> None:
    said = set(re.findall(r"[a-z]+", caption_of(row, rng).lower()))
    assert said <= set(vocabulary())


def test_the_card_of_the_embedded_expert_lists_every_word_that_its_base_learnt(registry) -> None:
    learnt = json.loads((SHIPPED["jewel-base"] / "words.json").read_text(encoding="utf-8"))
    assert set(registry.drawing(registry["jewel"]).words) == set(learnt)


def test_two_hundred_words_are_taught() -> None:
    assert len(vocabulary()) >= 200


@pytest.mark.parametrize("terms", [{}, {"perceptual": 1.0, "adversarial": 0.1}])
def test_a_run_taken_up_again_ends_as_one_that_was_never_stopped(recipe, tmp_path, terms) -> None:
    # Both halves of the rate schedule know the whole length, so the broken run is stopped from
    # within: its first half is repeated from a checkpoint that the whole run left behind.
    recipe = _with(recipe, **terms)
    seen, unseen = load(recipe.pictures)
    whole = _coder(recipe, tmp_path / "whole")
    half = tmp_path / "half"
    with pytest.raises(_Stopped):
        autoencoder.fit_autoencoder(recipe, half, seen, unseen, _StopAfter(2))
    again = _coder(recipe, half)
    assert max(float((whole[name] - again[name]).abs().max()) for name in whole) == 0.0


def _with(recipe: BaseRecipe, **keys: object) -> BaseRecipe:
    changed = recipe.autoencoder.model_copy(update=keys)
    return recipe.model_copy(update={"autoencoder": changed})


def test_the_critic_comes_in_at_its_step_and_sees_eight_crops(recipe, tmp_path) -> None:
    seen, unseen = load(recipe.pictures)
    keys = {"batch": 8, "steps": 2, "perceptual": 1.0, "adversarial": 0.1, "whole_share": 0.0}
    still, moved = (
        autoencoder.fit_autoencoder(
            _with(recipe, **keys, adversarial_from=begins), tmp_path / str(begins), seen, unseen
        ).weights
        for begins in (2, 1)
    )
    torch.manual_seed(recipe.seed)
    fresh = dict(autoencoder.WithPreview(_with(recipe, **keys)).named_parameters())
    for name in (name for name in fresh if name.startswith("critic")):
        assert torch.equal(still[name], fresh[name])
        assert not torch.equal(moved[name], fresh[name])


def test_painter_and_critic_each_pay_only_for_their_own() -> None:
    torch.manual_seed(0)
    critic, made = Critic(), torch.randn(2, 3, 32, 32, requires_grad=True)
    painter, own = critic.losses(made, torch.randn(2, 3, 32, 32))
    painter.backward()
    assert made.grad is not None and all(weight.grad is None for weight in critic.parameters())
    made.grad = None
    own.backward()
    assert made.grad is None and all(weight.grad is not None for weight in critic.parameters())


def test_features_mind_a_blur_more_than_a_tone_of_the_same_error() -> None:
    torch.manual_seed(0)
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::4] = stripes[..., 1::4] = 0.8
    blurred = torch.nn.functional.avg_pool2d(stripes, 5, 1, 2)
    toned = stripes + (blurred - stripes).abs().mean()
    distance = Perception().distance
    assert distance(blurred, stripes) > 3 * distance(toned, stripes)


def test_the_autoencoder_sees_the_first_pictures_of_every_folder(recipe, renders, tmp_path) -> None:
    more = shutil.copytree(renders, tmp_path / "more")
    asked = _with(recipe, also=(more,), first=16)
    seen, unseen = for_autoencoder(asked)
    assert (len(seen), len(unseen)) == (16, 16)
    listing = more / "metadata.jsonl"
    row = json.loads(listing.read_text(encoding="utf-8").splitlines()[-1]) | {
        "file": "999-ring.jpg"
    }
    shutil.copy(more / "019-ring.jpg", more / "999-ring.jpg")
    listing.write_text(listing.read_text(encoding="utf-8") + json.dumps(row), encoding="utf-8")
    assert (for_autoencoder(asked)[0].pixels == seen.pixels).all()
    with pytest.raises(TrainingStopped, match="the first 99"):
        for_autoencoder(_with(recipe, first=99))


class _Stopped(Exception):
    """As if killed."""


class _StopAfter:
    """Called after every step with the part: saves at the step, then dies."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, part) -> None:
        if part.state.step == self.step:
            part.save()
            raise _Stopped


def test_checkpoints_of_another_recipe_are_not_gone_on_from(recipe, tmp_path) -> None:
    _coder(recipe, tmp_path)
    other = recipe.autoencoder.model_copy(update={"chroma": 9.0})
    with pytest.raises(TrainingStopped, match="another recipe"):
        _coder(recipe.model_copy(update={"autoencoder": other}), tmp_path)


def test_views_tell_the_unet_what_was_cut(recipe, tmp_path) -> None:
    seen, _unseen = load(recipe.pictures)
    torch.manual_seed(0)
    coder = autoencoder.WithPreview(recipe)
    views = views_of(recipe, coder, seen, 3, tmp_path / "views.pt")
    assert views.latents.shape == (3, 12, 4, 8, 8)
    assert abs(float(views.latents.std()) - 1) < 1e-4
    assert views.time_ids[0].unique(dim=0).tolist() == [[64, 64, 0, 0, 64, 64]]
    assert set(views.time_ids[2][:, 0].tolist()) == {72}
    assert 0 <= int(views.time_ids[2][:, 2:4].min()) <= int(views.time_ids[2][:, 2:4].max()) <= 8
    kept = views_of(recipe, coder, seen, 3, tmp_path / "views.pt")
    assert torch.equal(kept.latents, views.latents)


@pytest.mark.slow
def test_the_road_ends_in_a_folder_that_draws(recipe, renders, tmp_path, capsys) -> None:
    written = tmp_path / "recipe.toml"
    written.write_text(_as_toml(recipe), encoding="utf-8")
    folder = tmp_path / "pipeline"
    for _ in range(2):  # the second time there is nothing left to train
        train_base_image.main(written, runs=tmp_path / "runs", into=folder, threads=1)
        (folder / "README.md").touch()  # its licence
    assert "MiB of weights" in capsys.readouterr().out
    assert damaged(folder) == [] and "README.md" in (folder / SUMS).read_text()
    from diffusers import StableDiffusionXLPipeline

    made = StableDiffusionXLPipeline.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )
    assert made.scheduler.config.prediction_type == "v_prediction"
    assert made.vae.config.scaling_factor != 1.0
    made.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(1)
    picture = made("a gold ring", num_inference_steps=2, generator=draw).images[0]
    assert picture.size == (64, 64)
    preview = json.loads((folder / "preview.json").read_text(encoding="utf-8"))
    assert [len(row) for row in preview["weight"]] == [4, 4, 4] and len(preview["bias"]) == 3
    written.write_text(_as_toml(_with(recipe, steps=6)), encoding="utf-8")
    with pytest.raises(TrainingStopped, match="another recipe"):  # its latents are other ones now
        train_base_image.main(written, runs=tmp_path / "runs", into=folder, threads=1)


def test_a_base_that_is_trained_is_left_to_whom_it_is(recipe, tmp_path) -> None:
    written, checkpoint = (
        tmp_path / "recipe.toml",
        tmp_path / "tiny" / "autoencoder" / "step-000001",
    )
    written.write_text(_as_toml(recipe), encoding="utf-8")
    checkpoint.mkdir(parents=True)
    with (
        take_lock(tmp_path / "tiny", Path(), LOCK),
        pytest.raises(TrainingStopped, match="Another"),
    ):
        train_base_image.main(written, runs=tmp_path, threads=1, fresh=True)
    assert checkpoint.exists()


def _as_toml(recipe: BaseRecipe) -> str:
    lines = [f'name = "{recipe.name}"']
    for table in ("pictures", "autoencoder", "denoiser"):
        lines.append(f"[{table}]")
        for key, value in getattr(recipe, table).model_dump(mode="json").items():
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def test_a_recipe_with_an_unknown_key_is_refused_by_name(tmp_path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\n[pictures]\nfolder = "a"\nsise = 64\n', encoding="utf-8")
    with pytest.raises(BadRecipe, match="sise"):
        read_recipe(path, (), BaseRecipe)


def test_a_folder_without_captions_says_how_to_make_some(tmp_path, recipe) -> None:
    missing = recipe.pictures.model_copy(update={"folder": tmp_path})
    with pytest.raises(TrainingStopped, match="render_jewellery"):
        load(missing)

"""Recipes are strict, and those we ship say what the issue of rights demands."""

from pathlib import Path

import pytest
from training_base import make_recipe

from engine.files import BUILT_IN
from training.base_image.base_recipe import BaseRecipe
from training.errors import BadRecipe, NotAllowed
from training.images.recipe import load_image_recipe
from training.museum.harvest_recipe import load_harvest_recipe
from training.run.recipe import Recipe, load_recipe, read_recipe
from training.run.record import note_stage
from training.run.tables import Training
from training.text.rights import require_training

RECIPES = sorted((Path(__file__).parent.parent / "training" / "recipes").glob("*.toml"))


LOADERS = {"[harvest]": load_harvest_recipe, "[data]": load_image_recipe, "[corpus]": load_recipe}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_its_kind(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if "[pictures]" in lines:
        assert read_recipe(path, (), BaseRecipe).name == path.stem
        return
    (load,) = [load for table, load in LOADERS.items() if table in lines]
    recipe = load(path)
    assert recipe.run.name in path.stem
    assert recipe.rights.terms_url or recipe.rights.basis


def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = make_recipe(tmp_path / "r.toml", batch="2\nbatchsize = 3")
    with pytest.raises(BadRecipe, match=r"training\.batchsize: is not a known key"):
        load_recipe(path)


def test_a_missing_recipe_and_broken_toml_are_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="no recipe at"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[run\n")
    with pytest.raises(BadRecipe, match=r"bad\.toml is not valid TOML"):
        load_recipe(tmp_path / "bad.toml")


def test_a_change_on_the_command_line_is_part_of_the_digest(tmp_path: Path) -> None:
    path = make_recipe(tmp_path / "r.toml")
    changed = load_recipe(path, ("training.batch=1", "expert.title=Someone else"))
    assert (changed.training.batch, changed.expert.title) == (1, "Someone else")
    assert changed.digest != load_recipe(path).digest
    with pytest.raises(BadRecipe, match="should look like"):
        load_recipe(path, ("batch",))


def test_places_of_this_machine_stay_out_of_record_and_digest(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    hub = f'"hub"\ndataset = "{tmp_path}"'
    for kind in (f'"folder"\npath = "{tmp_path}"', hub):
        path = make_recipe(tmp_path / "r.toml", kind=kind, id=f'"{tmp_path / "base"}"')
        note_stage(tmp_path, load_recipe(path), "corpus", {})
        assert str(tmp_path) not in (tmp_path / "run.json").read_text()
    here = load_recipe(make_recipe(tmp_path / "r.toml", kind=f'"folder"\npath = "{tmp_path}"'))
    assert here.digest == load_recipe(make_recipe(tmp_path / "r.toml")).digest


def test_a_key_left_at_its_default_does_not_part_a_run_from_its_checkpoints(tmp_path: Path) -> None:
    plain = load_recipe(make_recipe(tmp_path / "a.toml"))
    spelt = load_recipe(make_recipe(tmp_path / "b.toml", precision='"fp32"\nschedule = "cosine"'))
    assert plain.training_digest == spelt.training_digest


class LaterTraining(Training):
    sharpness: float = 0.5


class LaterRecipe(Recipe):
    """A recipe of another day, which may say more."""

    training: LaterTraining = LaterTraining()


def test_a_key_that_recipes_get_later_leaves_the_digests_on_cards_as_they_are(
    tmp_path: Path,
) -> None:
    path = make_recipe(tmp_path / "r.toml")
    later = read_recipe(path, (), LaterRecipe)
    assert later.recorded() != load_recipe(path).recorded()
    assert later.digest == load_recipe(path).digest


@pytest.mark.parametrize(
    "name", ["lovecraft", "agatha", "poe", "doyle", "austen", "wilde", "newsroom", "jewel"]
)
def test_a_shipped_card_names_the_recipe_that_lies_here(name: str) -> None:
    load = load_image_recipe if name == "jewel" else load_recipe
    (path,) = (path for path in RECIPES if path.stem == f"{name}-embedded")
    assert f"`{name}-embedded` ({load(path).digest})" in (BUILT_IN / name / "README.md").read_text()


def test_the_report_recipes_repeat_autotrain_and_the_defaults_mend_it() -> None:
    for author in ("lovecraft", "agatha"):
        report, mended = (
            load_recipe(path)
            for kind in ("report", "gemma")
            for path in RECIPES
            if path.stem == f"{author}-{kind}"
        )
        assert (report.corpus.packing, mended.corpus.packing) == ("autotrain", "works")
        assert (report.corpus.block, report.lora.rank) == (1024, 16)
        assert report.training.learning_rate == 3e-5 < mended.training.learning_rate
        assert mended.training.optimiser == "adamw8bit" and mended.training.double_quant


@pytest.mark.parametrize("name", ["agatha-report", "newsroom-guardian"])
def test_recipes_without_a_basis_are_shipped_locked(name: str) -> None:
    (path,) = (path for path in RECIPES if path.stem == name)
    with pytest.raises(NotAllowed):
        require_training(load_recipe(path))

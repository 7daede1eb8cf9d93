"""`experts add`, `rename` and `remove`: what is checked, kept and said before anybody is answered."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from program import pastiche
from tiny_loras import lora_on, save_diffusers
from tiny_models import make_adapter, make_base, write_card
from tiny_sdxl import make_base as make_image_base
from tiny_sdxl import make_pipeline

from bot.cli.findings import look_at_models
from engine.errors import LimitError, ModelError
from engine.files import BUILT_IN
from engine.installation.install import (
    MOST_FILES,
    NewExpert,
    add_expert,
    added_folder,
    remarks,
    remove_expert,
)
from engine.plan.cards import Expert, Registry, load_card
from engine.settings import Settings
from engine.weights.bases import SHIPPED
from engine.weights.weight_files import LORA_WEIGHTS, check_adapter, damaged, write_sums

LIMIT, MODEL = LimitError, ModelError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of text and one of pictures, with an adapter of each."""
    root = tmp_path_factory.mktemp("adding")
    make_adapter(make_base(root / "llama", "llama"), root / "llama-adapter", 1)
    make_image_base(root / "sdxl")
    save_diffusers(lora_on(make_pipeline(), 1), root / "lora")
    return root


def adding(settings: Settings, spec: Path, **changes: Any) -> Expert:
    said = {"spec": str(spec), "name": "moss", "title": "Moss", "licence": "CC0-1.0", **changes}
    return load_card(add_expert(NewExpert(**said), settings).parent)


def harmed(made: Path, folder: Path, harm: str) -> Path:
    """The llama adapter, or something like it, with one thing wrong."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(made / "llama-adapter", folder)
    file, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    weights = load_file(file)
    first = sorted(weights)[0]
    if harm == "wide":
        save_file(weights | {first: weights[first].repeat(1, 2)}, file)
    if harm == "foreign":
        save_file({k.replace("layers.1", "layers.7"): w for k, w in weights.items()}, file)
    if harm == "no config":
        config.unlink()
    if harm == "deep":
        config.write_text("[" * 20_000)
    if harm == "long":
        config.write_text(" " * (5 << 20))
    if harm == "pissa":
        config.write_text(
            json.dumps(json.loads(config.read_text()) | {"init_lora_weights": "pissa"})
        )
    if harm == "named on the hub":
        named = {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
        config.write_text(json.dumps(json.loads(config.read_text()) | named))
    if harm == "link":
        (folder / "notes.json").symlink_to(made / "llama" / "config.json")
    if harm == "many":
        for number in range(MOST_FILES):
            (folder / f"{number}.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        ("wide", MODEL, "does not fit its base"),
        ("foreign", MODEL, "have no place there"),
        ("no config", MODEL, "adapter_config.json is missing"),
        ("deep", MODEL, "nested too deeply"),
        ("long", MODEL, "at most 4 MiB"),
        ("pissa", MODEL, "init_lora_weights = pissa"),
        ("link", LIMIT, "notes.json is a link to a file elsewhere"),
        ("many", LIMIT, "at most 64"),
    ],
)
def test_an_adapter_is_refused_where_it_is_added(
    settings, made, tmp_path, harm, kind, told
) -> None:
    spec = harmed(made, tmp_path / "adapter", harm)
    with pytest.raises(kind, match=told):
        adding(settings, spec, base=str(made / "llama"))
    assert not list((settings.home / "experts").glob("*"))


def test_a_lora_of_another_image_base_is_refused_where_it_is_added(settings, made) -> None:
    with pytest.raises(MODEL, match="for another base"):
        adding(settings, made / "lora", base="jewel-base")
    assert adding(settings, made / "lora", base=str(made / "sdxl")).medium == "image"


def test_a_link_within_the_folder_and_the_hubs_own_are_read(settings, made, tmp_path) -> None:
    revision = tmp_path / "models--org--moss" / "snapshots" / "abc"
    shutil.copytree(made / "llama-adapter", revision.parents[1] / "blobs")
    revision.mkdir(parents=True)
    for file in (revision.parents[1] / "blobs").iterdir():
        (revision / file.name).symlink_to(file)
    adapter = adding(settings, revision).folder / "adapter"
    assert not any(file.is_symlink() for file in adapter.iterdir())
    assert check_adapter(adapter)


@pytest.mark.parametrize("what", ["a folder", "a file"])
def test_a_gguf_model_is_told_what_it_is_good_for(settings, tmp_path, what) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(LIMIT, match="GGUF model, which can be a base"):
        adding(settings, tmp_path if what == "a folder" else file)


def test_an_added_writer_repeats_itself_no_more_than_the_built_in_ones(settings, made) -> None:
    built_in = load_card(BUILT_IN / "lovecraft").sampling.repetition_penalty
    assert adding(settings, made / "llama-adapter").sampling.repetition_penalty == built_in > 1


def test_who_is_put_in_anothers_place_keeps_its_order_and_manner(settings, made) -> None:
    old = load_card(BUILT_IN / "lovecraft")
    new = adding(settings, made / "llama-adapter", name="lovecraft", replace=True)
    assert (new.order, new.sampling, new.keywords) == (old.order, old.sampling, old.keywords)
    registry = Registry.load(settings.expert_roots, "embedded")
    assert registry.of_command("story")[0] == new
    assert registry.weights(new).base == str(made / "llama")


def test_a_folder_that_is_a_link_is_put_aside_and_what_it_leads_to_stays(settings, made) -> None:
    folder = adding(settings, made / "llama-adapter").folder
    kept = folder.rename(settings.home / "kept")
    folder.symlink_to(kept)
    assert not adding(settings, made / "llama-adapter", replace=True).folder.is_symlink()
    assert (kept / "card.toml").is_file()
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_name_of_one_letter_is_no_keyword(settings, made) -> None:
    assert adding(settings, made / "llama-adapter", name="m").keywords == ()


def test_a_vae_is_found_from_wherever_the_worker_is_started(settings, made, monkeypatch) -> None:
    monkeypatch.chdir(made)
    new = adding(settings, made / "lora", base=str(made / "sdxl"), vae="sdxl/vae")
    assert new.profiles["embedded"].vae == str(made / "sdxl/vae")


def test_a_vae_that_is_not_there_is_told_where_it_is_given(settings, made) -> None:
    with pytest.raises(LIMIT, match=r"sdxl/va is no VAE's folder"):
        adding(settings, made / "lora", base=str(made / "sdxl"), vae=str(made / "sdxl/va"))
    assert not list((settings.home / "experts").glob("*"))


def test_a_folder_of_several_loras_is_no_model(settings, made, tmp_path) -> None:
    for name in ("one", "two"):
        shutil.copy(made / "lora" / LORA_WEIGHTS, tmp_path / f"{name}.safetensors")
    with pytest.raises(LIMIT, match="Of several LoRAs in a folder, name one's file"):
        adding(settings, tmp_path, base=str(made / "sdxl"))
    assert adding(settings, tmp_path / "one.safetensors", base=str(made / "sdxl")).medium == "image"


def test_a_base_by_its_hub_id_is_the_one_that_is_embedded(settings, made, tmp_path) -> None:
    spec = harmed(made, tmp_path / "adapter", "named on the hub")
    new = adding(settings, spec)
    assert new.profiles["embedded"].base == "smollm2-135m-instruct"


def test_what_an_operator_should_know_of_a_new_card_is_said(settings, made) -> None:
    new = adding(settings, made / "llama-adapter", command="ode", keywords=("Lovecraft", "moss"))
    said = remarks(new, Registry.load(settings.expert_roots, "embedded"))
    assert said == [
        "/ode is a new command, which Moss alone answers.",
        "“Lovecraft” calls H. P. Lovecraft too; H. P. Lovecraft comes first.",
    ]
    merged = adding(settings, made / "llama", replace=True)
    said = remarks(merged, Registry.load(settings.expert_roots, "embedded"))
    assert said[-1] == f"Its card points to {made / 'llama'}, which is not copied: keep it there."


def test_a_command_of_another_medium_is_refused(settings, made) -> None:
    with pytest.raises(LIMIT, match="/jewel makes pictures"):
        adding(settings, made / "llama-adapter", command="jewel")
    with pytest.raises(LIMIT, match="/story makes texts"):
        adding(settings, made / "lora", base=str(made / "sdxl"), command="story")


def test_a_base_of_another_medium_is_told(settings, made) -> None:
    with pytest.raises(LIMIT, match="jewel-base is no base for this adapter, which writes texts"):
        adding(settings, made / "llama-adapter", base="jewel-base")


def test_an_added_expert_can_be_removed_and_a_built_in_one_not(settings, made) -> None:
    folder = adding(settings, made / "llama-adapter").folder
    remove_expert(added_folder("moss", settings))
    assert not list(folder.parent.iterdir())
    for name, told in (
        ("moss", "no added expert"),
        ("agatha", "built in"),
        ("../models", "no added"),
    ):
        with pytest.raises(LIMIT, match=told):
            added_folder(name, settings)


def test_an_expert_whose_card_has_a_wrong_name_is_set_aside_and_can_be_removed(
    settings, made
) -> None:
    folder = adding(settings, made / "llama-adapter").folder
    card = folder / "card.toml"
    card.write_text(card.read_text().replace('"moss"', '"Moss!"'))
    assert b"set aside" in pastiche("experts").stdout
    assert pastiche("experts", "remove", "moss", "--yes").returncode == 0
    assert not folder.exists()


def test_removing_asks_first(settings, made) -> None:
    folder = adding(settings, made / "llama-adapter").folder
    kept = pastiche("experts", "remove", "moss", stdin=b"n\n")
    assert kept.returncode == 1 and folder.exists()
    done = pastiche("experts", "remove", "moss", "--yes")
    assert done.returncode == 0 and b"moss is removed" in done.stdout and not folder.exists()


def test_a_flipped_byte_of_a_base_is_found(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    assert damaged(tmp_path) == ["SHA256SUMS"]
    write_sums(tmp_path)
    assert damaged(tmp_path) == []
    (tmp_path / "model.safetensors").write_bytes(bytes(500) + b"\x01" + bytes(499))
    assert damaged(tmp_path) == ["model.safetensors"]


def test_doctor_finds_a_flipped_byte_and_an_adapter_that_does_not_fit(made, tmp_path) -> None:
    folder = tmp_path / "models" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(100))
    (folder / "base.json").write_text('{"bytes": {"model.safetensors": 100}}')
    write_sums(folder)
    wide = harmed(made, tmp_path / "wide", "wide")
    write_card(tmp_path / "experts", "bare", "smollm2-135m-instruct")
    write_card(tmp_path / "experts", "moss", made / "llama", wide)
    registry = Registry.load([tmp_path / "experts"], "embedded")
    marks = [f.mark for f in look_at_models(registry, tmp_path / "models")]
    assert marks == ["ok", "bad"]
    weights.write_bytes(bytes(99) + b"\x01")
    first, *_ = look_at_models(registry, tmp_path / "models")
    assert (first.mark, first.advice) == ("bad", "Run: pastiche prepare")
    assert "model.safetensors" in first.what


def test_the_base_that_ships_has_the_bytes_that_it_was_made_with() -> None:
    if (SHIPPED["jewel-base"] / "unet").exists():
        assert damaged(SHIPPED["jewel-base"]) == []

"""Image bases and LoRAs as files: digests, the base that ships along, the hub, `experts add`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import hub
from program import pastiche
from tiny_loras import lora_on, save_diffusers, save_kohya, write_image_card
from tiny_sdxl import make_base, make_pipeline

from engine.errors import LimitError, ModelError
from engine.installation.install import NewExpert, add_expert
from engine.plan.cards import Registry, load_card
from engine.settings import Settings
from engine.weights import bases, conversion
from engine.weights.weight_files import check_pipeline, digest_of

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
FETCH = """
import os, sys
from pathlib import Path
from engine.installation.install import NewExpert, add_expert
from engine.settings import Settings
from engine.weights.bases import fetch_pipeline, place_here
both, base = sys.argv[1].split()
new = NewExpert(spec=both, name="moss", title="Moss", licence="CC0-1.0")
card = add_expert(new, Settings(home=Path(os.environ["HF_HOME"])))
assert f'base = "{both}"' in card.read_text()
whole = fetch_pipeline(base)
assert place_here(base, Path()) == whole
weights = whole / "unet" / "diffusion_pytorch_model.safetensors"
weights.rename(weights.with_suffix(".part"))  # half of it, yet
assert place_here(base, Path()) is None
weights.with_suffix(".part").rename(weights)
print(fetch_pipeline(both), whole)
"""
FETCH_ONE = "import sys; from engine.weights.bases import fetch; print(fetch(sys.argv[1]))"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in both precisions with a pickle beside its weights, and a LoRA of it."""
    root = tmp_path_factory.mktemp("bases") / "org"
    make_base(root / "base")
    import torch

    make_pipeline().to(torch.float16).save_pretrained(root / "halved", variant="fp16")
    shutil.copytree(root / "base", root / "both")
    shutil.copytree(root / "halved", root / "both", dirs_exist_ok=True)
    (root / "both" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    (root / "both" / "whole.safetensors").write_bytes(b"not asked for")
    save_diffusers(lora_on(make_pipeline(), 1), root / "moss")
    save_kohya(lora_on(make_pipeline(), 1), root / "kohya")
    return root


def fetching(code: str, spec: str, address: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """What fetching gives or says, with nothing of this machine's hub settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment = kept | {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, spec],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


def test_a_pipelines_digest_is_over_its_parts_and_not_over_its_place(tiny, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny / "base", copy)
    (copy / ".cache").mkdir()
    (copy / ".cache" / "unet.json").write_text("{}")
    assert digest_of(copy) == digest_of(tiny / "base") != digest_of(tiny / "halved")
    with (copy / "scheduler" / "scheduler_config.json").open("a") as file:
        file.write(" ")
    assert digest_of(copy) != digest_of(tiny / "base")


def test_a_pipeline_with_a_part_missing_cut_or_pickled_is_told(tiny, tmp_path) -> None:
    for harm, told in (
        ("gone", "no model folder"), ("cut", "damaged"), ("pickle", "pickled"), ("words", "tokenizer")
    ):  # fmt: skip
        base = tmp_path / harm
        shutil.copytree(tiny / "base", base)
        weights = base / "vae" / "diffusion_pytorch_model.safetensors"
        if harm == "gone":
            shutil.rmtree(base / "vae")
        if harm == "cut":
            weights.write_bytes(weights.read_bytes()[:100])
        if harm == "pickle":
            weights.rename(weights.with_suffix(".bin"))
        if harm == "words":
            shutil.rmtree(base / "tokenizer_2")
        with pytest.raises(ModelError, match=told):
            check_pipeline(base)


def test_the_base_that_ships_along_is_there_or_says_what_to_do(tmp_path) -> None:
    try:
        place = bases.find_base("jewel-base", tmp_path)
    except ModelError as error:
        assert "Install a release" in str(error) and not bases.present("jewel-base", tmp_path)
        with pytest.raises(ModelError, match="Install a release"):
            conversion.prepare("jewel-base", tmp_path)
    else:
        assert bases.present("jewel-base", tmp_path)
        assert conversion.prepare("jewel-base", tmp_path) == Path(place)


@pytest.mark.slow
def test_a_pipelines_download_is_halved_where_it_can_be_and_never_a_pickle(tiny, tmp_path) -> None:
    with hub(tiny.parent) as (address, asked):
        done = fetching(FETCH, "org/both org/base", address, tmp_path)
        assert done.returncode == 0, done.stderr
        both, plain = map(Path, done.stdout.split())
        names = {path.name for path in both.glob("unet/*")}
        assert names == {"config.json", "diffusion_pytorch_model.fp16.safetensors"}
        check_pipeline(plain)
    assert not any(path.endswith(".bin") or "whole" in path for path in asked)


def test_one_file_of_a_hubs_repository_is_fetched_alone(tiny, tmp_path) -> None:
    spec = "org/both/vae/diffusion_pytorch_model.safetensors"
    with hub(tiny.parent) as (address, asked):
        done = fetching(FETCH_ONE, spec, address, tmp_path)
    assert Path(done.stdout.strip()).name == "diffusion_pytorch_model.safetensors", done.stderr
    files = [path for path in asked if "/resolve/" in path]
    assert {path.rpartition("/")[2] for path in files} == {"diffusion_pytorch_model.safetensors"}


def _new(spec: Path, **changes: object) -> NewExpert:
    values = {"spec": str(spec), "name": "moss", "title": "Moss", "licence": "CC0-1.0"}
    return NewExpert(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["moss", "kohya", "kohya/kohya.safetensors"])
def test_a_lora_for_pictures_is_added_from_a_folder_or_a_file(tiny, settings, spec) -> None:
    new = _new(
        tiny / spec, base=str(tiny / "base"), prompt="a photo of TOK, {request}", token="TOK"
    )
    expert = load_card(add_expert(new, settings).parent)
    assert (expert.medium, expert.command, expert.drawing.token) == ("image", "jewel", "TOK")
    assert expert.profiles["embedded"].digest == digest_of(expert.folder / "adapter")


def test_a_lora_put_in_an_experts_place_keeps_how_that_one_draws(tiny, settings) -> None:
    root = settings.home / "experts"
    write_image_card(root, "moss", tiny / "base", drawing='negative = "hands"', vae=tiny / "vae")
    expert = load_card(add_expert(_new(tiny / "moss", replace=True), settings).parent)
    assert (expert.drawing.negative, expert.drawing.steps, expert.title) == ("hands", 4, "Moss")
    weights = expert.profiles["embedded"]
    assert (weights.base, weights.vae) == (str(tiny / "base"), str(tiny / "vae"))
    assert (expert.folder / weights.adapter / "pytorch_lora_weights.safetensors").is_file()


def test_a_lora_given_to_the_jewels_keeps_their_prompt_in_both_profiles(tiny, settings) -> None:
    for profile in ("full", "embedded"):
        chosen = settings.model_copy(update={"profile": profile})
        new = _new(tiny / "moss", name="jewel", base=str(tiny / "base"), replace=True)
        expert = load_card(add_expert(new, chosen).parent)
        drawing = Registry.load(chosen.expert_roots, profile).drawing(expert)
        assert drawing.token == "TOK" and "TOK" in drawing.prompt
        shutil.rmtree(expert.folder)


def test_an_image_base_is_an_expert_by_itself(tiny, settings) -> None:
    expert = load_card(add_expert(_new(tiny / "base"), settings).parent)
    weights = expert.profiles["embedded"]
    assert (expert.medium, weights.base, weights.adapter) == ("image", str(tiny / "base"), "")


def test_what_is_no_lora_for_pictures_is_refused_and_nothing_is_left(
    tiny, settings, tmp_path
) -> None:
    (tmp_path / "lora.bin").write_bytes(b"\x80\x04.")
    whole = tiny / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    for spec, kind, told in (
        (tmp_path / "lora.bin", ModelError, "pickled"),
        (whole, LimitError, "no LoRA"),
        (tiny / "moss", LimitError, "--base"),
    ):
        with pytest.raises(kind, match=told):
            add_expert(_new(spec), settings)
    assert not [p for p in (settings.home / "experts").glob("*") if p.is_dir()]


def test_experts_add_says_how_to_try_a_lora_for_pictures(tiny, settings: Settings) -> None:
    spec = tiny / "kohya" / "kohya.safetensors"
    words = ("experts", "add", str(spec), "--licence", "CC0-1.0", "--base", str(tiny / "base"))
    done = pastiche(*words)
    assert done.returncode == 0, done.stderr
    assert b"Try: pastiche ask '/jewel ...' --style kohya" in done.stdout

"""Pictures are judged by measures that find what is there, and published with what was found."""

import json
import random
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import load_file, save_file
from stages import stage
from tiny_sdxl import COLOURS, make_base, make_pictures, make_recipe

from engine.files import BUILT_IN
from engine.plan.cards import load_card
from engine.weights.picture_lora import SETTINGS
from engine.weights.weight_files import digest_of
from training.errors import BadRecipe, NotPublished
from training.images.drawing.grid import sheet
from training.images.evaluation.attributes import RenderJudge, is_known
from training.images.evaluation.measures import BRACELET, NECKLACE, fine_detail, prompts_of
from training.images.evaluation.memory import dhash, features_of, memory_of
from training.images.evaluation.report import lines_of, page
from training.images.lora_files import WEIGHTS, read_marks
from training.images.model_card import image_model_card
from training.images.recipe import load_image_recipe
from training.judge_jewellery import PROPERTIES, network
from training.publish import publish, write_words
from training.run.expert_card import card_text

pytestmark = pytest.mark.filterwarnings("ignore")


def disc(colour: str, number: int, side: int = 48) -> Image.Image:
    """A disc of a colour somewhere on a dark ground, with a scratch."""
    picture = Image.new("RGB", (side, side), (20, 24, 48))
    pen = ImageDraw.Draw(picture)
    place = 4 + number * 5 % 17
    pen.ellipse((place, 6, place + 26, 34), fill=COLOURS[colour])
    pen.line((0, number * 7 % side, side, number * 3 % side), fill=(240, 240, 240))
    return picture


def discs(count: int, start: int = 0) -> tuple[list[Image.Image], list[dict[str, str]]]:
    names = [list(COLOURS)[number % 3] for number in range(count)]
    pictures = [disc(name, start + number) for number, name in enumerate(names)]
    return pictures, [{"colour": name} for name in names]


def collage(seed: int) -> Image.Image:
    """Five boxes of made-up colours at made-up places, another picture for each seed."""
    draw, picture = random.Random(seed), Image.new("RGB", (64, 64))
    pen = ImageDraw.Draw(picture)
    for _ in range(5):
        left, top = draw.randrange(50), draw.randrange(50)
        colour = tuple(draw.randrange(256) for _ in "rgb")
        pen.rectangle((left, top, left + draw.randint(8, 40), top + draw.randint(8, 40)), colour)
    return picture


def test_a_training_picture_given_back_is_found_out() -> None:
    train, held, fresh = (list(map(collage, range(n, n + 12))) for n in (0, 100, 200))
    copy = train[5].resize((96, 96)).resize((64, 64))
    rows = features_of(train), features_of(held)
    found = memory_of([*fresh, copy], train, *rows)
    assert found["nearest"][-1] == 5 and found["similarity"][-1] == max(found["similarity"])
    assert found["near_duplicates"] == 1 and found["suspect_share"] >= 1 / 13
    none = memory_of(held, train, *rows)
    assert none["near_duplicates"] == 0 and none["suspect_share"] <= 1 / 12


def test_the_gap_of_who_never_saw_a_picture_is_about_nought() -> None:
    train, held, fresh = (
        list(map(collage, r)) for r in (range(200), range(500, 520), range(900, 940))
    )
    found = memory_of(fresh, train, features_of(train), features_of(held))
    assert abs(found["gap"]) < 0.02
    taught = memory_of(train[:40], train, features_of(train), features_of(held))
    assert taught["gap"] > 0.04  # of each ten sources one is among those compared


def test_looks_and_hashes_tell_pictures_apart() -> None:
    gold, again, ruby = disc("gold", 1), disc("gold", 1, 49), disc("ruby", 9)
    one, near, far = features_of([gold, again.resize((48, 48)), ruby])
    assert one @ near > one @ far
    same, other = dhash(gold.resize((200, 200))), dhash(ruby)
    assert (dhash(gold) ^ same).bit_count() <= 4 < (dhash(gold) ^ other).bit_count()
    assert np.isfinite(features_of([Image.new("RGB", (8, 8))])).all()


def test_attributes_are_known_only_where_the_listing_has_them_all() -> None:
    facts = {"kind": "ring", "metal": "gold", "stone": "", "ground": "grey"}
    assert not is_known(facts) and is_known(facts | {"stone": "ruby"})


def test_the_judge_of_renders_answers_in_its_own_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(dict(network().state_dict()), tmp_path / "judge.safetensors")
    seen = RenderJudge(tmp_path / "judge.safetensors").attributes(discs(3)[0])
    assert all(facts[name] in PROPERTIES[name] for facts in seen for name in PROPERTIES)
    (tmp_path / "judge.safetensors").write_bytes(b"x")
    with pytest.raises(BadRecipe, match=r"judge_jewellery learn"):
        RenderJudge(tmp_path / "judge.safetensors")


def test_a_blurred_picture_has_less_fine_detail_than_it_had() -> None:
    noise = Image.effect_noise((64, 64), 60)
    sharp, soft = (fine_detail([p]) for p in (noise, noise.filter(ImageFilter.GaussianBlur(2))))
    assert soft < sharp / 4
    assert fine_detail([Image.new("RGB", (64, 64), "gold")]) == 0


def test_a_sheet_holds_every_picture_and_label() -> None:
    rows = [[disc("gold", n), disc("ruby", n)] for n in range(3)]
    page_ = sheet(rows, ("base", "LoRA"), ["one", "two", "three " * 40])
    short = sheet(rows, ("base", "LoRA"), ["one", "two", "three"])
    assert page_.width == short.width and page_.height > short.height
    colours = {colour for _, colour in page_.getcolors(1 << 20)}
    assert {COLOURS["gold"], COLOURS["ruby"], (255, 255, 255)} <= colours


def test_the_reports_prompts_come_first_and_once(tmp_path: Path) -> None:
    recipe = load_image_recipe(make_recipe(tmp_path / "r.toml", tmp_path, tmp_path))
    prompts = prompts_of(recipe)
    assert prompts == (BRACELET, NECKLACE, "a photo antique TOK jewellery")


def test_a_card_says_what_was_trained_upon_which_base(tmp_path: Path) -> None:
    path = make_recipe(tmp_path / "r.toml", tmp_path, tmp_path)
    recipe = load_image_recipe(path, ("lora.text_encoders=true", 'base.id="org/base"'))
    done = {
        "base": {"id": "org/base", "digest": "sha256:b", "commit": "c0ffee"},
        **dict.fromkeys(("pictures", "captions_cut", "steps", "seconds"), 1),
        **{
            "held_out_pictures": 90,
            "held_out_judged": 32,
            "dropped": {},
            "shapes": [],
            "data": "",
            "resolution": 64,
            "device": "",
            "chosen_step": 1,
        },
    }
    card = image_model_card(recipe, {"stages": {"train_image": done}}, "sha256:1")
    assert "`org/base` (sha256:b, c0ffee)" in card
    assert "UNet and text encoders" in card and "UNet only" not in card
    assert "90 more were held out (the loss is of 32 of them)." in card


def test_the_page_says_what_was_measured() -> None:
    memory = {"pictures": 9, "p95": 0.9, "p99": 0.95, "near_duplicates": 0}
    values = {
        "held_out": {
            "pictures": 4,
            "times": [50],
            "base": {"loss": 0.2, "by_time": [0.3]},
            "lora": {"loss": 0.1, "by_time": [0.15]},
        },
        "memory": {
            "base": memory,
            "lora": {**memory, "suspect_share": 0.01, "gap": 0.002},
            "photographs": {**memory, "pictures": 4, "near_duplicates": 2},
        },
        "detail": {"base": 0.5, "lora": 0.75},
        "attributes": {
            "asked": 9,
            "base": {"stone": 0.5},
            "lora": {"stone": 0.75},
            "photographs": {"stone": 0.9},
        },
    }
    told = page("The jeweller", values, "python -m training.evaluate_image r.toml")
    for part in (
        "LoRA 0.1000 (-50.0%)",
        "1.0% of its pictures (chance gives about 21%)",
        "near-duplicates by hash: 0 (of 4 held-out photographs 2)",
        "stone as asked in 75%",
        "base 0.50, LoRA 0.75",
        "right on 90%",
        "| 50 | 0.3000 |",
    ):
        assert part in told
    assert "no held-out loss" in lines_of({**values, "held_out": {}})[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe file, and the folder of a run that was trained by it."""
    root = tmp_path_factory.mktemp("trained")
    base, pictures = make_base(root / "base", depth=1), make_pictures(root / "pictures", 6)
    from training.train_image import train_image

    torch.set_num_threads(1)
    path = make_recipe(root / "r.toml", base, pictures)
    run = root / "run"
    run.mkdir()
    changes = ("validation.prompts=[]", "save.kohya=true", "training.steps=2")
    train_image(load_image_recipe(path, changes), run)
    return path, run


@pytest.fixture
def published(tmp_path: Path, trained: tuple[Path, Path]) -> tuple[Path, Path]:
    """The recipe file, and a copy of the run: publishing adds to its record."""
    path, run = trained
    return path, shutil.copytree(run, tmp_path / "run")


def test_a_published_lora_keeps_its_alpha_and_gets_cards(
    tmp_path: Path, published: tuple[Path, Path]
) -> None:
    path, run = published
    recipe = load_image_recipe(path, ('base.vae="org/vae"',))
    facts = publish(recipe, run, tmp_path / "experts", replace=False, half=True)
    expert = load_card(tmp_path / "experts" / "disc")
    weights = expert.profiles["tiny"]
    assert (expert.medium, expert.command, weights.vae) == ("image", "jewel", "org/vae")
    assert (
        weights.digest == digest_of(expert.folder / "adapter-tiny") == facts["outputs"]["adapter"]
    )
    assert expert.drawing.token == "TOK" and expert.drawing.prompt.startswith("a photo antique TOK")
    marks = read_marks(expert.folder / "adapter-tiny" / WEIGHTS)
    assert json.loads(marks[SETTINGS])["unet.lora_alpha"] == 16
    tensors = load_file(expert.folder / "adapter-tiny" / WEIGHTS)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    halved = load_file(expert.folder / "kohya-tiny.safetensors")
    assert {t.dtype for name, t in halved.items() if ".alpha" not in name} == {torch.float16}
    told = (expert.folder / "README.md").read_text()
    assert "Made up by a test." in told and "alpha 16" in told and "Not measured yet" in told
    with pytest.raises(NotPublished, match="--replace"):
        publish(recipe, run, tmp_path / "experts", replace=False, half=True)


def test_a_published_lora_without_a_kohya_file_takes_the_older_one_away(tmp_path: Path) -> None:
    recipe = load_image_recipe(make_recipe(tmp_path / "r.toml", tmp_path, tmp_path))
    older = tmp_path / "kohya-tiny.safetensors"
    older.write_bytes(b"of the LoRA before")
    write_words(recipe, tmp_path / "run", tmp_path, "sha256:1", half=True)
    assert not older.exists()


def test_the_lines_on_a_card_draw_a_picture(
    tmp_path: Path, published: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = published
    recipe = load_image_recipe(path, ("validation.size=64",))
    publish(recipe, run, tmp_path, replace=False, half=True)
    monkeypatch.chdir(tmp_path / "disc")
    draw_by(tmp_path / "disc", 64, {"local folder": recipe.base.id})
    (tmp_path / "jewel").mkdir()
    monkeypatch.chdir(tmp_path / "jewel")
    Path("adapter").symlink_to(BUILT_IN / "jewel" / "adapter")
    draw_by(BUILT_IN / "jewel", 192, {"num_inference_steps=25": "num_inference_steps=2"})


def draw_by(card: Path, width: int, changes: dict[str, str]) -> None:
    """Run the lines of a model card in the present folder."""
    code = (card / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    exec(code, {})
    with Image.open("ring.png") as drawn:
        assert drawn.width == width


def test_a_card_of_the_house_keeps_its_words_and_gets_the_weights(
    tmp_path: Path, published: tuple[Path, Path]
) -> None:
    recipe = load_image_recipe(published[0], ("expert.profile=embedded",))
    card = tmp_path / "card.toml"
    card.write_text(
        'name = "disc"\ntitle = "Discs"\nmedium = "image"\ncommand = "jewel"\n'
        '[drawing]\nprompt = "{request}" # its own\n[profiles.embedded]\nbase = "x"\n'
        '[rights]\nlicence = "its own"\n'
    )
    values = tomllib.loads(text := card_text(recipe, card, same=True, digest="sha256:1"))
    assert "# its own" in text and values["drawing"] == {"prompt": "{request}"}
    assert values["profiles"]["embedded"]["adapter"] == "adapter"
    assert "vae" not in values["profiles"]["embedded"]


def test_the_model_card_of_an_sdxl_lora_hands_on_its_bases_terms(tmp_path: Path) -> None:
    recipes = Path(__file__).parent.parent / "training" / "recipes"
    told = image_model_card(load_image_recipe(recipes / "jewel-museum.toml"), {}, "sha256:1")
    assert "Open RAIL++-M" in told and "Victoria and Albert Museum" in told
    assert "machine-made" in told and "sdxl-vae-fp16-fix" in told


def test_the_shipped_recipes_are_the_reports_and_the_better_one() -> None:
    recipes = Path(__file__).parent.parent / "training" / "recipes"
    old, new, small = (
        load_image_recipe(recipes / f"jewel-{name}.toml")
        for name in ("report", "museum", "embedded")
    )
    training = old.training
    assert (old.data.resolution, training.precision, training.steps) == (512, "fp16", 2000)
    assert (training.optimiser, training.snr_gamma, old.save.every) == ("adamw8bit", 5.0, 717)
    assert old.base.vae == "madebyollin/sdxl-vae-fp16-fix"
    assert (new.data.resolution, new.data.buckets, new.training.precision) == (1024, True, "bf16")
    assert new.lora.alpha == new.lora.rank == 32 and new.training.ema and new.data.held_out
    assert not old.rights.train_allowed and not new.rights.train_allowed
    assert small.base.id == "jewel-base" and small.rights.train_allowed


@pytest.mark.slow
def test_from_pictures_to_a_published_expert(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", velocity=True, depth=1)
    pictures = make_pictures(tmp_path / "p", 6)
    lines = (pictures / "metadata.jsonl").read_text().splitlines()
    known = {"kind": "ring", "stone": "ruby", "ground": "grey", "metal": "gold"}
    rows = [{**json.loads(line), **known} for line in lines]
    judge = tmp_path / "judge.safetensors"
    save_file(dict(network().state_dict()), judge)
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = make_recipe(tmp_path / "r.toml", base, tmp_path / "nowhere")
    recipe.write_text(recipe.read_text().replace("steps = 6", "steps = 3"))
    options = ("--data", pictures, "--runs", tmp_path / "runs")
    assert "metadata.jsonl" in stage("train_image", recipe, "--runs", tmp_path, status=2)
    precision = ("--set", "training.precision=bf16")
    said = stage("train_image", recipe, *options, *precision)
    pasted = (
        f"evaluate_image {recipe} --runs {tmp_path / 'runs'} --set {precision[1]} --data {pictures}"
    )
    assert pasted in said and "loading" not in said.partition("Next:")[2]
    told = stage("evaluate_image", recipe, *options, "--samples", 3, "--judge", judge)
    assert f"training.publish {recipe} --runs {tmp_path / 'runs'}" in told
    assert "held-out loss on 2 pictures" in told and "metal as asked" in told
    run = tmp_path / "runs" / "disc-tiny"
    for name in ("report.md", "values.json", "before-after.png", "training-pictures/nearest.png"):
        assert (run / "evaluation" / name).is_file()
    home = tmp_path / "home"
    stage("publish", recipe, "--runs", tmp_path / "runs", "--into", home / "experts")
    expert = load_card(home / "experts" / "disc")
    assert expert.profiles["tiny"].adapter == "adapter-tiny"
    card = (expert.folder / "README.md").read_text()
    assert "held-out loss on 2 pictures" in card and str(tmp_path) not in card
    record = (run / "run.json").read_text()
    assert list(json.loads(record)["stages"]) == ["evaluate_image", "publish", "train_image"]
    assert str(tmp_path) not in record

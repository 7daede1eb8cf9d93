"""Buckets, time ids, min-SNR, batches, captions, folders: what training is made of, part by part."""

import json
import time
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st
from tiny_sdxl import SDXL_SCHEDULE, TOKENIZERS, VELOCITY, make_pictures

from engine.files import BUILT_IN
from engine.plan.cards import load_card
from training.captioning.questions import data_address
from training.errors import BadCorpus
from training.images.data.buckets import bucket_for, buckets_of, cut_in_epoch, cuts_of
from training.images.data.folder import Picture, open_picture, read_folder
from training.images.data.samples import told_of, words_of
from training.images.losses import weights_of
from training.images.recipe import load_image_recipe
from training.images.schedule import batches_in, batches_of_epoch, batches_of_step, steps_in
from training.images.tables import Data, ImageTraining
from training.museum.harvest_recipe import load_harvest_recipe

pytestmark = pytest.mark.filterwarnings("ignore")
NOW = time.time()
SIZES = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


def schedule(**changes: object) -> object:
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        **{
            key: value
            for key, value in {**SDXL_SCHEDULE, **changes}.items()
            if key not in ("timestep_spacing", "steps_offset")
        }
    )


def test_min_snr_has_the_constants_of_sdxls_schedule() -> None:
    times = torch.arange(1000)
    snr = compute_snr(schedule(), times)
    assert float(snr[0]) == pytest.approx(1175, abs=1)
    assert int((snr > 5).sum()) == 147 and bool((snr[:147] > 5).all())
    noise = weights_of(schedule(), times, 5.0)
    assert float(noise.mean()) == pytest.approx(0.9166, abs=1e-4)
    velocity = weights_of(schedule(prediction_type="v_prediction"), times, 5.0)
    assert float(velocity.mean()) == pytest.approx(0.294, abs=1e-3)
    assert torch.equal(weights_of(schedule(), times, 0.0), torch.ones(1000))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_makes_every_prediction_type_the_same_loss_on_the_picture(prediction: str) -> None:
    plan, times = schedule(prediction_type=prediction), torch.arange(1, 999)
    snr = compute_snr(plan, times)
    alpha, sigma = (snr / (snr + 1)).sqrt(), (1 / (snr + 1)).sqrt()
    # what an error of one in the picture is worth in the unit that is predicted
    worth = {"epsilon": alpha / sigma, "v_prediction": 1 / sigma, "sample": torch.ones(998)}
    on_picture = weights_of(plan, times, 5.0) * worth[prediction] ** 2
    assert torch.allclose(on_picture, snr.clamp(max=5.0), rtol=1e-3)


def test_zero_terminal_snr_gives_finite_weights() -> None:
    for prediction in ("epsilon", "v_prediction"):
        changes = {**VELOCITY, "prediction_type": prediction}
        weights = weights_of(schedule(**changes), torch.arange(1000), 5.0)
        assert bool(weights.isfinite().all()) and float(weights.max()) <= 1.0


def test_time_ids_of_a_landscape_cut_to_a_square_are_known() -> None:
    middle = cuts_of((1875, 2500), (1024, 1024), 1, "a", False)[0]
    assert middle.resized == (1024, 1365)
    assert middle.time_ids == (1875, 2500, 0, 170, 1024, 1024)


def test_a_small_base_is_told_only_sizes_that_it_knows() -> None:
    cut = cuts_of((192, 256), (128, 128), 1, "a", resized_first=True)[0]
    assert cut.time_ids == (128, 171, 0, 21, 128, 128)


@given(SIZES, st.sampled_from([(128, 32), (512, 64), (1024, 64)]), st.text(max_size=8))
def test_every_cut_lies_inside_the_picture_and_fills_a_bucket_of_the_budget(
    size: tuple[int, int], budget: tuple[int, int], name: str
) -> None:
    shapes = buckets_of(*budget)
    bucket = bucket_for(size, shapes)
    assert bucket in shapes and bucket[0] * bucket[1] <= budget[0] ** 2
    assert all(side % budget[1] == 0 for side in bucket)
    for cut in cuts_of(size, bucket, 4, name, False):
        for corner, side, room in zip(cut.corner, cut.target, cut.resized, strict=True):
            assert corner >= 0 and corner + side <= room
        assert min(r - t for r, t in zip(cut.resized, cut.target, strict=True)) == 0


def test_each_epoch_draws_its_cut_anew() -> None:
    cuts = cuts_of((64, 640), (64, 64), 8, "a", False)
    drawn = [cut_in_epoch(cuts, 42, epoch, "a") for epoch in range(40)]
    assert len(cuts) > 4 and len(set(drawn)) > 4
    assert drawn == [cut_in_epoch(cuts, 42, epoch, "a") for epoch in range(40)]


SHAPES = st.lists(st.sampled_from([(64, 64), (32, 96), (96, 32)]), min_size=1, max_size=30)


@given(SHAPES, st.integers(1, 5), st.integers(0, 3))
def test_an_epoch_shows_each_picture_once_in_batches_of_one_shape(
    shapes: list[tuple[int, int]], batch: int, epoch: int
) -> None:
    batches = batches_of_epoch(tuple(shapes), batch, "42", epoch)
    assert sorted(number for numbers in batches for number in numbers) == list(range(len(shapes)))
    assert all(len({shapes[number] for number in numbers}) == 1 for numbers in batches)
    assert len(batches) == batches_in(shapes, batch)
    assert all(len(numbers) <= batch for numbers in batches)


@given(SHAPES, st.integers(1, 4))
def test_steps_walk_through_epochs_without_a_gap(shapes: list[tuple[int, int]], parts: int) -> None:
    count = batches_in(shapes, 2)
    walked = [
        b for step in range(count) for b in batches_of_step(tuple(shapes), 2, parts, "s", step)
    ]
    for epoch in range(parts):
        shown = [number for part in walked if part.epoch == epoch for number in part.indices]
        assert sorted(shown) == list(range(len(shapes)))


def test_the_steps_of_a_recipe_win_over_its_epochs() -> None:
    assert steps_in(ImageTraining(epochs=3, accumulate=4), 10) == 8
    assert steps_in(ImageTraining(epochs=3, accumulate=4, steps=2000), 10) == 2000
    assert steps_in(ImageTraining(epochs=3, accumulate=4, least_steps=1500), 10) == 1500


def test_whole_objects_are_held_out(tmp_path: Path) -> None:
    pictures = read_folder(make_pictures(tmp_path), Data(folder="", held_out=0.34), 1, NOW)
    shown, held = ({p.group for p in part} for part in (pictures.train, pictures.held_out))
    assert len(pictures.train) + len(pictures.held_out) == 12
    assert len(held) == 2 and not shown & held


def test_a_plain_folder_of_file_and_caption_is_read(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    rows = [{"file": f"images/O{number}.png", "caption": "a disc"} for number in range(2)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    pictures = read_folder(tmp_path, Data(folder="", held_out=0), 1, NOW)
    assert [picture.captions for picture in pictures.train] == [("a disc",)] * 2
    assert pictures.train[0].group == "images/O0.png"


def test_written_captions_come_before_the_catalogues_text(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    row = {"file_name": "images/O0.png", "caption": "the long one", "caption_short": "short"}
    (tmp_path / "metadata_gpt4.jsonl").write_text(json.dumps(row) + "\n")
    read = {
        kind: read_folder(tmp_path, Data(folder="", held_out=0, captions=kind), 1, NOW).train
        for kind in ("auto", "text", "instance")
    }
    assert [p.captions for p in read["auto"]] == [
        ("the long one", "short"),
        ("A silver disc, number 1.",),
    ]
    assert read["text"][0].captions == ("A gold disc, number 0.",)
    assert read["instance"][0].captions == ("a photo antique TOK jewellery",)


def test_the_listings_own_text_is_said_in_the_recipes_wording(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    row = {"file_name": "images/O0.png", "caption": "as written"}
    (tmp_path / "metadata_gpt4.jsonl").write_text(json.dumps(row) + "\n")
    data = Data(folder="", held_out=0, wording="a photo antique TOK jewellery, {caption}")
    assert [p.captions[0] for p in read_folder(tmp_path, data, 1, NOW).train] == [
        "as written",
        "a photo antique TOK jewellery, A silver disc, number 1.",
    ]


def test_pictures_that_cannot_be_used_are_left_out_with_a_reason(tmp_path: Path) -> None:
    make_pictures(tmp_path, 6)
    (tmp_path / "images" / "O0.png").unlink()
    (tmp_path / "images" / "O1.png").write_bytes(b"not a picture")
    lines = (tmp_path / "metadata.jsonl").read_text().splitlines()
    rows = list(map(json.loads, lines))
    rows[2]["expires_at"] = "2020-01-01T00:00:00+00:00"
    rows[3]["file_name"] = "../elsewhere.png"
    rows[4]["expires_at"] = "2999-01-01T00:00:00Z"
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pictures = read_folder(tmp_path, Data(folder="", held_out=0), 1, NOW)
    assert [picture.name for picture in pictures.train] == ["images/O4.png", "images/O5.png"]
    assert sorted(pictures.dropped) == [
        "its name leads out of the folder",
        "its time is over",
        "the picture is damaged",
        "the picture is missing",
    ]
    assert pictures.due == pytest.approx(32472144000.0)


def test_a_truncated_picture_is_named_when_it_is_opened(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(BadCorpus, match=r"a\.jpg cannot be read"):
        open_picture(path)


def test_a_picture_is_turned_upright_and_put_on_white(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (40, 20), (9, 9, 9, 0)).save(tmp_path / "a.png", exif=exif)
    opened = open_picture(tmp_path / "a.png")
    assert opened.size == (20, 40) and opened.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        (None, "harvest"),
        (b'{"file_na', "line 1"),
        (b"", "no"),
        (b'\xef\xbb\xbf{"file_name": "\xe9.png"}', "line 1: not UTF-8"),
        (b'{"file_name": "a.png"}\n{"file_name": "\\u0000.png"}', "line 2"),
        (b'{"file_name": "\\ud800.png"}', "line 1"),
        (b'{"file_name": "' + b"a" * 300 + b'"}', "line 1"),
    ],
)
def test_a_folder_without_a_whole_listing_says_what_to_do(
    tmp_path: Path, listing: bytes | None, told: str
) -> None:
    if listing is not None:
        (tmp_path / "metadata.jsonl").write_bytes(listing)
    with pytest.raises(BadCorpus, match=told):
        read_folder(tmp_path, Data(folder=""), 1, NOW)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_listing_in_another_unicode_is_read(tmp_path: Path, coding: str) -> None:
    text = (make_pictures(tmp_path, 2) / "metadata.jsonl").read_text()
    (tmp_path / "metadata.jsonl").write_text(text, encoding=coding)
    assert len(read_folder(tmp_path, Data(folder="", held_out=0), 1, NOW).train) == 2


def test_captions_lie_in_text_files_beside_pictures(tmp_path: Path) -> None:
    make_pictures(tmp_path, 6)
    (tmp_path / "metadata.jsonl").unlink()
    for number, words in enumerate(
        (b"a ring,\n of TOK ", "ein Kästchen".encode("utf-16"), "Kästchen".encode("cp1252"), b" ")
    ):
        (tmp_path / "images" / f"O{number}.txt").write_bytes(words)
    (tmp_path / "images" / "O9.txt").write_text("nobody")
    (tmp_path / "images" / "O5.txt").write_text("gold " * 2000)
    read = read_folder(tmp_path, Data(folder="", held_out=0), 1, NOW)
    assert {picture.name[7:]: picture.captions[0][:15] for picture in read.train} == {
        "O0.png": "a ring, of TOK",
        "O1.png": "ein Kästchen",
        "O3.png": "a photo antique",  # nothing is said of it, nor beside the next
        "O4.png": "a photo antique",
        "O5.png": "gold gold gold ",
    }
    assert read.dropped == {"a caption without its picture": 1, "its caption is not UTF-8": 1}


def test_only_captions_of_a_model_are_said_where_the_recipe_wants_them(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    row = {"file_name": "images/O0.png", "caption": "of TOK"}
    (tmp_path / "metadata_gpt4.jsonl").write_text(json.dumps(row) + "\n")
    read = read_folder(tmp_path, Data(folder="", held_out=0, captions="gpt"), 1, NOW)
    assert [p.captions for p in read.train] == [("of TOK",), ("a photo antique TOK jewellery",)]


@pytest.mark.parametrize("name", ["report", "museum"])
def test_captions_and_prompts_begin_alike_and_have_the_token(name: str) -> None:
    recipes = Path(__file__).parent.parent / "training" / "recipes"
    recipe = load_image_recipe(recipes / f"jewel-{name}.toml")
    prefix = load_harvest_recipe(recipes / "coronet-harvest.toml").caption.prefix
    card = load_card(BUILT_IN / "jewel").drawing
    assert recipe.expert.token in prefix.split() and "TOK" in recipe.data.instance_prompt
    assert recipe.expert.prompt == card.prompt == prefix + ", {request}"
    wording = {"museum": recipe.data.wording, "report": "no listing's text is said"}[name]
    assert wording.startswith(prefix) or recipe.data.captions == "gpt"


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("I;16", "png"),
        ("I;16B", "tiff"),
        ("I", "tiff"),
        ("F", "tiff"),
        ("CMYK", "jpg"),
        ("P", "png"),
    ],
)
def test_a_picture_of_any_depth_keeps_its_shades(tmp_path: Path, mode: str, suffix: str) -> None:
    import numpy as np
    from PIL import Image

    grey = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 16))
    path = tmp_path / f"scan.{suffix}"
    if mode == "P":
        Image.fromarray(grey).quantize(256).save(path)
    elif mode == "CMYK":
        Image.fromarray(grey).convert("RGB").convert(mode).save(path, quality=95)
    elif mode == "F":
        Image.fromarray((grey / 255).astype(np.float32)).save(path)
    else:
        kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
        Image.fromarray((grey.astype(np.int64) * 257).astype(kind)).save(path)
    found = np.asarray(open_picture(path))[[32, 96, 160, 224], 9].astype(int)
    assert np.abs(found - np.array([[32], [96], [160], [224]])).max() <= 4


def test_an_animated_picture_is_its_first_frame_and_a_huge_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.new("1", (400, 400)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    read = read_folder(tmp_path, Data(folder="", held_out=0), 1, NOW)
    assert [p.name for p in read.train] == ["a.gif"] and list(read.dropped) == [
        "the picture has too many pixels"
    ]
    assert open_picture(tmp_path / "a.gif").getpixel((3, 3)) == (255, 0, 0)
    with pytest.raises(BadCorpus, match=r"huge\.png cannot be read"):
        data_address(tmp_path / "huge.png", 100)


def picture(*captions: str) -> Picture:
    return Picture(path=Path(), name="", size=(1, 1), sha256="", captions=captions, group="")


def test_the_first_caption_within_77_tokens_is_taken_and_a_cut_is_told() -> None:
    from transformers import CLIPTokenizer

    tokenizers = [
        CLIPTokenizer.from_pretrained(TOKENIZERS / name) for name in ("tokenizer", "tokenizer_2")
    ]
    long = "a gold ring, " * 19 + "its very end"  # the 19th comma is token 76
    assert words_of(picture(long, "a short one"), tokenizers).text == "a short one"
    cut = words_of(picture(long), tokenizers)
    assert (cut.text, cut.cut) == (long, "ring, its very end")
    assert "1 of 2 captions" in told_of([cut, words_of(picture("ok"), tokenizers)])
    assert cut.cut in told_of([cut]) and told_of([words_of(picture("ok"), tokenizers)]) == ""
    exact = " ".join(["ring"] * 75)
    assert words_of(picture(exact), tokenizers).cut == ""
    assert words_of(picture(exact + " gold"), tokenizers).cut == "gold"

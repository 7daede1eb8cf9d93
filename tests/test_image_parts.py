"""The image backend's small parts: words that are cut, colours of latents, schedulers, spoilt pixels."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_sdxl import SDXL_SCHEDULE, TOKENIZERS

from engine.backends.diffusion.previews import Projection, read_projection, side_by_side
from engine.backends.diffusion.prompt_encoder import asked_of, cut_of, room_of, tokens_of
from engine.errors import ModelError
from engine.plan.picture import Drawing, caption

CARD = Drawing(prompt="a photo of TOK, {request}, on grey", token="TOK")


@pytest.fixture(scope="module")
def tokenizers() -> tuple[Any, ...]:
    from transformers import CLIPTokenizer

    return tuple(
        CLIPTokenizer.from_pretrained(TOKENIZERS / name) for name in ("tokenizer", "tokenizer_2")
    )


@given(st.lists(st.sampled_from(["ring", "a", "emerald-green,", "Größe", "x" * 40]), max_size=90))
def test_what_is_read_and_what_is_cut_are_the_whole_prompt(tokenizers, words: list[str]) -> None:
    text = " ".join(words)
    cut = cut_of(text, tokenizers)
    assert text.endswith(cut)
    read = text.removesuffix(cut) if cut else text
    for tokenizer in tokenizers:
        ids = tokenizer(read, add_special_tokens=False).input_ids
        assert len(ids) <= room_of(tokenizer)
        whole = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        assert bool(cut) == (len(whole) > room_of(tokenizer))
    assert tokens_of(text, tokenizers) <= 75


@given(st.text(alphabet="ab ,.", max_size=12))
def test_the_askers_words_are_found_in_the_cards_prompt(text: str) -> None:
    found = asked_of(CARD, caption(CARD, text)).split()
    assert [word.strip(",.;") for word in found if word.strip(",.;")] == [
        word.strip(",.;") for word in text.replace(",", " ,").split() if word.strip(",.;")
    ] or " ".join(found).replace(" ", "") == caption(Drawing(), text).replace(" ", "")


def test_latents_become_the_colours_of_the_bases_own_map(tmp_path: Path) -> None:
    import torch

    weight = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    (tmp_path / "preview.json").write_text(json.dumps({"weight": weight, "bias": [0, 0, 1]}))
    latents = torch.zeros(1, 4, 4, 8)
    latents[0, 0], latents[0, 1] = 1, -1
    picture = read_projection(tmp_path).image(latents, (512, 256))
    assert picture.size == (256, 128)
    assert picture.getpixel((100, 100)) == (255, 0, 255)


def test_a_base_without_a_map_has_sdxls_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    sdxl = read_projection(tmp_path)
    assert isinstance(sdxl, Projection) and sdxl.weight[0][0] == pytest.approx(60 / 127.5)
    for wrong in ("{", '{"weight": [[1]], "bias": [0]}', '{"weight": 1}'):
        (tmp_path / "preview.json").write_text(wrong)
        with pytest.raises(ModelError, match="Restore or delete"):
            read_projection(tmp_path)


@pytest.mark.parametrize(
    ("count", "size"), [(1, (8, 6)), (2, (16, 6)), (3, (16, 12)), (4, (16, 12))]
)
def test_previews_of_several_pictures_stand_side_by_side(count: int, size: tuple[int, int]) -> None:
    assert side_by_side([Image.new("RGB", (8, 6))] * count).size == size


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_few_step_lora_draws_from_the_noisiest_step_on() -> None:
    from diffusers import EulerDiscreteScheduler

    from engine.backends.diffusion.denoise import build_scheduler

    own = EulerDiscreteScheduler(**SDXL_SCHEDULE)
    slow = build_scheduler(own, "", 4, "cpu", fast=False).timesteps.tolist()
    fast = build_scheduler(own, "euler", 4, "cpu", fast=True).timesteps.tolist()
    assert (slow, fast) == ([751, 501, 251, 1], [999, 749, 499, 249])
    with pytest.raises(ModelError, match="Change steps or scheduler"):
        build_scheduler(own, "lcm", 99, "cpu", fast=True)


def test_black_and_not_a_number_are_spoilt_and_dark_is_not() -> None:
    import torch

    from engine.backends.diffusion.decode import is_spoilt

    black = torch.full((1, 3, 8, 8), -1.0)
    dark = black.clone()
    dark[0, 0, 0, 0] = -0.9
    assert is_spoilt(black) and is_spoilt(dark * float("nan")) and not is_spoilt(dark)

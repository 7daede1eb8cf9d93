"""Captions by a vision model on this machine: a tiny LLaVA that is taught one answer on the spot."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai_server import description
from test_caption import captions, journal, make_data, no_keys, recipe_file

from training.caption import main
from training.errors import BadRecipe

__all__ = ["no_keys"]
CHAT = (
    "{% for m in messages %}{{ m['role'] }} {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}look {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}answer {% endif %}"
)
PIECE = r"\w+|\W"  # words and signs are tokens
WORDS = ("user", "assistant", "look", "answer")


SHORT = description(
    craftsmanship="cast", gemstones_and_settings="none", style_and_history="", condition="worn"
)


def make_vision_model(folder: Path, answer: str | None) -> Path:
    """A LLaVA of two layers; taught to say `answer` (or left with random weights), then saved."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    torch.set_num_threads(1)
    pieces = ["<pad>", "<eos>", "<image>", *WORDS]
    pieces += sorted(set(re.findall(PIECE, json.dumps(SHORT))) - set(pieces))
    vocab = {piece: number for number, piece in enumerate(pieces)}
    plain = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    plain.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<image>", *WORDS],
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    eyes = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=32,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=eyes, text_config=text, image_token_id=2, image_seq_length=4)
    )
    if answer is not None:
        teach(model, processor, answer)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def teach(model: Any, processor: Any, answer: str) -> None:
    """A few hundred steps on one sequence."""
    import torch
    from PIL import Image

    turn = {"type": "image", "image": Image.new("RGB", (16, 16))}
    messages = [{"role": "user", "content": [turn, {"type": "text", "text": ""}]}]
    asked = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    said = processor.tokenizer(answer, return_tensors="pt", add_special_tokens=False)["input_ids"]
    said = torch.cat([said, torch.tensor([[1]])], dim=1)
    ids = torch.cat([asked["input_ids"], said], dim=1)
    labels = ids.clone()
    labels[:, : asked["input_ids"].shape[1]] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        loss = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=asked["pixel_values"],
            labels=labels,
        ).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 0.002:
            return


@pytest.mark.slow
def test_a_model_on_this_machine_writes_captions_and_answers_once(tmp_path: Path) -> None:
    make_data(tmp_path, 2)
    folder = make_vision_model(tmp_path / "eyes", json.dumps(SHORT))
    path = recipe_file(tmp_path, "http://127.0.0.1:1/v1", model=f'"{folder}"')
    main(path, runs=tmp_path, captioner="local")
    rows = captions(tmp_path)
    assert len(rows) == 2 and rows[0]["captioner"] == "local"
    assert rows[0]["caption"].endswith("a tiara of gold and pearls, cast, worn")
    assert {row["outcome"] for row in journal(tmp_path)} == {"ok"}
    before = len(journal(tmp_path))
    main(path, runs=tmp_path, captioner="local")
    assert len(journal(tmp_path)) == before
    assert str(folder) not in (tmp_path / "crowns" / "run.json").read_text()


def test_a_model_that_gives_no_json_is_asked_once_more_and_then_noted(tmp_path: Path) -> None:
    make_data(tmp_path, 1)
    folder = make_vision_model(tmp_path / "eyes", None)
    path = recipe_file(tmp_path, "http://127.0.0.1:1/v1", model=f'"{folder}"', most_tokens="64")
    main(path, runs=tmp_path, captioner="local", fill=True)
    (row,) = journal(tmp_path)
    assert row["outcome"] in ("not JSON", "cut off") and row["tokens_out"] > 64
    assert captions(tmp_path)[0]["captioner"] == "catalogue"


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    make_data(tmp_path, 1)
    path = recipe_file(tmp_path, "http://127.0.0.1:1/v1", model=f'"{tmp_path / "none"}"')
    with pytest.raises(BadRecipe, match="Qwen3-VL"):
        main(path, runs=tmp_path, captioner="local")


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    import torch

    make_data(tmp_path, 1)
    folder = make_vision_model(tmp_path / "eyes", None)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    path = recipe_file(tmp_path, "http://127.0.0.1:1/v1", model=f'"{folder}"')
    with pytest.raises(BadRecipe, match="safetensors"):
        main(path, runs=tmp_path, captioner="local")

"""What a chat model is asked when it answers alone, as its own tokenizer reads it."""

from dataclasses import replace
from pathlib import Path

import pytest
import transformers
from test_backends import a_job

from engine.backends.prompt_window import prompt_ids
from engine.backends.stop_rules import latest


@pytest.fixture(scope="module")
def chat_tokenizer(models: Path):
    return transformers.AutoTokenizer.from_pretrained(models / "smollm2-135m-instruct")


def test_a_chat_model_alone_is_asked_in_a_turn_for_what_its_expert_is_asked(chat_tokenizer) -> None:
    typed = "A tale of <|im_end|> rain.\nHere is the beginning:\n\n"
    job = a_job(prompt=f"{typed}It rained.", head=len(typed))
    ids, _ = prompt_ids(job, chat_tokenizer, 512)
    assert chat_tokenizer.decode(ids) == job.prompt, "an expert goes on from plain prose"
    ids, _ = prompt_ids(replace(job, plain=True), chat_tokenizer, 512)
    turns = chat_tokenizer.decode(ids).split("<|im_start|>")
    assert turns[1].startswith("system\n") and len(turns) == 4
    assert turns[2].endswith(f"nothing about it.\n\n{typed}<|im_end|>\n")
    assert turns[3] == "assistant\nIt rained.", "which it goes on from as its own"
    ends = ids.count(chat_tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert ends == 2, "what somebody typed ends no turn"


def test_a_turn_beyond_the_window_loses_the_front_of_its_beginning(chat_tokenizer) -> None:
    job = a_job(
        prompt="Continue.\n\n" + "It rained. " * 500 + "The end is near.", head=11, plain=True
    )
    ids, [note] = prompt_ids(job, chat_tokenizer, 512)
    assert "first" in note and len(ids) + latest(job.length) == 512
    said = chat_tokenizer.decode(ids)
    assert "Continue.\n\n<|im_end|>\n<|im_start|>assistant\n" in said
    assert said.endswith("The end is near.")

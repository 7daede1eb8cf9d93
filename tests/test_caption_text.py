"""Captions as text: order, budget and cost, without any server."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from training.captioning.composition import USABLE, clip_tokenizers, compose, count, head, shorten
from training.captioning.cost import USUAL, Purse, purse_of
from training.captioning.description import Description, read_completion, read_text, schema
from training.errors import BadRecipe
from training.museum.harvest_recipe import PREFIX, CaptionTable

LONG = Description(
    object_type="tiara",
    materials=["gold", "silver", "diamonds"],
    craftsmanship="pierced and chased openwork with soldered leaves, hinged frame, millegrain edges",
    gemstones_and_settings="brilliant-cut diamonds in cut-down collets, three drop-shaped pearls",
    style_and_history="naturalistic wreath of roses and ivy in the taste of the 1850s",
    condition="sound, with two replaced stones and light wear to the silver",
    uncertain=[],
)
WHOLE = LONG.model_copy(update={"object_type": "a ring"}).model_dump_json()
words = some.text(min_size=0, max_size=200)
descriptions = some.builds(
    Description,
    object_type=words,
    materials=some.lists(words, max_size=5),
    craftsmanship=words,
    gemstones_and_settings=words,
    style_and_history=words,
    condition=words,
    uncertain=some.lists(words, max_size=2),
)


def test_the_report_s_prefix_has_twelve_tokens_in_both_of_sdxl_s_tokenizers() -> None:
    for tokenizer in clip_tokenizers():
        assert tokenizer.model_max_length == 77 == USABLE + 2
        assert len(tokenizer(PREFIX, add_special_tokens=False)["input_ids"]) == 12
    assert count(PREFIX) == 12 and count("") == 0


@given(descriptions, some.integers(20, USABLE))
@example(LONG, USABLE)
def test_a_short_caption_fits_and_begins_with_the_prefix(made: Description, limit: int) -> None:
    short = shorten(made, PREFIX, limit)
    assert count(short) <= limit and short.startswith(PREFIX)


@given(descriptions)
def test_the_made_up_word_stands_in_a_caption_once(made: Description) -> None:
    assert compose(made, PREFIX).split().count("TOK") <= 1
    doubled = made.model_copy(update={"craftsmanship": "a TOK piece, TOK, of TOK work"})
    assert compose(doubled, PREFIX).count("TOK") == 1


def test_what_is_most_visible_comes_first_and_stays_longest() -> None:
    full = compose(LONG, PREFIX)
    parts = ["a tiara of gold, silver and diamonds", "brilliant-cut", "pierced", "wreath", "sound"]
    assert sorted(parts, key=full.index) == parts and count(full) > USABLE
    short = shorten(LONG, PREFIX, USABLE)
    assert "a tiara of gold, silver and diamonds, brilliant-cut diamonds" in short
    assert count(short) <= USABLE and not short.endswith((",", ";"))
    shorter = shorten(LONG, PREFIX, 30)
    assert shorter.startswith(f"{PREFIX}, a tiara of gold, silver and diamonds")


def test_a_caption_that_fits_is_not_cut() -> None:
    small = LONG.model_copy(update={"craftsmanship": "cast", "style_and_history": ""})
    assert shorten(small, PREFIX, USABLE) == compose(small, PREFIX)


@pytest.mark.parametrize("nothing", ["none", "None.", "n/a", "no gemstones visible", " "])
def test_what_is_not_there_is_not_said(nothing: str) -> None:
    made = LONG.model_copy(update={"gemstones_and_settings": nothing})
    assert nothing.strip(" .") not in compose(made, "") or not nothing.strip()


@pytest.mark.parametrize(
    ("kind", "materials", "said"),
    [
        ("ring", [], "a ring"),
        ("earring", ["gold"], "an earring of gold"),
        ("", ["gold", "jet", "ivory"], "a piece of jewellery of gold, jet and ivory"),
    ],
)
def test_the_kind_and_its_materials(kind: str, materials: list[str], said: str) -> None:
    assert head(LONG.model_copy(update={"object_type": kind, "materials": materials})) == said


def test_the_schema_is_strict() -> None:
    made = schema()
    assert made["additionalProperties"] is False
    assert made["required"] == list(made["properties"]) == list(Description.model_fields)


def test_a_description_is_found_among_a_local_model_s_words() -> None:
    text = LONG.model_dump_json()
    assert read_text(f"Sure!\n```json\n{text}\n```") == LONG
    assert read_text(text[:-2]) is None and read_text("") is None


@given(
    some.recursive(
        some.none() | some.text() | some.integers(),
        lambda inner: (
            some.lists(inner)
            | some.dictionaries(
                some.sampled_from(["choices", "message", "usage", "content"]), inner
            )
        ),
    )
)
def test_any_answer_is_read_without_a_fault(body: Any) -> None:
    assert read_completion(json.loads(json.dumps(body))).description is None


def test_a_thousand_pictures_cost_about_four_dollars() -> None:
    purse = purse_of(CaptionTable(), None, 0.0)
    assert (purse.into, purse.out) == (2.0, 8.0) and 3.5 < 1000 * purse.price(*USUAL) < 5.0


def test_a_price_that_is_not_known_must_be_stated() -> None:
    with pytest.raises(BadRecipe, match="dollars_in"):
        purse_of(CaptionTable(model="gpt-9"), None, 0.0)
    stated = purse_of(CaptionTable(model="gpt-9", dollars_in=1, dollars_out=2), None, 0.0)
    own = purse_of(CaptionTable(model="x", address="http://127.0.0.1/v1"), None, 0.0)
    assert (stated.into, stated.out, own.into, own.out) == (1, 2, 0, 0)


@pytest.mark.parametrize(
    ("message", "reason", "usage", "outcome"),
    [
        ({"content": [{"type": "text", "text": WHOLE}]}, "stop", {}, "ok"),
        ({"content": WHOLE}, "eos_token", {"prompt_tokens": None}, "ok"),
        ({"content": WHOLE}, "stop_sequence", None, "ok"),
        ({"content": WHOLE}, "length", {}, "cut off"),
        ({"content": WHOLE}, "content_filter", {}, "filtered"),
        ({"content": WHOLE.replace("a ring", "I'm sorry, I can't assist")}, "stop", {}, "refused"),
        ({"content": "no"}, "stop", {}, "not JSON"),
    ],
)
def test_answers_of_look_alikes_are_read_for_what_they_are(
    message: dict[str, Any], reason: str, usage: Any, outcome: str
) -> None:
    body = {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}
    assert read_completion(body).outcome == outcome


@given(some.lists(some.tuples(some.integers(1, 32), some.floats(0, 0.01)), max_size=30))
def test_a_purse_is_never_overdrawn(calls: list[tuple[int, float]]) -> None:
    purse = Purse(2.0, 8.0, limit=0.02)
    for number, most in calls:
        purse.spent += purse.affords(number, most) * most
    assert purse.spent <= 0.02 + 1e-9


def test_help_comes_without_a_model_library() -> None:
    import subprocess
    import sys

    code = "import sys, training.caption; print({'torch', 'transformers'} & set(sys.modules))"
    ended = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"

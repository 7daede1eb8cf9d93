"""Captions as text: order, budget, flags, cost and review, without any server."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from training.captioning.checks import agreement, flag_repeats, flags_of
from training.captioning.composition import USABLE, clip_tokenizers, compose, count, head, shorten
from training.captioning.cost import (
    Prices,
    SpendingLimit,
    picture_tokens,
    prices_of,
    question_tokens,
)
from training.captioning.description import Description, read_completion, read_text, schema
from training.captioning.review import drawn
from training.captioning.tables import PREFIX, CaptionTable
from training.errors import BadRecipe

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


def flags(row: dict[str, Any] | None = None, **changes: Any) -> list[str]:
    """The flags of a caption made from a changed description."""
    made, table = LONG.model_copy(update=changes), CaptionTable()
    short = shorten(made, table.prefix, table.token_budget)
    return flags_of(compose(made, table.prefix), short, made, row or {}, table)


@pytest.mark.parametrize(
    ("change", "row", "flag"),
    [
        ({"craftsmanship": "The photo shows a band"}, {}, "says 'photo shows'"),
        ({"style_and_history": "a stunning wreath"}, {}, "says 'stunning'"),
        ({"condition": "as M.15-1971"}, {}, "holds a number: M.15-1971"),
        ({"gemstones_and_settings": "a 3 carat diamond"}, {}, "holds a number: 3 carat"),
        ({"craftsmanship": "by Carlo Giuliano"}, {"maker": "Carlo Giuliano"}, "names the maker"),
        ({"uncertain": ["the stone"]}, {}, "uncertain: the stone"),
        ({}, {"materials": ["jet", "horn"]}, "no material as in the catalogue"),
        (
            {
                "object_type": "Diadem",
                "materials": ["золото"],
                "craftsmanship": "ажурная работа тонкой чеканки",
                "gemstones_and_settings": "жемчуг круглый белый",
                "style_and_history": "",
                "condition": "",
            },
            {},
            "perhaps not English",
        ),
        (
            {
                "craftsmanship": "",
                "gemstones_and_settings": "",
                "style_and_history": "",
                "condition": "",
                "materials": [],
            },
            {},
            "says little",
        ),
    ],
)
def test_what_a_person_should_look_at_is_flagged(
    change: dict[str, Any], row: dict[str, Any], flag: str
) -> None:
    assert flags({}) == [] and flag in flags(row, **change)


def test_an_unknown_maker_and_a_fitting_material_are_no_fault() -> None:
    assert flags({"maker": "Unknown", "materials": ["Diamond", "Gold"]}) == []
    assert agreement(["white metal"], ["silver"]) == 0.0 and agreement(["x"], []) is None


def test_only_captions_shared_by_different_objects_are_flagged() -> None:
    rows = [{"caption": "a", "system_number": n, "flags": []} for n in ("O1", "O1")]
    rows += [{"caption": "b", "system_number": n, "flags": []} for n in ("O2", "O3")]
    flag_repeats(rows)
    assert [bool(row["flags"]) for row in rows] == [False, False, True, True]


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


@pytest.mark.parametrize(
    ("size", "detail", "model", "tokens"),
    [
        ((1024, 1024), "high", "gpt-4.1-2025-04-14", 765),
        ((1024, 768), "high", "gpt-4.1", 765),
        ((512, 512), "high", "gpt-4.1", 255),
        ((4000, 400), "high", "gpt-4.1", 765),
        ((1024, 1024), "low", "gpt-4.1", 85),
        ((1024, 1024), "high", "gpt-4.1-mini", 1659),
    ],
)
def test_a_picture_s_tokens(size: tuple[int, int], detail: str, model: str, tokens: int) -> None:
    assert picture_tokens(*size, detail, model) == tokens


def test_a_thousand_pictures_cost_about_four_dollars() -> None:
    table = CaptionTable()
    each = question_tokens("x" * 900, 2500, 1875, table)
    assert 3.5 < 1000 * prices_of(table).of(each, 220) < 5.0
    assert prices_of(table) == Prices(2.0, 8.0)


def test_a_price_that_is_not_known_must_be_stated() -> None:
    with pytest.raises(BadRecipe, match="dollars_in"):
        prices_of(CaptionTable(model="gpt-9"))
    stated = CaptionTable(model="gpt-9", dollars_in=1, dollars_out=2)
    assert prices_of(stated) == Prices(1, 2)
    assert prices_of(CaptionTable(model="x", address="http://127.0.0.1/v1")) == Prices(0, 0)


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


@given(some.lists(some.tuples(some.integers(0, 5000), some.integers(0, 600)), max_size=30))
def test_a_purse_is_never_overdrawn(calls: list[tuple[int, int]]) -> None:
    purse = SpendingLimit(Prices(2.0, 8.0), limit=0.02)
    for into, out in calls:
        held = purse.hold(into, out)
        if held is not None:
            purse.pay(held, into, out)
    assert purse.spent <= 0.02 and abs(purse.held) < 1e-9


def rows_of(number: int, flagged: int) -> list[dict[str, Any]]:
    """Captions of which the last are flagged."""
    return [
        {"file_name": f"{n}.jpg", "flags": ["says little"] if n >= number - flagged else []}
        for n in range(number)
    ]


def test_a_review_takes_flagged_captions_and_a_draw_of_the_others() -> None:
    table = CaptionTable(review_share=0.05, review_least=20)
    chosen = drawn(rows_of(1000, 40), table)
    assert len(chosen) == 50 and sum(bool(row["flags"]) for row in chosen) >= 25
    assert chosen == drawn(rows_of(1000, 40), table)
    assert len(drawn(rows_of(1000, 0), table)) == 50 and len(drawn(rows_of(7, 7), table)) == 7


def test_help_comes_without_a_model_library() -> None:
    import subprocess
    import sys

    code = "import sys, training.caption; print({'torch', 'transformers'} & set(sys.modules))"
    ended = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"

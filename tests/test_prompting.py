"""Telling instruction and beginning apart, and the prompt that is made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plan.cards import Template
from engine.plan.prompt import BEGINNING_LINE, INSTRUCTION, assemble, split

TEMPLATE = Template().text
OPENING = "They sat alone in the darkened room as rain hammered against the old windowpanes."


def test_the_reports_request_gives_the_reports_prompt() -> None:
    wish = "I want a short mystery story in the style of lovecraft."
    prompt, head = assemble(TEMPLATE, f"{wish}\nHere is the beginning:\n\n{OPENING}")
    assert prompt == f"{INSTRUCTION}\n\n{wish}\n{BEGINNING_LINE}\n\n{OPENING}"
    assert prompt[head:] == OPENING


@pytest.mark.parametrize(
    "text",
    [
        f"in the style of lovecraft: {OPENING}",
        f"I want a story in the style of lovecraft.\n\n{OPENING}",
        f"a story in the style of lovecraft:\n\n{OPENING}",
    ],
)
def test_free_forms_of_one_wish_give_one_prompt(text: str) -> None:
    prompt, _ = assemble(TEMPLATE, text)
    assert prompt == (
        f"{INSTRUCTION}\n\nI want a story in the style of lovecraft.\n{BEGINNING_LINE}\n\n{OPENING}"
    )


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("in the style of H. P. Lovecraft: They sat.", "They sat."),
        ("in the style of H.P. Lovecraft - They sat.", "They sat."),
        ("I want a story. In the style of lovecraft: They sat.", "They sat."),
        ("I want a story in the style of lovecraft. Here is the beginning: They sat.", "They sat."),
        ("I want a story.\nHere's the start of it:\nThey sat.", "They sat."),
        ("A story, please.\nBeginning: They sat.", "They sat."),
        ("I want a story about rain.\nThey sat.", "They sat."),
        (
            "in the style of lovecraft: They sat.\nThe beginning: none.",
            "They sat.\nThe beginning: none.",
        ),
        ("a short ghost story: They sat.", "They sat."),
        ("Write me a mystery: They sat.", "They sat."),
    ],
)
def test_many_ways_of_marking_the_beginning_are_understood(text: str, beginning: str) -> None:
    assert split(text).beginning == beginning


@pytest.mark.parametrize(
    "text",
    [
        "The scene was grim: a body lay on the floor.",
        "The last chapter: she closed the book.",
        "It was a mystery: nobody knew.",
        "He read the report: all were dead.",
        "Chapter 1: The storm",
        "Give me the knife: I will do it.",
        "Tell me, he said: where is it?",
        "I want the vicar dead, she said: now.",
        "Make haste, said the vicar.\n\nThe detective ran.",
        "Write to me, she said.\n\nHe never did.",
        "Can you hear it?\n\nHe could.",
        "It rained.\nThe opening: a hole in the wall.",
        "She dressed in the style of her mother: plain and grey.",
        "It was told in the style of a sermon: dry.",
    ],
)
def test_story_text_is_not_taken_for_an_instruction(text: str) -> None:
    assert not split(text).marked
    assert assemble(TEMPLATE, text)[0] == f"{INSTRUCTION}\n\n{text}"


def test_a_bare_opening_is_continued_as_it_stands() -> None:
    assert assemble(TEMPLATE, OPENING) == (f"{INSTRUCTION}\n\n{OPENING}", len(INSTRUCTION) + 2)


def test_a_colon_inside_the_story_does_not_split_it() -> None:
    assert not split("They sat alone. It was late: the rain hammered.").marked
    assert not split("The note read: come at once.").marked


def test_continue_goes_on_from_the_text_that_is_there() -> None:
    prompt, head = assemble(TEMPLATE, "a ghost story: It rained.", "It rained. It still rained.")
    assert prompt[head:] == "It rained. It still rained."
    assert "I want a ghost story." in prompt[:head]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("storms batter the coast", "Storms batter the coast\n\n"),
        (
            "Police said on Monday that nobody was hurt.",
            "Police said on Monday that nobody was hurt.",
        ),
        ("a report about storms: Police said so.", "A report about storms\n\nPolice said so."),
    ],
)
def test_a_headline_template_tells_a_topic_from_an_opening(text: str, prompt: str) -> None:
    assert assemble("{topic}{beginning}", text)[0] == prompt


@given(st.text(max_size=300))
def test_braces_and_templates_in_the_text_are_only_text(text: str) -> None:
    prompt, head = assemble(TEMPLATE, f"a story: {{request}} {{0}} {text}".strip())
    assert "{request} {0}" in prompt[head:]
    assert prompt.startswith(INSTRUCTION)


@given(st.text(max_size=300))
def test_the_parts_are_pieces_of_the_text(text: str) -> None:
    parts = split(text)
    assert parts.instruction in text
    assert parts.beginning in text


@pytest.mark.parametrize(
    "bad", ["{request}", "{beginning} after", "{beginning}{beginning}", "{x}{beginning}"]
)
def test_a_template_that_cannot_be_filled_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"must hold|may hold"):
        Template(text=bad)

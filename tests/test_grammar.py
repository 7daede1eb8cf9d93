"""The one text grammar."""

import time
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.messages.grammar import Again, Command, Compare, Continue, Generate, Options, Simple, parse
from bot.messages.normalise import MAX_TEXT, clean
from bot.messages.options import typed
from engine.errors import AskerError, CommandError, LimitError

COMMANDS = ("story", "news", "jewel")
integers = st.none() | st.integers(-(10**9), 10**10 - 1)
words = st.text(min_size=1, max_size=40).map(clean)
styles = words.filter(lambda s: s and '"' not in s and "\n" not in s and not s.startswith("--"))
sides = st.integers(0, 99_999)
options = st.builds(
    Options,
    style=st.none() | styles,
    length=integers,
    seed=integers,
    size=st.none() | st.tuples(sides, sides),
    count=integers,
    negative=st.none()
    | words.map(lambda s: " ".join(s.replace('"', "").split())).filter(
        lambda s: bool(s) and not s.startswith("--")
    ),
    scale=st.none() | st.integers(0, 999_999).map(lambda n: n / 1000),
    private=st.booleans(),
)
tricky = st.lists(
    st.sampled_from(
        [
            "--style",
            "--length",
            "7",
            "--",
            "—seed",
            "=",
            '"',
            "/story",
            "agatha",
            "\n",
            ":",
            "—No!",
            "--private",
            "--x",
        ]
    ),
    min_size=1,
    max_size=8,
).map(lambda parts: clean(" ".join(parts)))
texts = (st.text(min_size=1, max_size=300).map(clean) | tricky).filter(bool)
commands: st.SearchStrategy[Command] = (
    st.builds(Generate, command=st.sampled_from(COMMANDS), text=texts, options=options)
    | st.builds(Again, options=options)
    | st.builds(Continue, text=st.just("") | texts, options=options)
    | st.builds(Simple, name=st.sampled_from(["styles", "why", "cancel", "queue"]))
    | st.builds(Simple, name=st.just("help"), topic=st.sampled_from(["", *COMMANDS, "again"]))
)


def render(command: Command) -> str:
    """As the clients write it."""
    match command:
        case Simple(name=name, topic=topic):
            return f"/{name} {topic}".rstrip()
        case Compare(command=name, text=text):
            return typed("compare", f"/{name} {text}", verbatim=True, **asdict(command.options))
        case Generate(command=name, text=text) as asked:
            return typed(name, text, verbatim=True, **asdict(asked.options))
        case Continue(text=text) as asked:
            return typed("continue", text, verbatim=True, **asdict(asked.options))
        case Again(options=given):
            return typed("again", **asdict(given))


@settings(max_examples=400, deadline=None)
@given(commands)
def test_a_rendered_command_parses_back_to_itself(command: Command) -> None:
    assert parse(render(command), COMMANDS) == command


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=400) | st.text(alphabet='/-—=" \n:@aesylthngd7', max_size=60))
def test_only_the_askers_errors_escape_whatever_is_typed(text: str) -> None:
    try:
        command = parse(text, COMMANDS)
    except AskerError as error:
        assert str(error).endswith((".", "?", '"')), "a sentence for a person"
    else:
        assert parse(render(command), COMMANDS) == command


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_the_reports_own_request_is_a_story() -> None:
    text = "I want a short mystery story in the style of lovecraft.\nHere is the beginning:\n\nThey sat."
    assert parse(text) == Generate(command="story", text=text)


@pytest.mark.parametrize(
    "typed",
    [
        "/story --style agatha --length 80 The vicar coughed.",
        "/story --length=80 --style=agatha The vicar coughed.",
        "/story The vicar coughed. --style agatha --length 80",
        "/story —style agatha —length 80 The vicar coughed.",
        '/STORY@PasticheBot --style "agatha" --length 80 -- The vicar coughed.',
        "--style agatha --length 80 The vicar coughed.",
    ],
)
def test_options_may_stand_before_or_after_the_text(typed: str) -> None:
    expected = Options(style="agatha", length=80)
    assert parse(typed) == Generate(command="story", text="The vicar coughed.", options=expected)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "write something"),
        (" \n\t ", "write something"),
        ("/", "do not know"),
        ("/stroy x", "/story"),
        ("/story", "say what you would like"),
        ("/story --stlye agatha x", "--style"),
        ("/story It rained. --lenght 5", "--length"),
        ("/story --length many x", "whole number"),
        ("/story --length 99999999999 x", "whole number"),
        ("/story --style", "needs a value"),
        ("/story --seed 1 --seed 2 x", "twice"),
        ("/why because", "nothing after it"),
        ("/again and again", "repeats your last request"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(typed: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        parse(typed)


def test_control_and_bidirectional_characters_are_dropped() -> None:
    assert parse("It \u202erained\x00\u200b.\r\nSo.") == Generate(
        command="story", text="It rained.\nSo."
    )


def test_ten_megabytes_are_refused_in_under_fifty_milliseconds() -> None:
    huge = "x" * 10_000_000
    began = time.thread_time()
    with pytest.raises(LimitError, match=f"{MAX_TEXT:,}"):
        parse(huge)
    assert time.thread_time() - began < 0.05  # the bound that is promised, with much to spare


@pytest.mark.parametrize(
    "text", ["/story --private It rained.", "/story It rained. --private", "It rained. —private"]
)
def test_private_stands_anywhere_and_takes_no_value(text: str) -> None:
    assert parse(text) == Generate(
        command="story", text="It rained.", options=Options(private=True)
    )


def test_a_report_keeps_its_words_and_start_ignores_its_own() -> None:
    assert parse("/report it names\nmy neighbour") == Simple(
        name="report", topic="it names my neighbour"
    )
    assert parse("/start@PasticheBot from-a-link").name == "start"
    with pytest.raises(LimitError, match="brief"):
        parse("/report " + "x" * 600)
    with pytest.raises(CommandError, match="just /forget"):
        parse("/forget me")

"""What a model writes cannot ping, link or command anybody."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.messages.escape import ZERO_WIDTH, defang, discord_text, quoting
from bot.service.request import Reply

PIECES = st.sampled_from(
    ["@", "everyone", "here", "<", ">", "!", "&", "1234", "https", "http:", ":", "//", "/", ".", "com",
     "discord.gg", "t.me", "a", " ", "\n", "#", "www", "\u200b", "\u202e", "tg:", "\\", "*", "`"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)
LIVE = [
    re.compile(r"@\w"),
    re.compile(r"<[@#]"),
    re.compile(r"[a-z]+://", re.IGNORECASE),
    re.compile(r"(?:discord\.gg|\bt\.me|\w\.com)(?![\w-])", re.IGNORECASE),
]


@given(TEXTS)
def test_nothing_in_it_stays_live(text: str) -> None:
    safe = defang(text)
    assert not [live.pattern for live in LIVE if live.search(safe)]


@given(TEXTS)
def test_twice_is_the_same_as_once(text: str) -> None:
    assert defang(defang(text)) == defang(text)


@pytest.mark.parametrize(
    "text",
    [
        "He paid £2.50 at 4.15 p.m. and left.",
        "“Who is there?” asked Mr. Smith (the vicar).",
        "It rained...nobody came. Then, at last, she spoke: no.",
        "and/or, 24/7, e.g. this, i.e. that",
    ],
)
def test_plain_prose_is_left_alone(text: str) -> None:
    assert defang(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("join discord.gg/abc", "join discord[.]gg/abc"),
        ("www.example.co.uk", "www[.]example[.]co[.]uk"),
        ("http://127.0.0.1:80/x", "http[:]//127[.]0[.]0[.]1:80/x"),
        ("javascript:alert(1)", "javascript[:]alert(1)"),
        ("@here", f"@{ZERO_WIDTH}here"),
        ("<@&123>", f"<{ZERO_WIDTH}@{ZERO_WIDTH}&123>"),
        ("/start now", f"/{ZERO_WIDTH}start now"),
        ("mail a@example.com", f"mail a@{ZERO_WIDTH}example[.]com"),
        ("_http://evil.example/a", f"_http[:]//evil.{ZERO_WIDTH}example/a"),
        ("1http:\\\\evil.pl", "1http[:]\\\\evil[.]pl"),
        ("_mailto:a", "_mailto[:]a"),
        ("evil.pw evil.store сайт.рф", "evil[.]pw evil[.]store сайт[.]рф"),
        ("evil.photography", f"evil.{ZERO_WIDTH}photography"),
        ("t\u034f.me/x", "t[.]me/x"),
    ],
)
def test_what_would_be_live_is_shown_but_dead(text: str, safe: str) -> None:
    assert defang(text) == safe


@given(TEXTS)
def test_discord_marks_are_escaped_and_the_letters_stay(text: str) -> None:
    escaped = discord_text(text)
    assert re.sub(r"\\(.)", r"\1", escaped) == text
    assert not re.search(r"[*_~`|\[]", re.sub(r"\\.", "", escaped))


def test_what_the_bot_quotes_is_dead_and_its_own_commands_are_not() -> None:
    said = "I have no style “[x](https://evil.pl) @user t.me/x”. Send /styles."
    dead = f"“[x](https[:]//evil[.]pl) @{ZERO_WIDTH}user t[.]me/x”"
    assert quoting(said) == f"I have no style {dead}. Send /styles."
    assert Reply(said).text == Reply(Reply(said).text).text == quoting(said)

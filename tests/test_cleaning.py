"""What passes from people and models, and what does not."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.messages.normalise import clean, shows
from bot.service.request import Who
from engine.characters import MAX_MARKS, visible, well_formed

# Format characters that are seen, or hold something together where they stand.
SEEN_FORMATS = {
    0x0600, 0x0601, 0x0602, 0x0603, 0x0604, 0x0605, 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD,
    0x110CD, *range(0x13430, 0x13440), 0x200C, 0x200D, *range(0xE0020, 0xE0080),
}  # fmt: skip
ODD = "ae\u0301\u212a\u200b\u200c\u200d\ufe0f\u0645\U0001f469\U0001f3f4\U000e0067\U000e007f \n\r"


def test_no_control_and_no_unseen_format_passes() -> None:
    passed = [
        n
        for n in range(sys.maxunicode + 1)
        if unicodedata.category(chr(n)) in ("Cc", "Cf", "Cs", "Co")
        and visible(f"x{chr(n)}y") != "xy"
    ]
    assert set(passed) <= SEEN_FORMATS | {9, 10, 13}


@pytest.mark.parametrize(
    "text",
    [
        "\U0001fa77 \U0001fae8 \U0001fae9",  # newer than the interpreter's tables
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with its joiner
        "\u0915\u094d\u200d\u0937",  # Devanagari
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "\u2764\ufe0f 1\ufe0f\u20e3 \U0001f3f3\ufe0f\u200d\U0001f308",
        "\u845b\U000e0100\u98fe",  # a form of an ideograph
        "cafe\u0301 na\u00efve “\u2014”",
    ],
)
def test_letters_flags_and_emoji_stay_whole(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)
    assert shows(text)


@pytest.mark.parametrize(
    "sign", ["\u034f", "\ufe0f", "\u200d", "\u200c", "\u00ad", "\U000e0062", "\x07"]
)
def test_nothing_unseen_stays_within_a_word(sign: str) -> None:
    assert clean(f"bo{sign}mb") == "bomb"


def test_marks_on_one_letter_are_bounded() -> None:
    assert len(visible("a" + "\u0301" * 500 + "\u200b" + "\u0489" * 500)) == 1 + MAX_MARKS


@given(st.text(st.sampled_from(ODD) | st.characters(), max_size=40))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_half_a_pair_is_replaced_whatever_door_it_came_through() -> None:
    assert well_formed("caf\udce9 \ud83d") == "caf\ufffd \ufffd"
    typed = Who(platform="telegram", asker="1", place="1", typed="\ud83d").typed
    assert typed.encode() == "\ufffd".encode()

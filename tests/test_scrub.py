"""What names a person goes out of a text, whatever stands around it."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.study.disclosure.scrub import KINDS, find, replaced, suspects

EXAMPLES = {
    "jane#1234": "handle",
    "@jane_doe": "handle",
    "@jane@mastodon.social": "email",
    "<@123456789012345678>": "mention",
    "<@!123456789012345678>": "mention",
    "<#123456789012345678>": "mention",
    "<:smile:123456789012345678>": "mention",
    "@everyone": "mention",
    "123456789012345678": "id",
    "-1001234567890": "id",
    "chat id: 99887766": "id",
    "discord.gg/aBcDeF": "invite",
    "https://discord.com/invite/aBcDeF": "invite",
    "https://t.me/joinchat/AbCdEf": "link",
    "t.me/durov": "link",
    "tg://user?id=12345": "link",
    "https://discord.com/channels/1234/5678/9012": "link",
    "https://jane:secret@example.org/x": "link",
    "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs": "token",
    "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw": "token",
    "sk-abcdefghijklmnopqrstuvwxyz012345": "token",
    "https://discord.com/api/webhooks/123456789012/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO": "webhook",
    "jane.doe+x@mail.example.co.uk": "email",
    "DE89 3704 0044 0532 0130 00": "iban",
    "GB82WEST12345698765432": "iban",
    "4539 1488 0343 6467": "card",
    "+39 06 1234 5678": "phone",
    "(020) 7946 0123": "phone",
    "192.168.10.1": "ip",
    "2001:db8::8a2e:370:7334": "ip",
}
HARMLESS = (
    "In 1890-1937 he wrote 104 stories; on 2026-11-22 at 12:30:45 the 3rd was read.",
    "It cost $1,234,567.89, or 3.14159265 times more. See chapters 10-12, pp. 100-104.",
    "ISBN 978-3-16-148410-0. The museum has no. M.12:1 to 3-1911.",
    "Call me Ishmael: some years ago -- never mind how long precisely.",
)


@pytest.mark.parametrize(("text", "kind"), EXAMPLES.items())
def test_each_is_found_whole_and_by_its_kind(text: str, kind: str) -> None:
    assert replaced(f"Ask {text} now", find(f"Ask {text} now")) == f"Ask [{kind}] now"


@pytest.mark.parametrize("text", HARMLESS)
def test_dates_years_prices_and_numbers_of_books_stay(text: str) -> None:
    assert replaced(text, find(text)) == text


def test_every_kind_has_an_example() -> None:
    assert set(KINDS) == set(EXAMPLES.values())


@given(st.text(max_size=60), st.sampled_from(sorted(EXAMPLES)), st.text(max_size=60))
def test_what_stands_around_it_hides_nothing(before: str, planted: str, after: str) -> None:
    text = f"{before}\n{planted}\n{after}"
    assert planted not in replaced(text, find(text))


@given(st.text(alphabet="a1@.#<>:/-+ ()\n", max_size=200))
def test_finds_are_in_order_and_apart(text: str) -> None:
    found = find(text)
    assert all(one.start < one.end for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@example(["(020) 7946 0123", "123456789012345678", "(020) 7946 0123", "(020) 7946 0123"])
@given(st.lists(st.sampled_from(sorted(EXAMPLES)), max_size=6))
def test_nothing_hides_beside_something_else(planted: list[str]) -> None:
    once = replaced(" ".join(planted), find(" ".join(planted)))
    assert not [one for one in planted if one in once]
    assert replaced(once, find(once)) == once


@pytest.mark.parametrize(
    "text",
    [
        "(020) 7946 0123",
        "+44 (20) 7946-0123",
        "0044 20 7946 0123",
        "+390612345678",
        "06 1234 56789",
    ],
)
def test_a_telephone_number_is_found_however_it_is_parted(text: str) -> None:
    assert replaced(f"Ring {text} now", find(f"Ring {text} now")) == "Ring [phone] now"


@pytest.mark.parametrize(
    "text", ["12 4539 1488 0343 6467 7", "GB82 WEST 1234 5698 7654 32 then", "4 192.168.10.1."]
)
def test_a_number_beside_it_does_not_hide_it(text: str) -> None:
    assert not set(replaced(text, find(text)).split()) & {"1488", "5698", "192.168.10.1."}


def test_what_may_be_a_name_is_listed_and_not_taken() -> None:
    text = "Yesterday I met Anna Rossi. My name is Giulia."
    assert [text[one.start : one.end] for one in suspects(text)] == ["Anna Rossi", "Giulia"]
    assert find(text) == []

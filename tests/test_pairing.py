"""How two blinded answers stand in one message."""

import io

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.study.blinding import LIMITS, fitted, scrubbed, side_by_side
from engine.events import Picture

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6000)


@given(TEXTS, TEXTS, st.sampled_from(["discord", "telegram", "terminal"]))
def test_two_texts_fit_one_message_and_are_cut_alike(one, two, platform) -> None:
    whole, visible = fitted("Which?", one, two, ("A", "B"), "AI-generated", platform)
    limit, measure = LIMITS.get(platform, (10**6, len))
    assert measure(whole) <= limit
    most = max(visible["shown"])
    assert all(n <= most for n in visible["shown"]) and visible["characters"] == [
        len(one),
        len(two),
    ]
    assert visible["trimmed"] == (visible["shown"] != visible["characters"])


def test_both_are_cut_to_the_same_length_where_only_one_is_long() -> None:
    _, visible = fitted("?", "word " * 2000, "short", ("A", "B"), "AI", "discord")
    assert visible["shown"][1] == 5 and 1800 < visible["shown"][0] < 2000
    _, visible = fitted("?", "word " * 2000, "thing " * 900, ("A", "B"), "AI", "telegram")
    assert abs(visible["shown"][0] - visible["shown"][1]) < 8


def test_a_model_that_names_itself_is_scrubbed_and_the_vote_flagged() -> None:
    names = ("H. P. Lovecraft", "Agatha Christie", "a news report")
    assert scrubbed("As H.P. Lovecraft wrote", names) == ("As […] wrote", True)
    assert scrubbed("As an AI language model I cannot", names)[1]
    assert scrubbed("Agatha looked at the love craft.", names) == (
        "Agatha looked at the love craft.", False,
    )  # fmt: skip


def test_pictures_of_different_height_stand_on_one_ground() -> None:
    def picture(size: tuple[int, int], colour: str) -> Picture:
        file = io.BytesIO()
        Image.new("RGB", size, colour).save(file, "PNG")
        return Picture(data=file.getvalue(), width=size[0], height=size[1], seed=1)

    both = side_by_side(picture((64, 64), "red"), picture((32, 96), "blue"), "x")
    with Image.open(io.BytesIO(both.data)) as image:
        assert image.size == (112, 96)
        assert (image.getpixel((0, 0)), image.getpixel((111, 0))) == ((255, 0, 0), (0, 0, 255))

"""Pictures from the request to the record: orders, files, rows. No model: the echo backend draws."""

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.messages.grammar import Generate, parse
from bot.messages.options import Options
from engine.backends.echo import EchoBackend
from engine.backends.png import PREVIEW_BYTES, SOURCE_TYPE, png_of, preview_of
from engine.engine import LocalEngine
from engine.errors import CommandError, LedgerError, LimitError
from engine.events import Finished
from engine.events import Image as Step
from engine.ledger.ledger import new_id
from engine.media.store import PictureStore
from engine.plan.picture import Drawing, caption, order, unknown_words
from engine.plan.router import route
from engine.queues.embedded import EmbeddedQueue
from engine.vault import Vault

CARD = Drawing(prompt="a photo antique TOK jewellery, {request}", token="TOK")
ASKED = "a gold ring set with an emerald, canary 4711"


@pytest.fixture
def engine(registry, ledger) -> LocalEngine:
    queue = EmbeddedQueue(ledger, max_waiting=9)
    return LocalEngine(registry, ledger, queue, max_length=1200)


@pytest.fixture
def drawn(registry, ledger, engine, make_request):
    """A picture job, accepted, and its final event from the echo backend."""

    async def draw(**asked: object) -> tuple[str, list]:
        request = make_request(ASKED, command="jewel", **asked)
        chosen = route("jewel", request.text, None, registry)
        job = engine.plan(request, new_id()).job
        await ledger.accept(request, chosen, job)
        events = [event async for event in EchoBackend().generate(job, threading.Event())]
        return job.id, events

    return draw


def test_picture_options_are_read_in_any_place() -> None:
    told = parse(
        '/jewel --size 96x128 --count 3 a ring --negative "a hand" --scale 0.5', ("jewel",)
    )
    assert told == Generate(
        command="jewel",
        text="a ring",
        options=Options(size=(96, 128), count=3, negative="a hand", scale=0.5),
    )


@pytest.mark.parametrize(
    "wrong", ["--size big", "--size 9x", "--scale -1", "--scale x", "--count 1.5"]
)
def test_a_wrong_value_is_told_with_an_example(wrong: str) -> None:
    name = wrong.split()[0]
    with pytest.raises(CommandError, match=name):
        parse(f"/jewel {wrong} a ring", ("jewel",))


@given(st.text(max_size=80), st.integers(0, 4))
def test_the_token_stands_in_the_prompt_once(words: str, times: int) -> None:
    asked = " ".join([words.replace("TOK", ""), *["TOK"] * times])
    assert caption(CARD, asked).split().count("TOK") == 1


@pytest.mark.parametrize(
    "asked",
    [{"size": (100, 128)}, {"size": (64, 4096)}, {"count": 0}, {"count": 5}, {"scale": 2.5},
     {"negative": "x" * 501}],
)  # fmt: skip
def test_an_order_out_of_bounds_is_refused(asked: dict) -> None:
    with pytest.raises(LimitError):
        order(CARD, **asked)


def test_a_small_base_says_which_words_it_does_not_know() -> None:
    card = Drawing(prompt="TOK {request}", token="TOK", words=("a", "ring", "of", "gold"))
    assert unknown_words(card, "A ring of platinum, TOK, of gold, platinum") == ("platinum",)
    assert unknown_words(CARD, "anything at all") == ()


def test_options_of_texts_and_of_pictures_are_kept_apart(engine, registry, make_request) -> None:
    with pytest.raises(CommandError, match="--length"):
        request = make_request(ASKED, command="jewel", length=100)
        engine.plan(request, new_id())
    with pytest.raises(CommandError, match="--size"):
        request = make_request("It rained.", size=(128, 128))
        engine.plan(request, new_id())


def test_an_unknown_style_is_part_of_a_picture_and_not_refused(registry) -> None:
    assert route("jewel", "a brooch in the style of art deco", None, registry).expert == "jewel"


def test_a_png_says_what_made_it_and_not_what_was_asked() -> None:
    png = png_of(Image.new("RGB", (64, 64), "gold"), "01ABC-1")
    text = Image.open(io.BytesIO(png)).text
    assert SOURCE_TYPE in text["XML:com.adobe.xmp"] and "01ABC-1" in text["XML:com.adobe.xmp"]
    assert set(text) == {"XML:com.adobe.xmp", "Software"}


def test_a_preview_fits_into_one_event() -> None:
    noise = Image.effect_noise((1024, 1024), 120).convert("RGB")
    assert len(preview_of(noise)) <= 2 * PREVIEW_BYTES
    assert len(preview_of(Image.new("RGB", (1024, 1024), "teal"))) <= PREVIEW_BYTES


async def test_pictures_come_back_from_the_record_as_they_were_drawn(ledger, drawn) -> None:
    job, events = await drawn(count=2, seed=7, size=(64, 128))
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 4]
    assert await ledger.finish(events[-1])
    final = await ledger.final(job)
    assert isinstance(final, Finished) and final.pictures == events[-1].pictures
    assert [(p.seed, p.width, p.height) for p in final.pictures] == [(7, 64, 128), (8, 64, 128)]
    answer = await ledger.answer(job)
    assert answer is not None and answer.pictures == 2 and answer.request.size == (64, 128)
    assert answer.job.order is not None and answer.job.order.count == 2


async def test_no_word_of_the_request_lies_open_beside_its_picture(ledger, settings, drawn) -> None:
    _job, events = await drawn(negative="canary 4712")
    await ledger.finish(events[-1])
    raw = b"".join(p.read_bytes() for p in settings.home.rglob("*") if p.is_file())
    assert b"canary" not in raw
    assert b"PNG" not in raw  # the pictures are sealed, too


async def test_a_picture_without_a_row_is_swept_and_others_are_kept(ledger, drawn) -> None:
    job, events = await drawn()
    await ledger.finish(events[-1])
    ledger.media.put(b"left by a kill between file and commit")
    assert await ledger.sweep() == 1
    assert len((await ledger.final(job)).pictures) == 1


async def test_a_picture_whose_bytes_are_gone_is_left_out(ledger, settings, drawn) -> None:
    job, events = await drawn()
    await ledger.finish(events[-1])
    for path in (settings.home / "media").rglob("*"):
        if path.is_file():
            path.unlink()
    assert (await ledger.final(job)).pictures == ()


def test_the_same_bytes_are_kept_once_and_open_only_with_their_key(tmp_path) -> None:
    store = PictureStore(tmp_path, Vault(b"k" * 32))
    assert store.put(b"a picture") == store.put(b"a picture")
    (name,) = store.names()
    assert store.get(name) == b"a picture"
    with pytest.raises(LedgerError):
        PictureStore(tmp_path, Vault(b"q" * 32)).get(name)
    store.delete(name)
    store.delete(name)
    assert store.get(name) is None

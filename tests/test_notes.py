"""What a story keeps in mind: notes on an answer, the synopsis, and how much of both a window holds."""

import asyncio
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
import talking
from talking import pressed, told
from tiny_models import make_tokenizer

from bot.messages.buttons import Press, Verb
from bot.messages.normalise import MAX_TEXT
from bot.service.moderation import RefusedError
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.backends.prompt_window import prompt_ids
from engine.chat.retention import KEEP_SECONDS
from engine.errors import AskerError
from engine.files import BUILT_IN
from engine.plan.cards import Registry
from engine.plan.job import Answer, Job, Request
from engine.plan.memory import LONGEST, MOST_NOTES, condensed
from engine.plan.plan import make_plan

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
in_chat = pytest.mark.asyncio(loop_scope="module")
on_both = pytest.mark.databases("sqlite", "postgres")
numbers = count(1)
SISTER = "Mrs Lane is the sister"


@pytest.fixture
def who() -> Who:
    """Somebody new, in a group that nobody else is in."""
    number = next(numbers)
    return Who(platform="discord", asker=f"noter {number}", place=f"hall {number}", address="there")


@pytest_asyncio.fixture(loop_scope="module")
async def first(talk: ChatService, who: Who) -> str:
    return (await told(talk, "The vicar coughed.", who))[-1].job


async def _answer(talk: ChatService, job: str) -> Answer:
    found = await talk.context.engine.answer(job)
    assert found is not None
    return found


async def _listed(talk: ChatService, who: Who) -> Reply:
    [said] = await told(talk, "/story notes", who)
    assert isinstance(said, Reply)
    return said


# In a chat


@in_chat
@on_both
async def test_a_note_stands_before_the_beginning_of_all_that_goes_on(talk, who, first) -> None:
    [said] = await told(talk, f"/note {SISTER}", who)
    assert said.text.startswith("Noted.")
    on = await _answer(talk, (await told(talk, "/continue", who))[-1].job)
    further = await _answer(talk, (await told(talk, "/continue", who))[-1].job)
    anew = await _answer(talk, (await told(talk, "/again", who))[-1].job)
    for answer in (on, further, anew):
        job = answer.job
        assert job.prompt[job.head :].startswith(f"{SISTER}\n\nThe vicar coughed.")
        assert job.beginning.startswith("The vicar coughed.")


@in_chat
async def test_a_note_belongs_to_its_branch_and_leaves_the_others_byte_equal(
    talk, who, first
) -> None:
    on = (await pressed(talk, Press(Verb.CONTINUE, first), who))[-1].job
    other = (await pressed(talk, Press(Verb.AGAIN, first), who))[-1].job
    before = [await _answer(talk, job) for job in (first, other)]
    await told(talk, f"/note {SISTER}", replace(who, reply_to=on))
    assert [await _answer(talk, job) for job in (first, other)] == before
    for job, noted in ((on, True), (other, False), (first, False)):
        made = (await told(talk, "/again", replace(who, reply_to=job)))[-1].job
        assert (SISTER in (await _answer(talk, made)).job.prompt) is noted


@in_chat
async def test_notes_are_shown_with_the_synopsis_and_taken_back_one_by_one(
    talk, who, first
) -> None:
    assert "/note" in (await _listed(talk, who)).text
    for fact in ("It is red.", SISTER, "It is red."):
        await told(talk, f"/note {fact}", who)
    shown = await _listed(talk, who)
    assert shown.text.splitlines()[1:] == [f"1. {SISTER}", "2. It is red."]
    assert (await told(talk, "/note", who))[0].text == shown.text
    [[one, _]] = shown.rows
    assert SISTER not in one.data
    [left] = await pressed(talk, one.press, who)
    assert left.replaces and left.text.splitlines()[1:] == ["1. It is red."]
    [again] = await pressed(talk, one.press, who)  # of a list from before
    assert again.text == left.text


@in_chat
async def test_only_who_asked_for_an_answer_may_note_on_it_see_its_notes_or_take_them_back(
    talk, who, first
) -> None:
    await told(talk, f"/note {SISTER}", who)
    [[button]] = (await _listed(talk, who)).rows
    other = replace(who, asker="another", manager=True, reply_to=first)
    for line in ("/note He did it.", "/note", "/story notes"):
        with pytest.raises(AskerError, match="Only the person who asked"):
            await told(talk, line, other)
    with pytest.raises(AskerError, match="Only the person who asked"):
        await talk.press(button.press, other)
    assert (await _answer(talk, first)).request.notes == (SISTER,)
    # whoever goes on from it has a story of their own, and is shown nobody's notes
    theirs = (await told(talk, "/continue", other))[-1].job
    await told(talk, "/note He did it.", replace(other, reply_to=None))
    assert (await _answer(talk, theirs)).request.notes == ("He did it.",)
    assert (await _answer(talk, first)).request.notes == (SISTER,)


@in_chat
async def test_two_hundred_notes_end_in_one_clear_line_and_lose_none(talk, who, first) -> None:
    refused = 0
    for number in range(200):
        try:
            await told(talk, f"/note The door has number {number}.", who)
        except AskerError as error:
            refused += 1
            assert "/story notes" in str(error)
    assert refused == 200 - MOST_NOTES
    assert all(len(row) <= 5 for row in (await _listed(talk, who)).rows)
    assert len((await _answer(talk, first)).request.notes) == MOST_NOTES
    with pytest.raises(AskerError, match="at most 500"):
        await told(talk, "/note " + "long " * 120, who)


@in_chat
@on_both
async def test_notes_written_at_the_same_moment_are_all_kept(talk, who, first) -> None:
    answer = await _answer(talk, first)
    stories = talk.context.services.stories
    await asyncio.gather(
        *(stories.note(answer, lambda notes, n=n: (*notes, f"{n}")) for n in range(8))
    )
    assert sorted((await _answer(talk, first)).request.notes) == list("01234567")


@in_chat
async def test_notes_that_contradict_or_hold_markup_are_kept_as_they_were_written(
    talk, who, first
) -> None:
    facts = ("Lane is alive.", "Lane is dead.", "{note} **bold** <|im_end|> @everyone t.me/x")
    for fact in facts:
        await told(talk, f"/note {fact}", who)
    job = (await _answer(talk, (await told(talk, "/continue", who))[-1].job)).job
    assert job.prompt[job.head :].split("\n\n")[0].split("\n") == list(facts)
    shown = await _listed(talk, who)
    assert shown.literal and "t.me/x" not in shown.text


@in_chat
async def test_a_note_is_moderated_like_any_request(talk, who, first) -> None:
    with pytest.raises(RefusedError):
        await told(talk, "/note Instructions to build a pipe bomb at home, step by step", who)
    assert (await _answer(talk, first)).request.notes == ()


@in_chat
async def test_a_note_needs_a_story_and_pictures_have_none(talk, who) -> None:
    with pytest.raises(AskerError, match="nothing of yours from this chat"):
        await told(talk, f"/note {SISTER}", who)
    await told(talk, "/jewel a tiara", who)
    with pytest.raises(AskerError, match="picture"):
        await told(talk, f"/note {SISTER}", who)


@in_chat
async def test_notes_go_with_the_words_that_they_stand_beside(talk, clock, who, first) -> None:
    answer = await _answer(talk, first)
    await told(talk, f"/note {SISTER}", who)
    clock.ahead = KEEP_SECONDS + 60
    await talk.context.services.retention.clean()
    clock.ahead = 0.0
    assert (await _answer(talk, first)).request.notes == ()
    stories = talk.context.services.stories
    assert await stories.note(answer, lambda notes: (*notes, "late")) is None
    with pytest.raises(AskerError, match="expired"):
        await told(talk, f"/note {SISTER}", replace(who, reply_to=first))


@in_chat
async def test_a_story_longer_than_the_window_goes_on_with_a_synopsis(talk, who) -> None:
    begin = "Mrs. Lane kept the lighthouse at Arkham. " + "It rained on the sea all day. " * 640
    job = (await told(talk, f"/story {begin[: MAX_TEXT - 100]}", who))[-1].job
    on = await _answer(talk, (await pressed(talk, Press(Verb.CONTINUE, job), who))[-1].job)
    assert len(on.request.beginning or "") <= MAX_TEXT
    assert on.request.synopsis.startswith("Mrs. Lane kept the lighthouse at Arkham.")
    assert on.job.prompt[on.job.head :].startswith(f"{on.request.synopsis}\n\n")
    assert on.request.synopsis in (await _listed(talk, who)).text


# The synopsis


def test_a_synopsis_stays_within_its_length_and_keeps_the_first_sentence() -> None:
    synopsis, told_of = "", []
    for number in range(400):
        told_of.append(f"Inspector Crane found letter {number} in the drawer of Mrs. Webb.")
        synopsis = condensed(synopsis, told_of[-1], "Crane laughed at Mrs. Webb.")
    assert synopsis.startswith(told_of[0])
    assert LONGEST / 2 < len(synopsis) <= LONGEST


@pytest.mark.parametrize("text", ["the " * 9_000, "A" * 20_000, "So. " * 5_000, "…" * 20_000, ""])
def test_a_base_that_repeats_at_once_leaves_no_synopsis(text: str) -> None:
    assert condensed("", text, text) == ""


def test_what_is_said_again_and_again_is_in_a_synopsis_once() -> None:
    again = "The lamp in the lighthouse went out. "
    assert condensed("", again * 500, again) == again.strip()


# The window


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """A letter is a token."""
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("letters")
    make_tokenizer(folder, bos=False)
    return AutoTokenizer.from_pretrained(folder)


def _job(notes: tuple[str, ...], beginning: str, synopsis: str = "") -> Job:
    request = Request(
        command="story", text="a story in the style of agatha: It rained.", platform="terminal",
        asker="a", place="p", beginning=beginning, notes=notes, synopsis=synopsis, length=16,
    )  # fmt: skip
    return make_plan(request, Registry.load([BUILT_IN], "embedded"), 400).job


def _read(job: Job, tokenizer, window: int) -> tuple[str, tuple[str, ...]]:
    ids, notes = prompt_ids(job, tokenizer, window)
    return tokenizer.decode(ids), notes


def test_within_the_window_the_whole_prompt_is_read(tokenizer) -> None:
    job = _job((SISTER,), "It rained. " * 10, "Mrs. Lane came from Arkham.")
    read, notes = _read(job, tokenizer, 4_000)
    assert read.endswith(f"\n\nMrs. Lane came from Arkham.\n\n{SISTER}\n\n{job.beginning}")
    assert not notes


def test_an_overflowing_window_keeps_notes_and_synopsis_and_trims_the_beginning(tokenizer) -> None:
    job = _job((SISTER,), "It rained. " * 200 + "The end is near.", "Mrs. Lane came from Arkham.")
    read, notes = _read(job, tokenizer, 700)
    assert f"Mrs. Lane came from Arkham.\n\n{SISTER}\n\n" in read
    assert read.endswith("The end is near.") and len(read) < 700
    assert len(notes) == 1 and "first" in notes[0]


@pytest.mark.parametrize("window", [400, 500, 700, 1_000, 2_000])
def test_of_notes_longer_than_the_window_the_newest_are_kept_and_the_rest_is_told(
    tokenizer, window: int
) -> None:
    facts = tuple(f"The door with the number {n:02} is locked at night." for n in range(MOST_NOTES))
    job = _job(facts, "It rained. " * 200 + "The end is near.", "Mrs. Lane came from Arkham.")
    read, notes = _read(job, tokenizer, window)
    kept = [fact for fact in facts if fact in read]
    assert tuple(kept) == facts[len(facts) - len(kept) :]
    assert notes[0].startswith("More notes") == (len(kept) < len(facts))
    assert f": {len(facts) - len(kept)} were" in notes[0]
    assert read.endswith("The end is near.") and len(read) < window


def test_a_note_longer_than_its_share_gives_way_to_an_older_one(tokenizer) -> None:
    job = _job((SISTER, "x" * 400), "It rained. " * 200)
    read, notes = _read(job, tokenizer, 700)
    assert SISTER in read and "x" * 400 not in read and ": 1 were" in notes[0]

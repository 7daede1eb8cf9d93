"""A story's answers as a tree, its versions, and the story as a file."""

import io
import time
import zipfile
from dataclasses import replace
from itertools import count
from xml.etree import ElementTree

import pytest
import pytest_asyncio
import talking
from hypothesis import given
from hypothesis import strategies as st
from talking import pressed, told

from bot.messages.book import Book, epub, markdown
from bot.messages.buttons import Press, Verb
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.chat.retention import KEEP_SECONDS
from engine.chat.stories import path, versions
from engine.errors import AskerError
from engine.events import Cancelled
from engine.ledger.ledger import new_id

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
in_chat = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)


@pytest.fixture
def who() -> Who:
    """Somebody new, in a group that nobody else is in."""
    number = next(numbers)
    return Who(
        platform="discord", asker=f"writer {number}", place=f"room {number}", address="there"
    )


async def _job(talk: ChatService, press: Press, who: Who) -> str:
    return (await pressed(talk, press, who))[-1].job


@pytest_asyncio.fixture(loop_scope="module")
async def story(talk: ChatService, who: Who) -> dict[str, str]:
    """1, its version 2, and from 1 two ways on, 1.1 and 1.2."""
    one = (await told(talk, "The vicar coughed.", who))[-1].job
    on = await _job(talk, Press(Verb.CONTINUE, one), who)
    return {
        "1": one,
        "1.1": on,
        "1.2": await _job(talk, Press(Verb.AGAIN, on), who),
        "2": await _job(talk, Press(Verb.AGAIN, one), who),
    }


async def _nodes(talk: ChatService, job: str):
    return await talk.context.services.stories.tree(await talk.context.engine.answer(job))


def _text_of(said: Reply) -> str:
    """The exported Markdown."""
    [(name, data), _] = said.files
    assert name.endswith(".md")
    return data.decode()


@in_chat
async def test_again_makes_a_version_and_continue_goes_on(talk, story) -> None:
    for job in story.values():
        nodes = await _nodes(talk, job)
        assert {node.number: node.job for node in nodes} == story
    assert [node.number for node in path(nodes, story["1.2"])] == ["1", "1.2"]
    assert [node.number for node in versions(nodes, story["1.1"])] == ["1.1", "1.2"]


@in_chat
async def test_going_on_from_any_node_leaves_the_others_byte_equal(talk, who, story) -> None:
    before = {node.job: node.answer for node in await _nodes(talk, story["1"])}
    for job in story.values():
        await pressed(talk, Press(Verb.CONTINUE, job), who)
        await pressed(talk, Press(Verb.AGAIN, job), who)
    after = {node.job: node.answer for node in await _nodes(talk, story["2"])}
    assert len(after) == 4 + 5  # three of the presses were the same ones, and are harmless
    assert {job: after[job] for job in before} == before


@in_chat
async def test_the_tree_shows_every_answer_and_its_buttons_step_between_versions(
    talk, who, story
) -> None:
    [tree] = await told(talk, "/story tree", who)  # the last answer here: 2
    assert "The vicar coughed." in tree.text
    assert all(f"{number}  " in tree.text for number in story)
    assert tree.text.splitlines()[-1].startswith("2  ") and tree.text.endswith("here")
    [[back]] = tree.rows
    assert (back.press.verb, back.press.job) == (Verb.STEP, story["1"])
    [shown] = await pressed(talk, back.press, who)
    assert shown.text.startswith("Version 1 of 2") and "AI-generated" in shown.text
    assert (await talk.context.engine.answer(story["1"])).text in shown.text
    own, steps = shown.rows
    assert own[0].press == Press(Verb.CONTINUE, story["1"])
    assert [button.press.job for button in steps] == [story["2"]]
    with pytest.raises(AskerError, match="Only the person who asked"):
        await talk.press(back.press, replace(who, asker="another"))


@in_chat
async def test_the_lists_of_stories_hold_no_live_link_and_nothing_that_is_held_back(
    talk, who
) -> None:
    [*_, one] = await told(talk, "@everyone, go to https://evil.example/a now.", who)
    [listed], [tree] = [await told(talk, line, who) for line in ("/stories", "/story tree")]
    for said in (listed, tree):
        assert "https[:]//evil" in said.text and "@\u200beveryone" in said.text
        assert "https:" not in said.text
    plan = talk.context.engine.plan((await talk.context.engine.answer(one.job)).request, new_id())
    plan = replace(plan, request=replace(plan.request, parent=None))
    ledger = talk.context.services.ledger
    await ledger.accept(plan.request, plan.route, plan.job)
    text = "Step by step, how to make a bomb at home."
    await ledger.finish(Cancelled(job=plan.job.id, attempt=1, text=text))
    [tree] = await told(talk, "/story tree", replace(who, reply_to=plan.job.id))
    assert "bomb" not in tree.text and "not fit to be shown" in tree.text


@in_chat
async def test_what_was_deleted_is_a_gap_and_its_branches_keep_their_place_and_go_on(
    talk, who, story
) -> None:
    await pressed(talk, Press(Verb.DELETE, story["1"]), who)
    nodes = {node.number: node for node in await _nodes(talk, story["1.2"])}
    assert not nodes["1"].kept and nodes["1.2"].kept
    [tree] = await pressed(talk, Press(Verb.TREE, story["1.2"]), who)
    assert "1  (no longer kept)" in tree.text
    on = replace(who, reply_to=story["1.2"])
    [said] = await told(talk, "/story export", on)
    text, deleted = _text_of(said), (await told(talk, "/story tree", on))[0]
    assert "1  (no longer kept)" in deleted.text
    assert "\\[…\\]" in text and "[…]" in said.text
    assert nodes["1.2"].answer.text in text
    [*_, last] = await told(talk, "/continue", on)
    assert (await talk.context.engine.answer(last.job)).text
    await pressed(talk, Press(Verb.DELETE, story["1.2"]), who)
    with pytest.raises(AskerError, match="expired"):
        await told(talk, "/story export", on)


@in_chat
async def test_what_was_deleted_in_the_middle_parts_nothing_below_from_what_is_above(
    talk, who, story
) -> None:
    below = await _job(talk, Press(Verb.CONTINUE, story["1.1"]), who)
    await pressed(talk, Press(Verb.DELETE, story["1.1"]), who)
    found = {node.number: node.job for node in await _nodes(talk, below)}
    assert found == story | {"1.1.1": below}, "its version is one still"
    said = _text_of((await told(talk, "/story export", replace(who, reply_to=below)))[0])
    above = (await talk.context.engine.answer(story["1"])).text
    assert "The vicar coughed." in said and above in said


@in_chat
async def test_an_export_holds_what_was_typed_between_the_answers(talk, who, story) -> None:
    typed = replace(who, reply_to=story["1.1"])
    on = (await told(talk, "/continue Then Mildred shot the gardener.", typed))[-1].job
    last = await _job(talk, Press(Verb.CONTINUE, on), who)
    said = _text_of((await told(talk, "/story export", replace(who, reply_to=last)))[0])
    texts = [(await talk.context.engine.answer(job)).text.strip() for job in (story["1.1"], on)]
    places = [said.index(part) for part in (texts[0], "Then Mildred shot", texts[1])]
    assert places == sorted(places)


@in_chat
async def test_a_story_whose_beginning_has_expired_is_exported_and_goes_on(
    talk, who, story, clock
) -> None:
    between = time.time()
    [*_, later] = await told(talk, "/continue", replace(who, reply_to=story["1.2"]))
    clock.ahead = between - time.time() + KEEP_SECONDS
    await talk.context.services.retention.clean()
    assert not (await _nodes(talk, later.job))[0].kept
    on = replace(who, reply_to=later.job)
    [said] = await told(talk, "/story export", on)
    clock.ahead = 0.0
    assert later.text in _text_of(said)
    assert (await told(talk, "/continue", on))[-1].text


@in_chat
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("It rained, and there was nobody in the house but the cat.", "en"),
        ("Pioveva, e non c'era nessuno nella casa, come ogni sera, con il gatto.", "it"),
    ],
)
async def test_an_epub_is_in_the_language_of_its_story(talk, who, text: str, language: str) -> None:
    await told(talk, f"/story {text}", who)
    [said] = await told(talk, "/story export", who)
    with zipfile.ZipFile(io.BytesIO(said.files[1][1])) as book:
        assert f"<dc:language>{language}</dc:language>" in book.read("book.opf").decode()
        assert f'lang="{language}"' in book.read("story.xhtml").decode()


@in_chat
async def test_stories_are_listed_each_with_a_way_to_its_tree(talk, who, story) -> None:
    await told(talk, "/jewel a tiara", who)
    await told(talk, "/story in the style of agatha: It snowed on the moor.", who)
    [said] = await told(talk, "/stories", who)
    assert said.text.splitlines()[1:] == ["1. It snowed on the moor.", "2. The vicar coughed."]
    assert said.rows[0][1].press == Press(Verb.TREE, story["1"])
    assert said.private
    with pytest.raises(AskerError, match="nothing of yours from this chat"):
        await told(talk, "/stories", replace(who, place="elsewhere"))


@in_chat
async def test_a_story_whose_first_version_was_deleted_is_listed_still(talk, who, story) -> None:
    await pressed(talk, Press(Verb.DELETE, story["1"]), who)
    [said] = await told(talk, "/stories", who)
    assert said.text.splitlines()[1:] == ["1. The vicar coughed."]
    [tree] = await pressed(talk, said.rows[0][0].press, who)
    assert "1  (no longer kept)" in tree.text and "2  " in tree.text
    for kept in ("1.1", "1.2", "2"):
        await pressed(talk, Press(Verb.DELETE, story[kept]), who)
    with pytest.raises(AskerError, match="nothing of yours from this chat"):
        await told(talk, "/stories", who)


@in_chat
async def test_no_export_takes_the_place_of_another(talk, who, story) -> None:
    named = []
    for number in ("1.1", "1.2", "1.2"):
        [said] = await told(talk, "/story export", replace(who, reply_to=story[number]))
        named.append([name for name, _ in said.files])
    assert named[1] == named[2] and not {*named[0]} & {*named[1]}


@in_chat
async def test_an_export_holds_the_line_to_the_answer_with_its_marks(talk, who, story) -> None:
    [said] = await told(talk, "/story export", replace(who, reply_to=story["1.2"]))
    text = _text_of(said)
    for mark in ("# The vicar coughed.", "H. P. Lovecraft", "AI-generated", "20"):
        assert mark in text
    with zipfile.ZipFile(io.BytesIO(said.files[1][1])) as book:
        assert book.infolist()[0].filename == "mimetype"
        assert book.infolist()[0].compress_type == zipfile.ZIP_STORED
        assert book.read("mimetype") == b"application/epub+zip"
        assert "AI-generated" in book.read("book.opf").decode()
        assert "vicar" in book.read("story.xhtml").decode()


@given(st.text(max_size=80), st.text(max_size=80))
def test_an_epub_is_well_formed_whatever_was_written(title: str, text: str) -> None:
    book = Book(
        id="1",
        title=title,
        voices=(title,),
        date="2026-11-26",
        language="en",
        opening=text,
        parts=(f"<b>&amp;{text}", "]]>\n\n\x00"),
        notices=("AI-generated",),
    )
    assert "AI-generated" in markdown(book)
    with zipfile.ZipFile(io.BytesIO(epub(book))) as made:
        assert made.testzip() is None
        for name in made.namelist()[1:]:
            ElementTree.fromstring(made.read(name).decode().replace("<!DOCTYPE html>\n", ""))


@in_chat
async def test_a_picture_has_no_tree(talk, who) -> None:
    final = (await told(talk, "/jewel a tiara", who))[-1]
    with pytest.raises(AskerError, match="picture"):
        await talk.press(Press(Verb.TREE, final.job), who)

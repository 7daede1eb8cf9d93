"""Consent is asked for exactly, given by nobody else, kept as a log, and lapses with its text."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from importlib.resources import files
from itertools import count
from pathlib import Path

import pytest
import studied
from looking import look
from studied import STUDY_FILE, agree, make_study
from talking import Clock, pressed, told

from bot.chat import make_context
from bot.locales import words
from bot.messages.buttons import Press, Verb
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.study.consent import ROOM
from bot.study.withdrawal import CODES
from engine.errors import AskerError, SetupError
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.consent.consent import MONTH_SECONDS, QUESTIONS
from engine.study.erasure_rules import RULES
from engine.study.export.schema import described, meaning
from engine.study.study import LANGUAGES, VERSION, read_study_file, read_texts, study_key_file

here, clock, talk = studied.here, studied.clock, studied.talk  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]
numbers = count(1)
AGREED_TO = {"en": "574c190dbf6f", "it": "ca7e8678bff5"}  # of version 3


@pytest.fixture
def who() -> Who:
    """Somebody new, alone with the bot."""
    number = next(numbers)
    return Who(platform="telegram", asker=f"person-{number}", place=f"chat-{number}", alone=True)


def log_of(here: Settings, talk: ChatService, who: Who) -> list[tuple]:
    name = talk.context.services.agreements.running.pseudonym(who.platform, who.asker)
    return look(
        here,
        "select action, use, excerpts, linkage, text_sha256, locale from consents "
        f"where pseudonym = '{name}' order by id",
    )


def interactions(here: Settings, talk: ChatService, who: Who) -> list[tuple]:
    name = talk.context.services.agreements.running.pseudonym(who.platform, who.asker)
    return look(
        here,
        "select id, state, place, session, parent from interactions "
        f"where pseudonym = '{name}' order by accepted_at, id",
    )


async def test_the_exact_text_is_shown_privately_and_nothing_is_ticked(
    talk: ChatService, who: Who
) -> None:
    [form] = await told(talk, "/consent", who)
    text = talk.context.services.agreements.running.text("en")
    assert form.private
    assert text.body in form.text
    assert text.sha256 == hashlib.sha256(f"{text.version}\n{text.body}".encode()).hexdigest()
    assert [b.label for b in form.ask] == ["I am 18 or older", "I am younger"]
    assert all(letter == "-" for b in form.ask for letter in b.press.argument[-3:])


async def test_each_question_is_asked_apart_and_only_saving_counts(
    talk: ChatService, here: Settings, who: Who
) -> None:
    done = await agree(talk, who, excerpts=False)
    assert "you take part from now on" in done.text
    text = talk.context.services.agreements.running.text("en")
    [(action, use, excerpts, linkage, digest, locale)] = log_of(here, talk, who)
    assert (action, bool(use), bool(excerpts), bool(linkage)) == ("granted", True, False, True)
    assert (digest, locale) == (text.sha256, "en")


async def test_a_long_text_stays_above_the_question_that_speaks_of_it(
    talk: ChatService, who: Who
) -> None:
    text = talk.context.services.agreements.running.text("en")
    assert ROOM["discord"] < len(text.body) < ROOM["telegram"]
    for platform, above in (("discord", False), ("telegram", True)):
        somebody = replace(who, platform=platform)
        [form] = await told(talk, "/consent", somebody)
        replaced = []
        for _ in range(4):
            [form] = await pressed(talk, form.ask[0].press, somebody)
            assert (text.body in form.text) == above
            replaced.append(form.replaces)
        assert replaced == [above, True, True, True], "the message with the text is not edited"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_no_question_changes_without_a_new_version_of_the_text(language: str) -> None:
    """What they agree to are the questions; the digest on record is the text's alone."""
    lines = [
        words(f"study.{kind}_{name}", language)
        for name in QUESTIONS
        for kind in ("ask", "yes", "no")
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    text = files("engine.study.texts").joinpath(f"consent.{language}.md").read_text("utf-8")
    assert (VERSION.match(text)[1], digest) == ("3", AGREED_TO[language])


async def test_the_form_speaks_italian(talk: ChatService, here: Settings, who: Who) -> None:
    [form] = await told(talk, "/consent", replace(who, locale="it"))
    assert "Uno studio di A. Researcher" in form.text
    assert "Chiede come si scrive" in form.text
    assert form.ask[0].label == "Ho almeno 18 anni"


async def test_who_is_too_young_or_says_no_is_served_and_leaves_no_row(
    talk: ChatService, here: Settings, who: Who
) -> None:
    [form] = await told(talk, "/consent", who)
    [told_so] = await pressed(talk, form.ask[1].press, who)
    assert "not for you yet" in told_so.text
    grown = replace(who, asker=f"{who.asker}-grown")
    [form] = await told(talk, "/consent", grown)
    [form] = await pressed(talk, form.ask[0].press, grown)
    [told_so] = await pressed(talk, form.ask[1].press, grown)
    assert "nothing else changes" in told_so.text
    for person in (who, grown):
        assert (await told(talk, "The vicar coughed.", person))[-1].text
        assert log_of(here, talk, person) == interactions(here, talk, person) == []


async def test_who_is_too_young_does_not_come_of_age_at_once(talk: ChatService, who: Who) -> None:
    [form] = await told(talk, "/consent", who)
    yes, no = form.ask
    await pressed(talk, no.press, who)
    with pytest.raises(AskerError, match="again today"):
        await told(talk, "/consent", who)
    with pytest.raises(AskerError, match="again today"):
        await talk.press(yes.press, who)  # on the form as it stood before
    [_] = await told(talk, "/consent", replace(who, asker=f"{who.asker}-older"))


@pytest.mark.parametrize("young", [True, False])
async def test_a_no_on_a_renewed_form_ends_what_was_agreed_before(
    talk: ChatService, here: Settings, who: Who, young: bool
) -> None:
    await agree(talk, who)
    assert (await told(talk, "The vicar coughed.", who))[-1].text
    assert interactions(here, talk, who)
    [standing] = await told(talk, "/consent", who)
    [form] = await pressed(talk, standing.ask[0].press, who)
    if not young:
        [form] = await pressed(talk, form.ask[0].press, who)
    [told_so] = await pressed(talk, form.ask[1].press, who)
    assert "what you agreed to before is over" in told_so.text
    assert [action for action, *_ in log_of(here, talk, who)] == ["granted", "withdrawn"]
    kept = len(interactions(here, talk, who))
    assert kept == (0 if young else 1)
    assert (await told(talk, "The vicar coughed again.", who))[-1].text
    assert len(interactions(here, talk, who)) == kept


async def test_a_form_is_only_its_askers_to_answer(
    talk: ChatService, here: Settings, who: Who
) -> None:
    [form] = await told(talk, "/consent", who)
    other = replace(who, asker=f"{who.asker}-other")
    for button in form.ask:
        with pytest.raises(AskerError, match="somebody else's"):
            await talk.press(button.press, other)
    assert log_of(here, talk, other) == log_of(here, talk, who) == []


async def test_saving_twice_makes_one_row(talk: ChatService, here: Settings, who: Who) -> None:
    [form] = await told(talk, "/consent", who)
    for _ in range(4):
        [form] = await pressed(talk, form.ask[0].press, who)
    save = form.ask[0].press
    for expected in ("from now on", "saved already", "saved already"):
        [said] = await pressed(talk, save, who)
        assert expected in said.text
    assert len(log_of(here, talk, who)) == 1


async def test_a_form_from_before_a_withdrawal_is_refused_with_a_fresh_one(
    talk: ChatService, here: Settings, who: Who
) -> None:
    [old] = await told(talk, "/consent", who)
    for _ in range(4):
        [old] = await pressed(talk, old.ask[0].press, who)
    await agree(talk, who)
    await told(talk, "/withdraw", who)
    [fresh] = await pressed(talk, old.ask[0].press, who)
    assert "out of date" in fresh.text
    assert fresh.ask[0].label == "I am 18 or older"
    assert [row[0] for row in log_of(here, talk, who)] == ["granted", "withdrawn"]


async def test_a_form_for_another_text_is_refused_with_a_fresh_one(
    talk: ChatService, who: Who
) -> None:
    [form] = await told(talk, "/consent", who)
    mark, _, letters = form.ask[0].press.argument.split(".")
    old = Press(Verb.CONSENT, form.ask[0].press.job, f"{mark}.0badc0de.{letters}")
    [fresh] = await pressed(talk, old, who)
    assert "text has changed" in fresh.text
    assert fresh.ask


async def test_a_button_made_up_by_hand_saves_nothing_unanswered(
    talk: ChatService, here: Settings, who: Who
) -> None:
    [form] = await told(talk, "/consent", who)
    mark, digest, _ = form.ask[0].press.argument.split(".")
    for letters in ("----", "Y---", "YN--", "zzzz", "yyyyy", "y"):
        press = Press(Verb.CONSENT, form.ask[0].press.job, f"{mark}.{digest}.{letters}")
        try:
            await talk.press(press, who)
        except AskerError:
            continue
    assert log_of(here, talk, who) == []


async def test_a_new_text_lapses_what_was_agreed_and_asks_again(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    assert await talk.invitation(who) is None
    folder = here.home / "studies" / "pilot"
    (folder / "consent.en.md").write_text("<!-- version: 2 -->\nAll new: {title}.\n")
    (folder / "consent.it.md").write_text("<!-- version: 2 -->\nTutto nuovo: {title}.\n")
    try:
        async with open_services(here) as services:
            later = ChatService(
                make_context(
                    talk.context.engine,
                    services,
                    talk.context.moderation._moderator,
                    talk.context.settings,
                )
            )
            last = await services.agreements.last(who.platform, who.asker)
            assert last is not None
            assert last.lapsed
            assert not last.live
            asked = await later.invitation(who)
            assert asked is not None
            assert "has changed" in asked.text
            [form] = await told(later, "/consent", who)
            assert "the study “Pastiche and its readers” has changed" in form.text
            assert "All new: Pastiche and its readers." in form.text
            await agree(later, who)
            assert (await services.agreements.last(who.platform, who.asker)).live
    finally:
        (folder / "consent.en.md").unlink()
        (folder / "consent.it.md").unlink()
    assert len(log_of(here, talk, who)) == 2


async def test_the_invitation_comes_once_a_month_and_opens_the_form(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    said = await talk.invitation(who)
    assert isinstance(said, Reply)
    assert "Pastiche and its readers" in said.text
    assert await talk.invitation(who) is None
    [form] = await pressed(talk, said.ask[0].press, who)
    assert form.ask[0].label == "I am 18 or older"
    clock.ahead += MONTH_SECONDS - 60
    assert await talk.invitation(who) is None
    clock.ahead += 60 + 3600  # it is known to the hour only
    assert await talk.invitation(who) is not None
    clock.ahead = 0.0
    assert await talk.invitation(who) is None  # a clock that goes back invites nobody


async def test_nobody_who_withdrew_or_in_a_place_outside_is_invited(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    group = replace(who, place="-100777", alone=False)
    assert await talk.invitation(group) is None
    await agree(talk, who)
    await told(talk, "/withdraw", who)
    clock.ahead += 2 * MONTH_SECONDS
    assert await talk.invitation(who) is None
    clock.ahead = 0.0


async def test_only_managers_bring_a_place_in_and_all_can_see_it(
    talk: ChatService, who: Who
) -> None:
    group = replace(who, place="-100778/4", alone=False)
    for nobody in (group, replace(group, manager=True)):  # a channel's rights are not the server's
        with pytest.raises(AskerError, match="Only those who manage"):
            await told(talk, "/study on", nobody)
    [shown] = await told(talk, "/study", group)
    assert "does not take part" in shown.text
    [on] = await told(talk, "/study on", replace(group, server_manager=True))
    assert not on.private
    assert "takes part in the study" in on.text
    [shown] = await told(talk, "/study show", replace(group, place="-100778"))
    assert "takes part in the study" in shown.text  # all topics of the group
    await talk.context.services.rename(who.platform, "-100778", "-200778")
    for place, told_of in (("-100778", "does not take part"), ("-200778", "takes part in the")):
        [shown] = await told(talk, "/study show", replace(group, place=place))
        assert told_of in shown.text
    await talk.context.services.rename(who.platform, "-200778", "-100778")
    await talk.context.services.leave(who.platform, "-100778")
    [shown] = await told(talk, "/study", group)
    assert "does not take part" in shown.text


async def test_two_places_with_different_opt_ins_are_two_things(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    inside = replace(who, platform="telegram", place="-100801", alone=False, server_manager=True)
    outside = replace(inside, place="-100802")
    await told(talk, "/study on", inside)
    await told(talk, "The vicar coughed.", inside)
    await told(talk, "The doctor laughed.", outside)
    assert len(interactions(here, talk, who)) == 1
    await told(talk, "/study off", inside)
    await told(talk, "The vicar coughed again.", inside)
    assert len(interactions(here, talk, who)) == 1


async def test_a_study_whose_file_or_key_is_amiss_says_what_to_do(
    tmp_path: Path, here: Settings
) -> None:
    lone = Settings(home=tmp_path / "h", backend="echo", key_file=tmp_path / "k", study="other")
    with pytest.raises(SetupError, match="pastiche study open other"):
        read_study_file(lone, "other")
    folder = make_study(lone.home, "other", 'title = "Hm"\n')
    with pytest.raises(SetupError, match="title"):
        read_study_file(lone, "other")
    make_study(lone.home, "other")
    (folder / "consent.en.md").write_text("no version")
    with pytest.raises(SetupError, match="version"):
        read_texts(lone, "other", read_study_file(lone, "other"))
    (folder / "consent.en.md").write_text("<!-- version: 1 -->\n{nobody}")
    with pytest.raises(SetupError, match="nobody"):
        read_texts(lone, "other", read_study_file(lone, "other"))
    inside = lone.model_copy(update={"study_key_file": lone.home / "study.key"})
    with pytest.raises(SetupError, match="outside the data folder"):
        study_key_file(inside, "other")
    key = study_key_file(here, "pilot")
    assert key.stat().st_mode & 0o077 == 0
    assert not key.is_relative_to(here.home)
    key.chmod(0o644)
    try:
        with pytest.raises(SetupError, match="chmod 600"):
            async with open_services(here):
                pass
    finally:
        key.chmod(0o600)


async def test_the_whole_of_mydata_is_there_and_readable(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    final = (await told(talk, "Zyzzyva coughed.", who))[-1]
    await pressed(talk, Press(Verb.UP, final.job), who)
    [said] = await told(talk, "/mydata", who)
    (page, shown), (name, data) = said.files
    assert page == "mydata.html" and b"Zyzzyva coughed." in shown, "and a page to read"
    assert b"The whole message as it was typed" in shown and b"<script" not in shown
    whole = json.loads(data)
    tables = whole["tables"]
    assert len(whole["about"]["interactions"].split()) > 3, "each table is explained"
    assert tables["interactions"][0]["accepted_at"].startswith("20"), "times are dates"
    assert said.private
    assert name == "mydata.json"
    assert {"askers", "requests", "jobs", "outputs", "deliveries", "ratings", "verdicts"} <= set(
        tables
    )
    assert {"consents", "interactions", "study_ratings", "study_events"} <= set(tables)
    assert tables["interactions"][0]["text"] == "Zyzzyva coughed."
    assert tables["interactions"][0]["output"] == final.text
    assert "Your requests and their answers, in the study: 1" in said.text
    assert b"<td>yes</td>" in shown and b"{&#x27;" not in shown, "values are no Python"
    other = replace(who, asker=f"{who.asker}-other")
    [said] = await told(talk, "/mydata", other)
    assert not [name for name, data in said.files if b"Zyzzyva" in data]


async def test_what_a_study_says_in_italian_is_its_own_italian(tmp_path: Path) -> None:
    text = STUDY_FILE + 'title_it = "I lettori"\nduration = "an hour"\nduration_it = "un\'ora"\n'
    settings = Settings(home=tmp_path, key_file=tmp_path / "key")
    make_study(tmp_path, text=text)
    file = read_study_file(settings, "pilot")
    english, italian = (read_texts(settings, "pilot", file)[name].body for name in ("en", "it"))
    assert "I lettori" in italian and "Durata: un'ora" in italian
    assert "Pastiche and its readers" in english and "an hour" in english
    assert file.said("title", "it-IT") == "I lettori"


async def test_mydata_in_italian_is_italian(talk: ChatService, who: Who) -> None:
    reader = replace(who, locale="it")
    await agree(talk, reader)
    final = (await told(talk, "Zyzzyva coughed.", reader))[-1]
    await pressed(talk, Press(Verb.UP, final.job), reader)
    [said] = await told(talk, "/mydata", reader)
    page = said.files[0][1].decode()
    assert 'lang="it"' in page and "Le tue richieste: 1" in said.text
    assert "<td>sì</td>" in page and "Your" not in page and "answer" not in page
    assert "When" not in page and "Whether" not in page


async def test_all_that_mydata_shows_has_italian_words_and_no_other_has() -> None:
    words, used = described()["it"], set()
    held = {n: rule for n, rule in RULES.items() if rule.by != "nobody"}
    assert described()["yours"].keys() == held.keys()
    for name, rule in held.items():
        for column in rule.column.class_.__table__.columns:
            if not f"{name}.{column.name}".endswith(CODES):
                used |= {n for n in (f"{name}.{column.name}", column.name) if n in words}
                assert meaning(name, column.name, "it") != meaning(name, column.name)
    assert used == words.keys()


async def test_mydata_has_the_pictures_too(talk: ChatService, here: Settings, who: Who) -> None:
    final = (await told(talk, "/jewel a gold ring --count 2", who))[-1]
    [said] = await told(talk, "/mydata", who)
    [(name, data)] = said.files
    assert name == "mydata.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        drawn = {archive.read(n) for n in archive.namelist() if n.endswith(".png")}
        assert json.loads(archive.read("mydata.json"))["account"] == who.asker
        assert b"ring" in archive.read("mydata.html")
    assert drawn == {picture.data for picture in final.pictures}

"""What people say to the study: consent question by question, withdrawal, their data, links, places.

A form's state stands in its buttons (see engine.study.consent.consent): whose it is, which text it
asks about, what was answered so far. So it survives a restart, and an old one is known as such.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.messages.buttons import Press, Verb, button
from bot.messages.split import joined
from bot.service.admission import operates
from bot.service.context import mark_of
from bot.service.request import Reply, Who
from engine.errors import AskerError, CommandError
from engine.study.consent.account_links import shown as shown_code
from engine.study.consent.consent import QUESTIONS, Answers, Consent
from engine.study.consent.participants import place_of

if TYPE_CHECKING:
    from bot.messages.grammar import Simple
    from bot.study.study_chat import StudyChat
    from engine.study.study import ConsentText, Study

YOUNG_SECONDS = 86400.0  # whoever said to be under age is not asked again before
TEXT_MARK = 8  # hex characters of the text's digest
ROOM = {"discord": 1500, "telegram": 3500}  # characters that fit above each question
OPEN = "open"


def study_of(chat: "StudyChat", who: Who) -> "Study":
    """Return the study that runs. Raises AskerError, which says that there is none."""
    study = chat.agreements.study
    if study is None:
        raise AskerError(words("study.none", who.locale))
    return study


def _asking(chat: "StudyChat", who: Who) -> "Study":
    """Return the study for somebody who may be asked. Raises AskerError for who just was under age."""
    if chat.too_young.lately(who.account, YOUNG_SECONDS):
        contact = study_of(chat, who).file.contact
        raise AskerError(words("study.young_pause", who.locale, contact=contact))
    return study_of(chat, who)


async def consent(chat: "StudyChat", _command: "Simple", who: Who) -> Reply:
    study = _asking(chat, who)
    last = await chat.agreements.last(*who.account)
    if last is None or not last.live:
        lapsed = last is not None and last.lapsed and last.granted
        return await _form_anew(chat, who, "study.lapsed" if lapsed else "")
    form = await chat.agreements.form(*who.account)
    argument = f"{mark_of(chat.context, who)}.{OPEN}.anew"
    anew = button(Verb.CONSENT, form, argument, locale=who.locale)
    text = "\n\n".join([standing(last, who), study.text(who.locale).body])
    return Reply(text, private=True, ask=(anew,), start="consent")


def standing(last: Consent, who: Who) -> str:
    told = {"excerpts": _yes(last.excerpts, who), "linkage": _yes(last.linkage, who)}
    return words("study.taking_part", who.locale, **told)


def _yes(value: bool | None, who: Who) -> str:
    return words("study.yes" if value else "study.no", who.locale)


def _given(answers: Answers, who: Who) -> str:
    lines = [
        f"{words(f'study.short_{name}', who.locale)}: {_yes(getattr(answers, name), who)}"
        for name in QUESTIONS
        if getattr(answers, name) is not None
    ]
    return "\n".join(lines)


async def _form_anew(
    chat: "StudyChat", who: Who, why: str, text: "ConsentText | None" = None
) -> Reply:
    text = text or study_of(chat, who).text(who.locale)
    title = study_of(chat, who).file.said("title", who.locale)
    opening = words(why, who.locale, title=title) if why else ""
    return await _form(chat, text, Answers(), who, opening=opening)


async def _form(
    chat: "StudyChat",
    text: "ConsentText",
    answers: Answers,
    who: Who,
    *,
    form: str = "",
    opening: str = "",
) -> Reply:
    """Ask the next question, or show what was answered and the button that saves it."""
    if await chat.agreements.closed():
        raise AskerError(words("study.none", who.locale))
    again, question = bool(form), answers.next
    form = form or await chat.agreements.form(*who.account)
    chat.questions.asks(who, partial(_form, chat, text, answers, form=form))
    head = f"{mark_of(chat.context, who)}.{text.sha256[:TEXT_MARK]}"

    def choice(state: str, key: str, **facts: Any) -> Any:
        label = words(f"study.{key}", who.locale, **facts)
        return button(Verb.CONSENT, form, f"{head}.{state}", label=label)

    if question:
        age = study_of(chat, who).file.minimum_age
        asked = words(f"study.ask_{question}", who.locale, age=age)
        ask = tuple(
            choice(replace(answers, **{question: value}).written, f"{said}_{question}", age=age)
            for said, value in (("yes", True), ("no", False))
        )
    else:
        asked = words("study.ask_save", who.locale)
        ask = choice(answers.written.upper(), "save"), choice(Answers().written, "start_again")
    above = again and len(text.body) > ROOM.get(who.platform, 0)
    stays = above and question == QUESTIONS[1]  # the message with the text
    return Reply(
        joined(opening, "" if above else text.body, _given(answers, who), asked),
        private=True,
        ask=ask,
        replaces=again and not stays,
        start="consent",
    )


async def consent_pressed(chat: "StudyChat", press: Press, who: Who) -> Reply:
    """Take one answer, or the last step. Raises AskerError for somebody else's form."""
    study = study_of(chat, who)
    mark, digest, letters = parts_of(press.argument)
    if mark != mark_of(chat.context, who):
        raise AskerError(words("study.not_yours", who.locale))
    _asking(chat, who)
    chat.questions.asks(who)
    agreements = chat.agreements
    if digest == OPEN:
        if letters == "invited":
            await agreements.noted(*who.account, "opened")
        return await _form_anew(chat, who, "")
    text = next((t for t in study.texts.values() if t.sha256.startswith(digest)), None)
    if text is None:
        return await _form_anew(chat, who, "study.text_changed")
    state = await agreements.standing(*who.account, press.job)
    if state == "older":
        return await _form_anew(chat, who, "study.older_form")
    if state == "saved":
        return Reply(words("study.saved_already", who.locale), private=True, replaces=True)
    try:
        answers = Answers.read(letters.lower())
    except ValueError:
        raise AskerError(words("study.not_yours", who.locale)) from None
    if letters.isupper() and answers.agreed and not answers.next:
        return await _save(chat, answers, text, press.job, who)
    if False in (answers.adult, answers.use):
        return await _declined(chat, who, too_young=answers.adult is False)
    return await _form(chat, text, answers, who, form=press.job)


async def _declined(chat: "StudyChat", who: Who, *, too_young: bool) -> Reply:
    """Take a no, which ends what was agreed before; of who is too young nothing is kept."""
    agreements = chat.agreements
    await agreements.noted(*who.account, "declined")
    last = await agreements.last(*who.account)
    told = await chat.debriefs.all_told(who)  # before anything goes
    said = words("study.too_young" if too_young else "study.declined", who.locale)
    if last is not None and last.live:
        await agreements.withdraw(*who.account, "private" if who.alone else "aside")
        said = f"{said}\n\n{words('study.ended', who.locale)}"
        if too_young:
            count = await chat.context.services.withdraw_all(*who.account)
            said = f"{said} {words('study.deleted', who.locale, count=count)}"
    if too_young:
        chat.too_young.new(who.account, YOUNG_SECONDS)
    return Reply(joined(said, *told), private=True, replaces=True)


def parts_of(argument: str) -> tuple[str, str, str]:
    """Split a button's argument into whose it is and the two words that say what it means."""
    mark, digest, letters, *_ = [*argument.split(".", 2), "", ""]
    return mark, digest, letters


async def _save(
    chat: "StudyChat", answers: Answers, text: "ConsentText", form: str, who: Who
) -> Reply:
    channel = "private" if who.alone else "aside"
    done = await chat.agreements.save(*who.account, answers, text, form, channel)
    if done == "older":
        return await _form_anew(chat, who, "study.older_form", text)
    key = "study.thanks" if done == "granted" else "study.saved_already"
    _, invited = chat.panels.get(who.account, ("", False))
    rows = await chat.debriefs.begins(who, invited=invited)
    return Reply(words(key, who.locale), private=True, replaces=True, rows=rows)


async def invitation(chat: "StudyChat", who: Who) -> Reply | None:
    """Ask after a good answer, if it is time to."""
    place = place_of(who.platform, who.place, who.server)
    kind = await chat.agreements.invite(*who.account, alone=who.alone, place=place)
    if not kind:
        return None
    study = study_of(chat, who)
    form = await chat.agreements.form(*who.account)
    argument = f"{mark_of(chat.context, who)}.{OPEN}.invited"
    ask = button(Verb.CONSENT, form, argument, label=words("study.tell_me", who.locale))
    text = words(f"study.{kind}", who.locale, title=study.file.said("title", who.locale))
    return Reply(text, private=True, ask=(ask,), start="consent")


# Links and places


async def link(chat: "StudyChat", command: "Simple", who: Who) -> Reply:
    study_of(chat, who)
    if not command.topic:
        code = await chat.agreements.new_code(*who.account)
        if code is None:
            raise AskerError(words("study.link_unwilling", who.locale))
        text = words("study.link_code", who.locale, code=shown_code(code))
        return Reply(text, private=True, start="link")
    done = await chat.agreements.join(*who.account, command.topic)
    if done != "joined":
        raise AskerError(words(f"study.link_{done}", who.locale))
    return Reply(words("study.link_joined", who.locale), private=True)


async def study_here(chat: "StudyChat", command: "Simple", who: Who) -> Reply:
    """Say for all to see whether the place takes part; those who manage it turn that on and off."""
    study = study_of(chat, who)
    what = command.topic.strip().lower() or "show"
    if what not in ("on", "off", "show"):
        raise CommandError(words("study.study_help", who.locale))
    title = study.file.said("title", who.locale)
    if who.alone:
        rows = await chat.debriefs.begins(who)
        return Reply(words("study.alone", who.locale, title=title), rows=rows)
    place = place_of(who.platform, who.place, who.server)
    if what != "show":
        if not (who.server_manager or operates(chat.context, who)):
            raise AskerError(words("study.not_manager", who.locale))
        kind = "server" if who.server else "group"
        await chat.agreements.switch(who.platform, place, kind, what)
    on = await chat.agreements.takes_part(who.platform, place)
    facts = {"title": title, "contact": study.file.contact}
    return Reply(words("study.place_on" if on else "study.place_off", who.locale, **facts))

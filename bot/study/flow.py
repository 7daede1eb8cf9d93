"""A flow in chat: one step after the other, from the start link to the code, found by the record."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.buttons import Press
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.messages.split import joined
from bot.service.dispatch_table import GoOn
from bot.service.request import Reply, Who
from bot.study import ballot
from bot.study.consent import consent, study_here
from bot.study.debrief import BEGIN, START
from bot.study.pair import shown_item
from bot.study.questionnaire import NUMBER, Meant
from engine.errors import AskerError, MediaError
from engine.moderation import Content, Stage
from engine.study.experiments.eligibility import Candidate

if TYPE_CHECKING:
    from bot.study.study_chat import StudyChat
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled


async def begin(chat: "StudyChat", who: Who, panel: str = "", *, invited: bool = False) -> Reply:
    """Begin, go on, or ask for consent first, with the id that a panel gave, or an annotator's code.

    Raises AskerError.
    """
    study = chat.context.services.study_services
    if study is None:
        raise AskerError(words("study.none", who.locale))
    if not who.alone:
        raise AskerError(words("flow.alone", who.locale))
    if panel or invited:
        chat.panels[who.account] = (panel, invited)
    person = await chat.context.services.participant(who)
    if person is None:
        return await consent(chat, Simple(name="consent"), who)
    told, invited = await _note(chat, person, who)
    found = await study.enrolled(person, who, Candidate(task="flow", invited=invited))
    if found is None:
        mine = await study.experiments.of_person(person)
        found = next((one for one in mine if one.experiment.flows(invited=invited)), None)
    if found is None:
        raise AskerError(words("flow.none", who.locale))
    said = await go_on(chat, found, person, who)
    return replace(said, text=joined(told, said.text))


async def _note(chat: "StudyChat", person: "Person", who: Who) -> tuple[str, bool]:
    """Keep the panel's id, apart from the data, of which the first stands; or let an annotator in."""
    panel, invited = chat.panels.pop(who.account, ("", False))
    study = chat.context.services.study
    if invited and not await study.annotators.admit(person, panel):
        raise AskerError(words("flow.uninvited", who.locale))
    done = "noted" if invited or not panel else await study.panel.note(person, panel)
    if done == "taken":
        raise AskerError(words("flow.taken", who.locale))
    return words("flow.other_id", who.locale) if done == "other" else "", invited


async def rate_command(chat: "StudyChat", command: Simple, who: Who) -> Reply:
    return await begin(chat, who, command.topic.strip(), invited=True)


async def study_command(chat: "StudyChat", command: Simple, who: Who) -> Reply:
    """Let somebody into a flow, with a panel's id; else say or switch whether the place takes part."""
    what, _, panel = command.topic.strip().partition(" ")
    if what.lower() == "join":
        return await begin(chat, who, panel.strip())
    return await study_here(chat, command, who)


async def guess_command(chat: "StudyChat", _command: Simple, who: Who) -> Reply:
    return await _under_way(chat, who) or await chat.guessing.guess(who)


async def _under_way(chat: "StudyChat", who: Who) -> Reply | None:
    """Show somebody in the middle of a flow its own next step, which the record knows."""
    study, person = chat.study_services, await chat.context.services.participant(who)
    if study is not None and person is not None and (own := await study.flow.current(person)):
        return await go_on(chat, own, person, who)
    return None


async def more_pressed(chat: "StudyChat", press: Press, who: Who) -> Reply:
    begins = press.argument == BEGIN
    return await (begin(chat, who) if begins else guess_command(chat, Simple(name="guess"), who))


async def heard(chat: "StudyChat", text: str, who: Who) -> Reply | GoOn | None:
    """Take what somebody typed, without a command, as the answer to the question before them."""
    press = chat.questions.typing(who)
    if press is not None:
        said = Stage.INPUT, Content(text=text)  # a cry for help is heard here, too
        await chat.context.moderation.admit([said], who, None)
        return await answered(chat, press, who, text)
    if who.borrowed or who.reply_to or not NUMBER.fullmatch(text.strip()):
        return None
    chosen = await chat.questions.numbered(text, who)
    if isinstance(chosen, Press):
        return await answered(chat, chosen, who)
    shown = chosen or (await _under_way(chat, who) if who.alone else None)
    return shown or await chat.questions.again(who)


async def answered(
    chat: "StudyChat", press: Press, who: Who, typed: str | None = None
) -> Reply | GoOn:
    """Take one answer; give the next question or what comes after the last. Raises AskerError."""
    meant = await chat.questions.meant(press, who)
    enrolled, person = meant.enrolled, meant.person
    if meant.choice.startswith("t") and typed is None:
        return chat.questions.toggled(meant, who)
    if meant.choice != START:
        enrolled = await chat.questions.take(meant, press, typed, who)
    if meant.rates:
        return await _item(chat, enrolled, person, meant.about, who)
    if enrolled.experiment.task == "flow":
        return await go_on(chat, enrolled, person, who)
    if meant.instrument == "rating":
        rows = await chat.debriefs.rows(person, who)
        return Reply(words("questions.thanks", who.locale), replaces=True, rows=rows)
    place = await chat.context.services.study.flow.place(enrolled, person)
    if meant.instrument != "before" or (place.step is not None and place.step.id == "before"):
        return await go_on(chat, enrolled, person, who)
    waiting = chat.questions.waiting(who)
    return waiting or Reply(words("questions.go_on", who.locale), replaces=True)


async def go_on(
    chat: "StudyChat",
    enrolled: "Enrolled",
    person: "Person",
    who: Who,
    without: tuple[str, ...] = (),
) -> Reply:
    """Show what comes next to somebody, or the end."""
    study = chat.context.services.study
    place = await study.flow.place(enrolled, person, without)
    step = place.step
    running = await study.experiments.running(enrolled.experiment)
    if step is None or not (running or step.id == "after"):
        if step is None:
            await study.flow.finish(enrolled, person)
        return await chat.debriefs.end(enrolled, person, who)
    if place.asked is not None:
        meant = Meant(enrolled=enrolled, person=person, instrument=step.id)
        return chat.questions.show(meant, place.asked, who, replaces=True)
    if not (step.stimuli or step.answers) and step.kind != "guess":
        count = step.count - place.done
        return Reply(words(f"flow.{step.kind}", who.locale, count=count), replaces=True)
    if not step.id:
        return await chat.guessing.guess(who)
    name = await study.flow.trial(enrolled, step, person)
    match step.kind:
        case _ if name is None:
            return await go_on(chat, enrolled, person, who, (*without, step.id))
        case "compare":
            return await ballot.again(chat, name, who)
        case "guess":
            return await chat.guessing.again(name, who)
        case _:
            return await _item(chat, enrolled, person, name, who)


async def _item(
    chat: "StudyChat", enrolled: "Enrolled", person: "Person", name: str, who: Who
) -> Reply:
    """Show an item with the next question about it, or go on after the last."""
    study = chat.context.services.study
    seen = await study.exposures.get(name)
    step = enrolled.experiment.step_named(seen.step) if seen is not None else None
    if seen is None or step is None:
        raise AskerError(words("questions.expired", who.locale))
    item, shown = await study.annotators.named(seen.shown[0]["item"]), None
    with suppress(MediaError):
        shown = await shown_item(chat.context.services, item) if item is not None else None
    if shown is None:  # it was taken away meanwhile
        await study.exposures.void(name, "gone")
        return await go_on(chat, enrolled, person, who)
    await study.exposures.compose(name, [], [], {"platform": who.platform})
    asked = await study.questionnaires.next(enrolled, step.id, person, about=name)
    if asked is None:
        await study.exposures.rated(name, practice=step.practice)
        return await go_on(chat, enrolled, person, who)
    meant = Meant(enrolled=enrolled, person=person, instrument=step.id, about=name)
    text, pictures = shown
    head = joined(defang(text), words("footer.ai", who.locale))
    said = chat.questions.show(meant, asked, who, opening=head)
    said = replace(said, pictures=pictures, receipt=f"item:{name}", literal=True)
    return replace(said, replaces=not pictures)


async def receipt(chat: "StudyChat", name: str, shown: bool) -> None:
    exposures = chat.context.services.study.exposures
    await (exposures.delivered(name) if shown else exposures.void(name, "undelivered"))

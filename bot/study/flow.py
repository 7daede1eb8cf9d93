"""A flow in chat: one step after the other in one conversation, from the start link to the code.

Everything is found by the record, so that it goes on where somebody left, after a restart too.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.messages.buttons import Rows, Verb, button
from bot.messages.grammar import Simple
from bot.service.rate_limit import Bounded
from bot.service.request import Reply, Who
from bot.study.pair import shown_item
from bot.study.questionnaire import Meant
from engine.errors import AskerError
from engine.ledger.ledger import new_id
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.stimuli import whole

if TYPE_CHECKING:
    from bot.study.study_chat import StudyChat
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled
    from engine.study.experiments.passages import Item
    from engine.study.experiments.steps import Step

BEGIN = "begin"  # of a flow, in a button
ITEM = "item:"  # begins a receipt
MOST = 2_000


class FlowChat:
    def __init__(self, chat: "StudyChat") -> None:
        self._chat = chat
        self._services = chat.context.services
        self._panels = Bounded[tuple[str, str], str](MOST)  # until they agree

    async def begin(self, who: Who, panel: str = "") -> Reply:
        """Begin, go on, or ask for consent first, with the id that a panel gave. Raises AskerError."""
        study = self._services.study_services
        if study is None:
            raise AskerError(words("study.none", who.locale))
        if not who.alone:
            raise AskerError(words("flow.alone", who.locale))
        if panel:
            self._panels[who.account] = panel
        person = await self._services.participant(who)
        if person is None:
            from bot.study.consent import consent

            return await consent(self._chat, Simple(name="consent"), who)
        told = await self._note(person, who)
        found = await study.enrolled(person, who, Candidate(task="flow"))
        if found is None:
            mine = await study.experiments.of_person(person)
            found = next((one for one in mine if one.experiment.task == "flow"), None)
        if found is None:
            raise AskerError(words("flow.none", who.locale))
        said = await self.go_on(found, person, who)
        return replace(said, text=f"{told}\n\n{said.text}") if told else said

    async def offered(self, who: Who) -> Rows:
        """Give the button that begins a flow or goes on in it, where there is one for this person."""
        study, person = self._services.study_services, await self._services.participant(who)
        if study is None or person is None or not who.alone:
            return ()
        asking = Candidate(task="flow")
        if not (study.experiments.fitting(who, asking) or await study.flow.current(person)):
            return ()
        label = words("flow.begin", who.locale)
        return ((button(Verb.MORE, new_id(), BEGIN, label=label),),)

    async def _note(self, person: "Person", who: Who) -> str:
        """Keep the panel's id, apart from the data; the first that somebody came with stands."""
        panel = self._panels.pop(who.account, "")
        if not panel:
            return ""
        done = await self._services.study.panel.note(person, panel)
        if done == "taken":
            raise AskerError(words("flow.taken", who.locale))
        return words("flow.other_id", who.locale) if done == "other" else ""

    async def go_on(
        self, enrolled: "Enrolled", person: "Person", who: Who, without: tuple[str, ...] = ()
    ) -> Reply:
        """Show what comes next to somebody, or the end."""
        study = self._services.study
        place = await study.flow.place(enrolled, person, without)
        step = place.step
        running = await study.experiments.running(enrolled.experiment)
        if step is None or not (running or step.id == "after"):
            if step is None:
                await study.flow.finish(enrolled, person)
            return await self._chat.debriefs.end(enrolled, person, who)
        if place.asked is not None:
            meant = Meant(enrolled=enrolled, person=person, instrument=step.id)
            return self._chat.questions.show(meant, place.asked, who, replaces=True)
        if not step.stimuli and step.kind != "guess":
            count = step.count - place.done
            return Reply(words(f"flow.{step.kind}", who.locale, count=count), replaces=True)
        if not step.id:
            return await self._chat.guessing.guess(who)
        name = await self._trial(enrolled, step, person)
        if name is None:
            return await self.go_on(enrolled, person, who, (*without, step.id))
        return await self._shown(enrolled, person, step, name, who)

    async def _trial(self, enrolled: "Enrolled", step: "Step", person: "Person") -> str | None:
        """Take up what was shown and not judged, or draw; None where nothing is left."""
        study = self._services.study
        experiment = enrolled.experiment
        while True:
            open_one = await study.exposures.open_one(person, experiment.id, step.id)
            if open_one is not None:
                return open_one
            if step.stimuli:
                items = await study.stimuli.draw(enrolled, step, person)
            else:
                passage = await study.passages.draw(person)
                items = (passage,) if passage else None
            if items is None:
                return None
            name, pair = new_id(), step.kind == "compare"
            made = await study.exposures.make(
                name,
                person,
                step.kind,
                shown=[_facts(x, item) for x, item in zip("ab", items, strict=False)],
                seed=0,
                experiment=experiment,
                step=step.id,
                item=whole(step.stimuli, items[0].stimulus) if pair else items[0].id,
            )
            if made:
                return name

    async def _shown(
        self, enrolled: "Enrolled", person: "Person", step: "Step", name: str, who: Who
    ) -> Reply:
        match step.kind:
            case "compare":
                from bot.study.ballot import again

                return await again(self._chat, name, who)
            case "guess":
                return await self._chat.guessing.again(name, who)
            case _:
                return await self._item(enrolled, person, name, who)

    async def _item(self, enrolled: "Enrolled", person: "Person", name: str, who: Who) -> Reply:
        """Show an item with the first question about it."""
        study = self._services.study
        seen = await study.exposures.get(name)
        item = study.stimuli.named(seen.shown[0]["item"]) if seen is not None else None
        if seen is None or item is None:
            raise AskerError(words("questions.expired", who.locale))
        asked = await study.questionnaires.next(enrolled, seen.step, person, about=name)
        meant = Meant(enrolled=enrolled, person=person, instrument=seen.step, about=name)
        assert asked is not None, "it is not judged yet"
        text, pictures = await shown_item(self._services, item)
        head = "\n\n".join(part for part in (text, words("footer.ai", who.locale)) if part)
        said = self._chat.questions.show(meant, asked, who, opening=head)
        receipt = f"{ITEM}{name}"
        return replace(said, pictures=pictures, receipt=receipt, replaces=not pictures)

    async def rated(self, enrolled: "Enrolled", person: "Person", name: str, who: Who) -> Reply:
        """Ask the next question about an item, or go on after the last."""
        study = self._services.study
        seen = await study.exposures.get(name)
        step = enrolled.experiment.step_named(seen.step) if seen is not None else None
        if step is None:
            raise AskerError(words("questions.expired", who.locale))
        asked = await study.questionnaires.next(enrolled, step.id, person, about=name)
        if asked is not None:
            return await self._item(enrolled, person, name, who)
        await study.exposures.rated(name, practice=step.practice)
        return await self.go_on(enrolled, person, who)

    async def receipt(self, name: str, shown: bool) -> None:
        exposures = self._services.study.exposures
        await (exposures.delivered(name) if shown else exposures.void(name, "undelivered"))


def _facts(label: str, item: "Item") -> dict[str, Any]:
    same = item.model_dump(include={"kind", "expert", "arm", "stimulus"})
    return {"label": label, "item": item.id, "plain": False, "named_itself": False} | same

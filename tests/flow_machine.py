"""A flow against a model of it: people come with panel ids, go on, leave, block the bot, are forgotten.

Real ledger, flow, stimuli and panel. What must hold after every step: nobody meets anything twice; no
step has more than it says, no stimulus more judges than are asked for, no quota more people; practice
counts nowhere; a panel's id is one person's; what was answered before something was shown is shut after
it; who is through is through, and whoever is not has a next step.
"""

import asyncio
import shutil
import time
from collections import Counter
from typing import Any

import sqlalchemy as sa
from experimenting import agree, spot
from flows import FLOW, make_flow, pool, pool_text
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from machine_world import world

from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database
from engine.study.consent.participants import person_at
from engine.study.erasure_rules import erase
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.enrolment import FULL
from engine.study.experiments.tables import Enrolment, Exposure, PanelId
from engine.study.study import open_study
from engine.study.study_services import StudyServices

ASKING = Candidate(task="flow")
SEEN_BY, OFTEN = 2, 2
TEXT = FLOW.replace("seen_by = 20", f"seen_by = {SEEN_BY}").replace("never = 10", "never = 3")
people = st.sampled_from(("1", "2", "3", "4", "5"))


class FlowMachine(RuleBasedStateMachine):
    """One run; `taken` counts the steps of all."""

    taken = 0

    def __init__(self) -> None:
        super().__init__()
        self.settings = world().copy()
        self.folder = make_flow(self.settings.home, TEXT)
        self.loop = asyncio.new_event_loop()
        self.through: set[str] = set()
        self.panels: dict[str, str] = {}
        self.baseline: dict[str, bool] = {}  # of whom has one, whether it is shut
        self.ahead = 0.0
        self.size = 12  # items of the pool
        self.do(self._open())

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        database = await open_database(self.settings, synced=False)
        self.ledger = Ledger(database, self.settings.media, lambda: time.time() + self.ahead, [])
        study = await open_study(self.settings, self.ledger)
        assert study is not None
        self.study, self.services = study, StudyServices(self.ledger, study, self.folder)
        await self.services.open()

    def teardown(self) -> None:
        self.do(self.ledger.close())
        self.loop.close()
        shutil.rmtree(self.settings.home)

    def _person(self, name: str) -> Any:
        async def found() -> Any:
            async with self.ledger.reading() as connection:
                return await person_at(connection, self.study, spot(name))

        known = self.do(found())
        if known is None:
            self.do(agree(self.ledger, self.study, "terminal", name))
        return known or self.do(found())

    @rule(who=people, panel=st.sampled_from(("A", "B", "C")))
    def comes_from_the_panel(self, who: str, panel: str) -> None:
        FlowMachine.taken += 1
        owner = next((name for name, held in self.panels.items() if held == panel), None)
        mine = self.panels.get(who)
        expected = "noted" if owner == who or (owner is None and mine is None) else "other"
        expected = "taken" if owner not in (None, who) else expected
        assert self.do(self.services.panel.note(self._person(who), panel)) == expected
        if expected == "noted":
            self.panels[who] = panel

    @rule(who=people, ends=st.sampled_from(("judges", "judges", "judges", "leaves", "blocks")))
    def goes_on(self, who: str, ends: str) -> None:
        FlowMachine.taken += 1
        person, of = self._person(who), self.services
        found = self.do(of.enrolled(person, spot(who), ASKING))
        if found is None:
            return
        assert who not in self.through, "who is through is through"
        place = self.do(of.flow.place(found, person))
        if place.asked is not None:
            self._answers(found, person, place, who)
            return
        without: tuple[str, ...] = ()
        while place.step is not None and place.step.trials:
            name = self.do(of.flow.trial(found, place.step, person))
            if name is not None:
                self._judges(found, person, place.step, name, ends)
                self.baseline[who] |= ends != "blocks"
                return
            without = (*without, place.step.id)
            place = self.do(of.flow.place(found, person, without))
        if place.asked is not None:
            self._answers(found, person, place, who)
            return
        self.do(of.flow.finish(found, person))
        self.do(of.questionnaires.debriefed("tell", person))
        self.through.add(who)
        self.baseline[who] = True

    @rule(seconds=st.sampled_from((-3600.0, -5.0, 5.0)))
    def the_clock_jumps(self, seconds: float) -> None:
        self.ahead += seconds

    @rule(who=people)
    def answers_from_before_again(self, who: str) -> None:
        FlowMachine.taken += 1
        person = self._person(who)
        for one in self.do(self.services.experiments.of_person(person)):
            if who in self.baseline:
                given = one, "before", person, 0, str(int(who) % 2)
                asked = self.do(self.services.questionnaires.answer(*given))
                assert (asked is None) == self.baseline[who], "shut once something was shown"

    def _answers(self, found: Any, person: Any, place: Any, who: str) -> None:
        question, of = place.asked.question, self.services
        typed = {"number": "44", "text": "Nothing."}.get(question.kind)
        choice = str(int(who) % 2) if question.id == "reads" else "0"
        given = found, place.step.id, person, place.asked.place, choice
        asked = self.do(of.questionnaires.answer(*given, typed=typed))
        assert asked is not None
        self.baseline.setdefault(who, False)
        now = self.do(of.flow.answered(found, asked, person))
        if now.excluded == FULL:
            self.through.add(who)

    def _judges(self, found: Any, person: Any, step: Any, name: str, ends: str) -> None:
        of = self.services
        if ends == "blocks":
            self.do(of.exposures.void(name, "undelivered"))
            return
        self.do(of.exposures.delivered(name))
        if ends == "leaves":
            assert self.do(of.flow.trial(found, step, person)) == name, (
                "the same, when they are back"
            )
        elif step.kind == "rate":
            while (a := self.do(of.questionnaires.next(found, step.id, person, name))) is not None:
                assert self.do(of.questionnaires.answer(found, step.id, person, a.place, "1", name))
            self.do(of.exposures.rated(name, practice=step.practice))
        else:
            choice = "a" if step.kind == "compare" else "real"
            said = of.exposures.vote(name, person, choice, reveal=True, practice=step.practice)
            assert self.do(said)

    @rule(count=st.integers(2, 7))
    def the_files_are_edited_and_the_bot_starts_anew(self, count: int) -> None:
        FlowMachine.taken += 1
        (self.folder / "stimuli" / "manner.items.toml").write_text(pool_text(pool("manner", count)))
        self.do(self.services.open())
        frozen = "tell" in self.services.experiments.frozen
        self.size = self.size if frozen else 2 * count
        assert len(self.services.stimuli.pools["manner"]) == self.size, "frozen once met"

    @rule(who=people)
    def is_forgotten(self, who: str) -> None:
        FlowMachine.taken += 1
        name = self.study.pseudonym("terminal", who)

        async def gone() -> None:
            async with self.ledger.writing() as connection:
                await erase(connection, [name], standing=True)

        self.do(gone())
        self.through.discard(who)
        self.panels.pop(who, None)
        self.baseline.pop(who, None)

    async def _rows(self, table: Any) -> Any:
        async with self.ledger.reading() as connection:
            return (await connection.execute(sa.select(table.__table__))).all()

    @invariant()
    def what_must_hold(self) -> None:
        exposures = self.do(self._rows(Exposure))
        met = [(row.pseudonym, row.item) for row in exposures]
        assert len(set(met)) == len(met), "nothing twice"
        judged = [row for row in exposures if row.state == "voted"]
        assert all(row.step != "practice" for row in judged)
        counts = Counter((row.pseudonym, row.step) for row in judged)
        assert all(n <= {"pairs": 2, "tell": 2, "rate": 1}[step] for (_, step), n in counts.items())
        assert max(Counter((r.step, r.item) for r in judged).values(), default=0) <= SEEN_BY
        strata = Counter(row.stratum for row in self.do(self._rows(Enrolment)) if not row.excluded)
        assert strata["often"] <= OFTEN and strata["never"] <= 3
        assert {row.panel for row in self.do(self._rows(PanelId))} == set(self.panels.values())

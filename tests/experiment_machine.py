"""Experiments against a model of them: people ask, answer, leave and are forgotten; files come and stop.

Real ledger, enrolment, exposures, questionnaires and export's reading. What must hold after every step:
nobody is left without an experiment while one that fits has room; who is in one goes on in it; nobody
judges more than it has; the baseline is shut after the treatment, and everything once the arms were
told; the last word counts, though the clock jumps back; each arm's count is kept.
"""

import asyncio
import shutil
import time
from collections import Counter
from typing import Any

from experimenting import STUDY, agree, experiment_text, spot
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from machine_world import world

from engine.ledger.ledger import Ledger, new_id
from engine.ledger.storage import open_database
from engine.study.consent.participants import person_at
from engine.study.erasure_rules import erase
from engine.study.experiments.eligibility import Candidate
from engine.study.export.dataset import read_study
from engine.study.study import open_study
from engine.study.study_services import StudyServices

ASKING = Candidate(task="compare", command="story")
QUESTION = '[[before]]\nid = "age"\ntext = "?"\nkind = "choice"\nchoices = ["18", "30"]'
MOST, EXPOSURES = 3, 2
NAMES = ("b", "a", "c")  # the second comes later and sorts earlier
people = st.sampled_from(("1", "2", "3", "4", "5"))


class ExperimentMachine(RuleBasedStateMachine):
    """One run; `taken` counts the steps of all."""

    taken = 0

    def __init__(self) -> None:
        super().__init__()
        self.settings = world().copy()
        self.folder = self.settings.home / "studies" / "pilot"
        (self.folder / "study.toml").write_text(STUDY)
        (self.folder / "experiments").mkdir()
        self.loop = asyncio.new_event_loop()
        self.files = 0
        self.stopped: set[str] = set()
        self.units: dict[tuple[str, str], str] = {}  # of (experiment, person) the arm
        self.open: dict[str, tuple[str, str]] = {}  # an exposure not voted on, and whose it is
        self.voted: Counter[tuple[str, str]] = Counter()
        self.delivered: set[tuple[str, str]] = set()
        self.told: set[tuple[str, str]] = set()
        self.ahead = 0.0
        self.allocated: Counter[tuple[str, str]] = Counter()
        self.do(self._open())
        self.a_file_comes()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        database = await open_database(self.settings, synced=False)
        self.ledger = Ledger(database, self.settings.media, lambda: time.time() + self.ahead, [])
        study = await open_study(self.settings, self.ledger)
        assert study is not None
        self.study, self.services = study, StudyServices(self.ledger, study, self.folder)

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

    @rule()
    def a_file_comes(self) -> None:
        if self.files < len(NAMES):
            name = NAMES[self.files]
            more = f"exposures = {EXPOSURES}"
            text = experiment_text(name, "compare", MOST, more, QUESTION).replace(
                'name = "base"', 'name = "third"\n\n[[arms]]\nname = "base"', 1
            )
            (self.folder / "experiments" / f"{name}.toml").write_text(text)
            self.files += 1
        self.do(self.services.experiments.load())

    @rule(which=st.sampled_from(NAMES))
    def an_experiment_is_stopped(self, which: str) -> None:
        if which in NAMES[: self.files] and len(self.stopped) < 2:
            self.do(self.services.experiments.stop(which, "a fault"))
            self.stopped.add(which)

    def _through(self, name: str, who: str) -> bool:
        return self.voted[name, who] >= EXPOSURES or (name, who) in self.told

    @rule(seconds=st.sampled_from((-3600.0, -5.0, 5.0)))
    def the_clock_jumps(self, seconds: float) -> None:
        self.ahead += seconds

    @rule(who=people)
    def is_told(self, who: str) -> None:
        person = self._person(who)
        for one in self.do(self.services.experiments.of_person(person)):
            self.do(self.services.questionnaires.debriefed(one.experiment.id, person))
            self.told.add((one.experiment.id, who))

    @rule(who=people, shown=st.sampled_from((True, True, True, False)))
    def asks(self, who: str, shown: bool) -> None:
        ExperimentMachine.taken += 1
        person = self._person(who)
        running = sorted(set(NAMES[: self.files]) - self.stopped)
        mine = [n for n in running if (n, who) in self.units and not self._through(n, who)]
        room = [
            n for n in running
            if (n, who) not in self.units
            and sum(count for (e, _), count in self.allocated.items() if e == n) < MOST
        ]  # fmt: skip
        found = self.do(self.services.enrolled(person, spot(who), ASKING))
        expected = (mine or room or [None])[0]
        assert (found.experiment.id if found else None) == expected
        if found is None:
            return
        unit = found.experiment.id, who
        if unit not in self.units:
            self.units[unit] = found.arm
            self.allocated[unit[0], found.arm] += 1
        assert self.units[unit] == found.arm
        name = new_id()
        facts = [
            {"label": label, "arm": arm.name} for label, arm in zip("ab", found.arms, strict=True)
        ]
        of = {"shown": facts, "seed": 1, "experiment": found.experiment}
        assert self.do(self.services.exposures.make(name, person, "compare", **of))
        if shown:
            self.do(self.services.exposures.delivered(name))
            self.delivered.add(unit)
            self.open[name] = unit
        else:
            self.do(self.services.exposures.void(name, "undelivered"))

    @rule(which=st.integers(0, 999), jump=st.sampled_from((0.0, -60.0)))
    def votes(self, which: int, jump: float) -> None:
        ExperimentMachine.taken += 1
        if not self.open:
            return
        name = list(self.open)[which % len(self.open)]
        unit = self.open.pop(name)
        person, exposures = self._person(unit[1]), self.services.exposures
        done = self.do(exposures.vote(name, person, "b"))
        self.ahead += jump
        assert self.do(exposures.vote(name, person, "a", reveal=True)) == done
        assert not (done and unit in self.told), "shut once told"
        assert not done or self.do(exposures.get(name)).choice == "a", "the last word counts"
        self.voted[unit] += done
        assert self.voted[unit] <= EXPOSURES, "exposures are a ceiling"

    @rule(who=people, choice=st.sampled_from(("0", "1")))
    def answers_from_before(self, who: str, choice: str) -> None:
        ExperimentMachine.taken += 1
        person = self._person(who)
        for one in self.do(self.services.experiments.of_person(person)):
            answer = self.services.questionnaires.answer(one, "before", person, 0, choice)
            unit = one.experiment.id, who
            shut = unit in self.delivered | self.told
            assert (self.do(answer) is None) == shut, "shut once delivered, or told"

    @rule(who=people)
    def is_forgotten(self, who: str) -> None:
        ExperimentMachine.taken += 1
        name = self.study.pseudonym("terminal", who)

        async def gone() -> None:
            async with self.ledger.writing() as connection:
                await erase(connection, [name], standing=True)

        self.do(gone())
        for kept in (self.units, self.voted):
            for unit in [unit for unit in kept if unit[1] == who]:
                del kept[unit]
        self.open = {name: unit for name, unit in self.open.items() if unit[1] != who}
        self.delivered = {unit for unit in self.delivered if unit[1] != who}
        self.told = {unit for unit in self.told if unit[1] != who}

    @invariant()
    def every_arm_keeps_its_count(self) -> None:
        reading = self.do(read_study(self.ledger, "pilot"))
        assert {arm: units[0] for arm, units in reading.flow.units.items()} == dict(self.allocated)
        for unit, count in self.voted.items():
            person = self.study.pseudonym("terminal", unit[1])
            own = [
                row for row in reading.tables["exposures"]
                if (row["experiment"], row["pseudonym"], row["state"]) == (unit[0], person, "voted")
            ]  # fmt: skip
            assert len(own) == count <= EXPOSURES

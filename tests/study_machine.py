"""The study against a model of it: anything that people, places and clocks may do, in any order.

Real ledger, services and export's reading, on SQLite in memory-backed files, unsynced. The model is
a few lists. After every step the interactions, their links, words, pictures and what an export would
hold are compared with it.
"""

import asyncio
import hashlib
import shutil
import sqlite3
import time
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from machine_world import world
from study_model import PEOPLE, Asked, Form, Model, Person, Row

from engine.chat.quotas import NO_LIMIT
from engine.chat.retention import AHEAD_SECONDS, KEEP_SECONDS
from engine.events import Cancelled, Failed, Finished, Picture
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.storage import open_database
from engine.ledger.transactions import Database
from engine.plan.cards import Sampling
from engine.plan.job import Job, Request
from engine.plan.route import Route
from engine.process.services import Services
from engine.study.consent.consent import Answers
from engine.study.export.dataset import read_study
from engine.study.observer import StudyObserver
from engine.study.study import open_study

PLACES = ("own", "-100", "-200")
ROUTE = Route(expert="lovecraft", rule="default", evidence=(), runners_up=())
people, places = st.sampled_from(PEOPLE), st.sampled_from(PLACES)
groups, at = st.sampled_from(PLACES[1:]), st.integers(0, 10_000)
ends = st.sampled_from(("finished", "drawn", "finished", "cancelled", "failed"))

# What may happen: how often it is drawn, and by which of the facts below. One rule draws from all of
# it, since the runner leaves out about half of many rules in each run, and what matters is how things
# meet.
STEPS: dict[str, tuple[int, tuple[str, ...]]] = {
    "consents": (4, ("person", "flag")),
    "has_a_form": (2, ("person", "which", "form")),
    "withdraws": (3, ("person", "rarely")),
    "the_text_changes": (1, ()),
    "place_is_switched": (2, ("group", "action")),
    "asks_alone": (3, ("person", "rarely")),
    "asks_in_a_group": (3, ("person", "group")),
    "asks_and_is_answered": (7, ("person", "place", "end")),
    "goes_on_from_an_answer": (6, ("person", "place", "which")),
    "a_job_ends": (4, ("which", "end")),
    "an_answer_is_delivered": (2, ("which",)),
    "something_is_said": (4, ("person", "which", "said")),
    "an_answer_is_deleted": (1, ("which",)),
    "is_forgotten": (1, ("person",)),
    "time_passes": (2, ("hours", "retention")),
    "accounts_are_linked": (1, ("person", "other")),
    "an_export_is_read": (2, ("rarely",)),
}
NAMES = [name for name, (weight, _) in STEPS.items() for _ in range(weight)]
FACTS = st.fixed_dictionaries(
    {
        "person": people,
        "other": people,
        "group": groups,
        "place": places,
        "which": at,
        "end": ends,
        "flag": st.booleans(),
        "rarely": st.sampled_from((False, False, False, True)),
        "form": st.sampled_from(("opens", "saves", "declines")),
        "action": st.sampled_from(("on", "on", "off", "left")),
        "said": st.sampled_from(("ratings", "events")),
        "hours": st.sampled_from((-200, -1, 0, 1, 30, 80, 800)),
        "retention": st.sampled_from(("", "dry", "real")),
    }
)


class StudyMachine(RuleBasedStateMachine):
    """One run: a fresh ledger, and steps in any order; `taken` counts those of all runs."""

    taken = 0

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.settings = world().copy()
        self.model = Model()
        self.now = time.time()
        self.notes: list[tuple[str, str, Person]] = []  # what the study should have: what, job, who
        self.unlinked: set[str] = set()  # jobs whose way to the study is cleared
        self.known: dict[str, str] = {}
        self.reader = sqlite3.connect(self.settings.ledger_file)
        self.do(self._open())

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        database = await open_database(self.settings, synced=False)
        self.observer = StudyObserver(await open_study(self.settings, Database(database)))
        observers = [self.observer]
        self.ledger = Ledger(database, self.settings.media, lambda: self.now, observers)
        self.services = Services(self.ledger, self.settings, NO_LIMIT, NO_LIMIT)
        await self.services.forgetting.remember_to_forget()

    def teardown(self) -> None:
        self.reader.close()
        self.do(self.ledger.close())
        self.loop.close()
        shutil.rmtree(self.settings.home)

    @property
    def study(self) -> Any:
        return self.services.agreements.running

    def live(self, person: Person) -> bool:
        """Whether the person's last word is a consent to the text of now."""
        log = self.model.log[person]
        return bool(log and log[-1]) and self.study.current(log[-1])

    @rule(name=st.sampled_from(NAMES), facts=FACTS)
    def happens(self, name: str, facts: dict[str, Any]) -> None:
        """One of STEPS."""
        StudyMachine.taken += 1
        getattr(self, name)(*(facts[fact] for fact in STEPS[name][1]))

    # Consent

    @initialize(who=st.sets(people, min_size=1), on=st.sets(groups))
    def some_take_part_already(self, who: set[Person], on: set[str]) -> None:
        for person in sorted(who):
            self.consents(person, linkage=True)
        for place in sorted(on):
            self.place_is_switched(place, "on")

    def is_shown_a_form(self, person: Person) -> None:
        text = self.study.text("en")
        name = self.do(self.services.agreements.form(*person))
        after, life = len(self.model.log[person]), self.model.lives[person]
        self.model.forms.append(Form(person, name, text, after, life))

    def has_a_form(self, person: Person, which: int, what: str) -> None:
        """Opens one, saves one that may be old, or declines."""
        if what == "opens":
            self.is_shown_a_form(person)
        elif what == "declines":
            self.do(self.services.agreements.noted(*person, "declined"))
        elif self.model.forms:
            self._saves(which, which % 2 == 0, which % 3 == 0)

    def _saves(self, which: int, excerpts: bool, linkage: bool) -> None:
        form = self.model.forms[which % len(self.model.forms)]
        person, log = form.person, self.model.log[form.person]
        if not self.study.current(form.text.sha256) or form.life != self.model.lives[person]:
            return  # the chat shows a fresh one: see test_consent.py
        answers = Answers(adult=True, use=True, excerpts=excerpts, linkage=linkage)
        done = self.do(
            self.services.agreements.save(*person, answers, form.text, form.name, "private")
        )
        if form.name in self.model.saved:
            assert done == "saved"
        elif form.after != len(log):
            assert done == "older"
        else:
            assert done == "granted"
            log.append(form.text.sha256)
            self.model.saved.add(form.name)
            self.model.linkage[person] = linkage

    def consents(self, person: Person, linkage: bool) -> None:
        self.is_shown_a_form(person)
        self._saves(len(self.model.forms) - 1, True, linkage)

    def withdraws(self, person: Person, delete: bool) -> None:
        done = self.do(self.services.agreements.withdraw(*person, "private"))
        assert done == self.model.granted(person)
        if done:
            self.model.log[person].append("")
            self._cut_off(person, keep_own=True)
        if delete and self.model.log[person]:
            count = self.do(self.services.withdraw_all(*person))
            assert count == len([r for r in self.model.rows.values() if r.person == person])
            self._erase(person)

    def the_text_changes(self) -> None:
        """Or changes back: then what was agreed to it holds again."""
        other = {"1": "2"}.get(self.study.text("en").version, "1")
        texts = {}
        for name, text in self.study.texts.items():
            digest = hashlib.sha256(f"{name} {other}".encode()).hexdigest()
            texts[name] = replace(text, version=other, sha256=digest)
        changed = replace(self.study, texts=texts)
        for holder in (self.services.agreements, self.observer, self.services.agreements.observer):
            holder.study = changed

    # Places

    def place_is_switched(self, place: str, action: str) -> None:
        done = self.do(self.services.agreements.switch("telegram", place, "group", action))
        assert done == ((place in self.model.on) != (action == "on"))
        (self.model.on.add if action == "on" else self.model.on.discard)(place)

    # Requests

    def _ask(self, person: Person, place: str, private: bool, parent: str | None) -> None:
        platform, asker = person
        alone = place == "own"
        before = self.model.jobs[parent].request if parent else None
        request = Request(
            command="story",
            text="The vicar coughed.",
            platform=platform,
            asker=asker,
            place=f"own {asker}" if alone else place,
            parent=before,
            beginning="Words of before." if before else None,
            private=private,
            alone=alone,
        )
        job = Job(
            id=new_id(), request=new_id(), expert="lovecraft", medium="text", prompt="p", head=1,
            length=16, seed=1, sampling=Sampling(),
        )  # fmt: skip
        assert self.do(self.ledger.accept(request, ROUTE, job))
        self.model.jobs[job.id] = Asked(person, place, job.request, private, parent, self.now)
        here = alone or (platform == "telegram" and place in self.model.on)
        above = self.model.rows.get(parent) if parent else None
        sound = parent is None or (above is not None and self.live(above.person))
        if self.live(person) and here and sound and not private:
            self.model.rows[job.id] = Row(person, job.id, parent, began=parent is not None)

    def asks_alone(self, person: Person, private: bool) -> None:
        self._ask(person, "own", private, None)

    def asks_in_a_group(self, person: Person, place: str) -> None:
        self._ask(person, place, False, None)

    def asks_and_is_answered(self, person: Person, place: str, end: str) -> None:
        self._ask(person, place, False, None)
        self._end(list(self.model.jobs)[-1], end)

    def goes_on_from_an_answer(self, person: Person, place: str, which: int) -> None:
        there = [n for n, j in self.model.jobs.items() if not (j.running or j.blank or j.cut)]
        if there:
            self._ask(person, place, False, there[which % len(there)])

    def a_job_ends(self, which: int, end: str) -> None:
        running = [name for name, job in self.model.jobs.items() if job.running]
        if running:
            self._end(running[which % len(running)], end)

    def _end(self, name: str, end: str) -> None:
        facts: dict[str, Any] = {"job": name, "attempt": 1}
        made: dict[str, Any] = {
            "tokens_in": 3, "tokens_out": 5, "first_token_seconds": 0.1, "seconds": 1.0,
        }  # fmt: skip
        picture = Picture(data=name.encode(), width=8, height=8, seed=1)
        event = {
            "finished": lambda: Finished(**facts, **made, text="A story."),
            "drawn": lambda: Finished(**facts, **made, text="", pictures=(picture,)),
            "cancelled": lambda: Cancelled(**facts, text="A st"),
            "failed": lambda: Failed(**facts, message="no", reason="no"),
        }[end]()
        assert self.do(self.ledger.finish(event))
        job = self.model.jobs[name]
        job.running, job.finished_at = False, self.now
        job.finished = end in ("finished", "drawn")
        drawn = hashlib.sha256(name.encode()).hexdigest() if end == "drawn" else ""
        job.picture = drawn
        row = self.model.rows.get(name)
        if row is not None:
            row.state = {"drawn": "finished"}.get(end, end)
            if self.model.granted(row.person):
                row.output, row.picture = end in ("finished", "cancelled"), drawn

    def an_answer_is_delivered(self, which: int) -> None:
        """A private one leaves the record with it."""
        done = [name for name, job in self.model.jobs.items() if not job.running]
        if not done:
            return
        name = done[which % len(done)]
        private = self.do(self._private(name))
        self.do(self.ledger.delivered(name))
        if private:
            del self.model.jobs[name]

    async def _private(self, name: str) -> bool:
        found = await self.ledger.answer(name)
        return found is not None and found.request.private

    def something_is_said(self, person: Person, which: int, what: str) -> None:
        self._says(person, which, what, 1)

    def _says(self, person: Person, which: int, what: str, value: int) -> None:
        names = list(self.model.jobs)
        if not names:
            return
        name = names[which % len(names)]
        if what == "ratings":
            self.do(self.services.feedback.rate(*person, name, value))
        else:
            platform, asker = person
            press = self.services.agreements.event("press", name, platform=platform, asker=asker)
            self.do(press)
        job, row = self.model.jobs[name], self.model.rows.get(name)
        here = job.place == "own" or job.place in self.model.on
        if row is not None and not job.blank and here and self.live(person):
            self.notes.append((what, name, person))

    def an_answer_is_deleted(self, which: int) -> None:
        done = [name for name, job in self.model.jobs.items() if not job.running]
        if not done:
            return
        name = done[which % len(done)]
        self.do(self.services.feedback.hide(name))
        self.model.jobs[name].blank = True
        self.model.jobs[name].picture = ""
        row = self.model.rows.get(name)
        if row is not None and name not in self.unlinked:
            row.output, row.picture = False, ""
            for child in self._after({name}, self.model.rows):
                self.model.rows[child].began = False
        self.unlinked.add(name)
        self._cut({name}, but_of=self.model.jobs[name].person)

    @staticmethod
    def _after(names: set[str], of: dict[str, Any]) -> set[str]:
        """What goes on from these, however far."""
        seen, parents = set(names), set(names)
        while parents:
            parents = {n for n, one in of.items() if one.parent in parents} - seen
            seen |= parents
        return seen - names

    def _cut(self, names: set[str], but_of: Person | None = None) -> None:
        for name in self._after(names, self.model.jobs):
            self.model.jobs[name].cut |= self.model.jobs[name].person != but_of

    # Ends

    def is_forgotten(self, person: Person) -> None:
        for name, job in list(self.model.jobs.items()):
            if job.person == person and job.running:
                self._end(name, "cancelled")
        jobs = self.model.jobs.items()
        mine = [name for name, job in jobs if job.person == person and not job.nobodys]
        done = self.do(self.services.forget(*person))
        assert done.requests == len(mine)
        self._cut(set(mine))
        for job in self.model.jobs.values():
            job.parent = None if job.parent in mine else job.parent
        for name in mine:
            self.unlinked.add(name)
            del self.model.jobs[name]
        self._erase(person)
        self.model.log[person] = []
        self.model.lives[person] += 1
        assert self.do(self.services.agreements.held(*person)) == {}

    def _erase(self, person: Person) -> None:
        self._cut_off(person, keep_own=False)
        gone = {name for name, row in self.model.rows.items() if row.person == person}
        for name in gone:
            del self.model.rows[name]
        self.notes = [n for n in self.notes if n[1] not in gone and n[2] != person]

    def _cut_off(self, person: Person, *, keep_own: bool) -> None:
        mine = {name for name, row in self.model.rows.items() if row.person == person}
        for name in self._after(mine, self.model.rows):
            if not (keep_own and self.model.rows[name].person == person):
                self.model.rows[name].began = False
        for row in self.model.rows.values():
            if row.parent in mine and not (keep_own and row.person == person):
                row.parent = None

    def time_passes(self, hours: int, retention: str) -> None:
        """Forwards or backwards; and a round of retention, perhaps."""
        self.now += hours * 3600.0
        if retention:
            self._retention(dry_run=retention == "dry")

    def _retention(self, *, dry_run: bool) -> None:
        old = {name for name, job in self.model.jobs.items() if not job.blank and self._old(job)}
        gone = {name for name in old if self.model.jobs[name].private}
        done = self.do(self.services.retention.clean(dry_run=dry_run))
        assert (done["blanked"], done["private"]) == (len(old - gone), len(gone))
        if dry_run:
            return
        for name in old:
            job, row = self.model.jobs[name], self.model.rows.get(name)
            if job.running and row is not None:
                row.state = "failed"
            job.running, job.blank, job.picture = False, True, ""
            self.unlinked.add(name)
        self._cut(gone)
        for name in gone:
            del self.model.jobs[name]
        self._disown()

    def _disown(self) -> None:
        """Of what is over and has no words left; but not while somebody has words that they took up."""
        jobs, waits = self.model.jobs, set()
        above = {job.parent for job in jobs.values() if not (job.blank or job.cut)} - {None}
        while above - waits:
            waits |= above
            above = {jobs[name].parent for name in above if name in jobs} - {None}
        for name, job in jobs.items():
            job.nobodys |= job.blank and self._old(job) and name not in waits

    def _old(self, job: Asked) -> bool:
        """Whether its words have had their time; of what failed, or never ended, nothing is awaited."""
        times = [] if job.finished else [job.accepted_at]
        times += [] if job.running else [job.finished_at]
        return any(at < self.now - KEEP_SECONDS or at > self.now + AHEAD_SECONDS for at in times)

    def accounts_are_linked(self, one: Person, other: Person) -> None:
        willing = {p: self.live(p) and self.model.linkage[p] for p in (one, other)}
        code = self.do(self.services.agreements.new_code(*one))
        assert (code is not None) == willing[one]
        done = self.do(self.services.agreements.join(*other, code or "NONESUCH"))
        if not willing[other]:
            assert done == "unwilling"
        elif code is None:
            assert done == "wrong"
        else:
            assert done == ("own" if one == other else "joined")

    def an_export_is_read(self, restart: bool) -> None:
        """It holds what people gave who still agree, and nothing else; so it does after a start."""
        if restart:
            self._start_again()
        willing = {person for person in PEOPLE if self.model.granted(person)}
        names = self._named()
        expected = {names[job] for job, r in self.model.rows.items() if r.person in willing}
        assert self.do(self._exportable()) == expected

    def _start_again(self) -> None:
        """Another process takes over: nothing is forgotten twice, nothing comes back."""
        study = self.study
        self.do(self.ledger.close())
        self.do(self._open())
        if study.text("en").sha256 != self.study.text("en").sha256:
            for holder in (
                self.services.agreements,
                self.observer,
                self.services.agreements.observer,
            ):
                holder.study = study

    # What must hold

    async def _exportable(self) -> frozenset[str]:
        reading = await read_study(self.ledger, self.study.id)
        return frozenset(row["id"] for row in reading.tables["interactions"])

    @invariant()
    def the_record_is_as_the_model_says(self) -> None:
        """Read from outside, by a connection of the test's own."""
        names, model = self._named(), self.model
        assert names.keys() == model.rows.keys()
        look = self.reader.execute
        rows = look(
            "select id, pseudonym, job_id, parent, state, output is not null, "
            "beginning is not null from interactions"
        ).fetchall()
        assert {row[0]: tuple(row[1:]) for row in rows} == {
            names[job]: (
                self.study.pseudonym(*row.person),
                None if job in self.unlinked else job,
                names[row.parent] if row.parent else None,
                row.state,
                row.output,
                row.began,
            )
            for job, row in model.rows.items()
        }
        assert set(look("select interaction_id, media from study_pictures")) == {
            (names[job], row.picture) for job, row in model.rows.items() if row.picture
        }
        for what in ("ratings", "events"):
            [(count,)] = look(f"select count(*) from study_{what}")
            assert count == len([note for note in self.notes if note[0] == what])
        assert {name for (name,) in look("select id from jobs")} == model.jobs.keys()
        kept = {r.picture for r in model.rows.values()} | {j.picture for j in model.jobs.values()}
        assert set(self.ledger.media.names()) == kept - {""}

    def _named(self) -> dict[str, str]:
        """Which interaction is which job's, also when the record does not say so any more."""
        found = dict(self.reader.execute("select id, job_id from interactions").fetchall())
        for name, job in found.items():
            if job is not None:
                self.known[job] = name
        for job in [job for job, name in self.known.items() if name not in found]:
            del self.known[job]
        return self.known

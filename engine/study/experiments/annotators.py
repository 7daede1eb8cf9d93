"""Second raters: whom the researcher invited, and the finished items that each of them rates.

An item is a version of a stimulus, or a recorded answer that goes on from no other, of somebody who lets
excerpts be published. Of those that fewer than `annotators` rated, the one that most did goes first, so
that what is begun becomes whole; among equals the order follows from the key, another for everybody.
"""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from engine.errors import CommandError
from engine.ledger.transactions import Database, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.allocation import shuffled
from engine.study.experiments.passages import LONGEST, Item
from engine.study.experiments.steps import Step
from engine.study.experiments.stimuli import Stimuli, whole
from engine.study.experiments.tables import Exposure, PanelId
from engine.study.interactions import unnamed
from engine.study.pseudonyms import keyed
from engine.study.study import Study, StudyService
from engine.study.tables import ConsentRow, InteractionRow, StudyPictureRow, StudyRatingRow

if TYPE_CHECKING:
    from engine.study.experiments.enrolment import Enrolled

CODE_BYTES = 6


class Answer(Item):
    """Hold a recorded answer as an item that annotators rate."""

    interaction: str
    plain: bool

    @property
    def id(self) -> str:
        return self.interaction


class Annotators(StudyService):
    def __init__(self, database: Database, study: Study, stimuli: Stimuli) -> None:
        super().__init__(database, study)
        self._stimuli = stimuli
        self._of = sa.and_(PanelId.study == study.id, PanelId.annotator)

    async def invite(self, name: str) -> str:
        """Note a name; return the code that lets one person in under it. Raises CommandError."""
        if name in [one for one, _, _ in await self.listed()]:
            raise CommandError(f"{name!r} is invited already; remove them first for another code.")
        code = secrets.token_hex(CODE_BYTES)
        facts = {"panel": name, "annotator": True, "pseudonym": "", "at": self._database.clock()}
        row = {"study": self._study.id, "lookup": self._lookup(code), **facts}
        await self._database.change(sa.insert(PanelId).values(row))
        return code

    def _lookup(self, code: str) -> str:
        return keyed(self._study.needed_key(), f"annotator|{code.lower()}")

    async def listed(self) -> list[tuple[str, bool, int]]:
        """List (name, whether somebody came with the code, how many items they rated)."""
        of = {"study": self._study.id, "kind": "rate", "state": "voted"}
        rated = sa.select(sa.func.count(Exposure.id)).filter_by(**of)
        rated = rated.where(Exposure.pseudonym == PanelId.pseudonym)
        query = sa.select(PanelId.panel, PanelId.pseudonym, rated.scalar_subquery())
        rows = await self._database.rows(query.where(self._of))
        return sorted((name, bool(pseudonym), count) for name, pseudonym, count in rows)

    async def remove(self, name: str) -> bool:
        """Show somebody no more items; what they rated stays. False for a name that is not there."""
        query = sa.select(PanelId.lookup, PanelId.panel).where(self._of)
        found = [lookup for lookup, panel in await self._database.rows(query) if panel == name]
        await self._database.change(sa.delete(PanelId).where(self._of, PanelId.lookup.in_(found)))
        return bool(found)

    @repeated
    async def admit(self, person: Person, code: str) -> bool:
        """Let somebody in, who came with a code or has been let in; a code is one person's."""
        mine = self._of, PanelId.pseudonym.in_(person.accounts)
        unused = self._of, PanelId.pseudonym == "", PanelId.lookup == self._lookup(code)
        async with self._database.writing() as connection:
            if await connection.scalar(sa.select(PanelId.lookup).where(*mine)) is not None:
                return True
            taken = sa.update(PanelId).where(*unused).values(pseudonym=person.pseudonym)
            return bool((await connection.execute(taken)).rowcount)

    async def draw(self, enrolled: "Enrolled", step: Step, person: Person) -> tuple[Item] | None:
        """Choose what the annotator rates next. None: nothing is left, or they are no annotator now."""
        mine = self._of, PanelId.pseudonym.in_(person.accounts)
        if await self._database.scalar(sa.select(PanelId.lookup).where(*mine)) is None:
            return None
        experiment, met = enrolled.experiment, await self._stimuli.met(person)
        found = await (self._answers(step, person) if step.answers else self._versions(step, met))
        counts = await self._stimuli.counts(experiment.id, step.id)
        name = f"annotators|{experiment.id}|{step.id}|{enrolled.unit}"
        order = shuffled(self._study.needed_key(), name, sorted(found))
        left = [one for one in order if one not in met and counts[one] < experiment.annotators]
        for one in sorted(left, key=lambda one: -counts[one]):
            if (item := await self.named(one)) is not None:
                return (item,)
        return None

    async def _versions(self, step: Step, met: set[str]) -> Sequence[str]:
        active = await self._stimuli.active(step.stimuli)
        pool = self._stimuli.pools.get(step.stimuli, ())
        return [i.id for i in pool if i.id in active and whole(i.pool, i.stimulus) not in met]

    async def _answers(self, step: Step, person: Person) -> Sequence[str]:
        """List what may be shown to this person: nothing that they asked for, or gave a thumb."""
        row, thumbs = InteractionRow, StudyRatingRow
        judged = sa.select(thumbs.interaction_id).where(thumbs.pseudonym.in_(person.accounts))
        others = row.pseudonym.not_in(person.accounts), row.id.not_in(judged)
        query = sa.select(row.id).where(*self._may_be_shown(), *others)
        of = query if step.answers == "*" else query.where(row.experiment == step.answers)
        return await self._database.scalars(of)

    def _may_be_shown(self) -> tuple[sa.ColumnElement[bool], ...]:
        row, said, own = InteractionRow, ConsentRow, ConsentRow.study == self._study.id
        last = sa.select(sa.func.max(said.id)).where(own).group_by(said.pseudonym)
        agreed = said.action == "granted", said.use, said.adult, said.excerpts
        willing = sa.select(said.pseudonym).where(said.id.in_(last), *agreed)
        entire = row.state == "finished", row.hidden_at.is_(None), row.parent.is_(None)
        return (row.study == self._study.id, *entire, row.pseudonym.in_(willing))

    async def named(self, name: str) -> Item | None:
        """Find an item that may be shown still."""
        item = self._stimuli.named(name)
        query = sa.select(InteractionRow.__table__).where(InteractionRow.id == name)
        for row in [] if item else await self._database.rows(query.where(*self._may_be_shown())):
            pictures = sa.select(StudyPictureRow.media).filter_by(interaction_id=name)
            first = pictures.order_by(StudyPictureRow.number).limit(1)
            picture = await self._database.scalar(first)
            if picture or 0 < len(row.output or "") <= LONGEST:
                facts = {"expert": row.expert, "plain": row.plain, "arm": row.arm or ""}
                facts |= {"picture": picture or "", "text": "" if picture else unnamed(row.output)}
                item = Answer.model_construct(kind="generated", interaction=name, **facts)
        return item

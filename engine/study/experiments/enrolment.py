"""Enrolment of units into experiments, each with its arm, once and for good.

An experiment is frozen in the transaction that enrols its first unit, and its counter is raised in the
same transaction, under a lock of its row: so many at once still fill whole blocks, and never more than
its maximum.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.transactions import add, repeated
from engine.study.consent.participants import Person
from engine.study.design.experiment_file import version_of
from engine.study.experiments.allocation import blocked, simple
from engine.study.experiments.catalogue import Catalogue
from engine.study.experiments.eligibility import completion_code
from engine.study.experiments.experiment import Arm, Experiment
from engine.study.experiments.tables import Enrolment, ExperimentRow, Exposure
from engine.study.tables import InteractionRow, set_once

FULL = "its quota was full"
HELD_SECONDS = 86400.0  # a unit that has not come to its end holds its place so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """Hold a unit with its arm; `new`: it was enrolled just now; `step`: where it stands in a flow."""

    id: str
    experiment: Experiment
    arm: str
    unit: str
    code: str = ""
    completed: bool = False
    new: bool = False
    position: int = 0
    excluded: str = ""
    step: str = ""

    @property
    def arms(self) -> tuple[Arm, ...]:
        return self.experiment.arms_of(self.arm)


class Experiments(Catalogue):
    """Serve the experiments of one study: who is in which, with which arm."""

    async def of_person(self, person: Person) -> list[Enrolled]:
        """List what the person is in, also by places: the first enrolment in each experiment."""
        row, asked = Enrolment, InteractionRow
        there = asked.pseudonym.in_(person.accounts), asked.experiment == row.experiment
        mine = row.pseudonym.in_(person.accounts) | row.unit.in_((person.root, person.place))
        mine |= row.unit.in_(sa.select(asked.place).where(*there).correlate(row))
        query = sa.select(row.__table__).where(row.study == self.study.id, mine)
        found: dict[str, Enrolled] = {}
        for one in await self.database.rows(query.order_by(row.at, row.id)):
            if (experiment := self.named(one.experiment)) is not None:
                found.setdefault(experiment.id, _enrolled(experiment, one))
        return list(found.values())

    async def progress(self) -> Sequence[Any]:
        """List the units with arm, stratum and state, and how many judgements each person gave."""
        row = Enrolment
        of = Exposure.pseudonym == row.pseudonym, Exposure.experiment == row.experiment
        judged = sa.select(sa.func.count()).where(*of, Exposure.state == "voted").scalar_subquery()
        names = row.experiment, row.stratum, row.arm, row.completed_at, row.excluded
        query = sa.select(*names, judged.label("judged")).where(row.study == self.study.id)
        return await self.database.rows(query)

    async def running(self, experiment: Experiment) -> bool:
        async with self.database.reading() as connection:
            row = await self._frozen(connection, experiment.id)
        stopped = row is not None and row.state != "open"
        return experiment.runs(self.database.clock()) and not stopped

    @repeated
    async def enrol(self, experiment: Experiment, unit: str, person: Person) -> Enrolled | None:
        """Find the unit's arm, or draw it now. None when the experiment is stopped or full."""
        async with self.database.reading() as connection:
            row = await self._frozen(connection, experiment.id)
            known = await self._of_unit(connection, experiment, unit)
        if known is not None and row.state == "open":
            return known
        async with self.database.writing() as connection:
            await add(connection, ExperimentRow, self._row(experiment))
            row = await self._frozen(connection, experiment.id, lock=True)
            if row.state != "open":
                return None
            known = await self._of_unit(connection, experiment, unit)
            if known is not None or await self._full(connection, experiment, row):
                return known
            values = self._allocated(experiment, unit, person, row)
            await connection.execute(sa.insert(Enrolment).values(values))
            mine = sa.update(ExperimentRow).where(*self._named(experiment.id))
            await connection.execute(mine.values(enrolled=row.enrolled + 1))
            known = await self._of_unit(connection, experiment, unit)
        assert known is not None, "it was just written"
        return replace(known, new=True)

    async def _full(self, connection: AsyncConnection, experiment: Experiment, row: Any) -> bool:
        """Tell whether nobody more is taken: as many as may be, as are needed, or as every quota has."""
        if row.enrolled >= experiment.max_n:
            return True
        count = await self._held(connection, experiment.id)
        enough = 0 < experiment.completes <= count.total()
        quota = experiment.quota
        return enough or (quota is not None and all(count[n] >= m for n, m in quota.most.items()))

    async def _held(self, connection: AsyncConnection, experiment: str) -> Counter[str]:
        """Count by stratum, but for whom is turned away; "" is of those who have none yet."""
        row, since = Enrolment, self.database.clock() - HELD_SECONDS
        held = sa.or_(row.completed_at.is_not(None), row.at > since)
        mine = row.study == self.study.id, row.experiment == experiment, row.excluded.is_(None)
        query = sa.select(row.stratum, sa.func.count()).where(*mine, held)
        rows = await connection.execute(query.group_by(row.stratum))
        return Counter({name or "": count for name, count in rows})

    @repeated
    async def stratify(self, enrolled: Enrolled, value: str) -> None:
        """Take a unit into its stratum and draw its arm there, once; exclude it where that is full."""
        experiment, key = enrolled.experiment, self.study.needed_key()
        assert experiment.quota is not None, "asked by who knows"
        async with self.database.writing() as connection:
            await self._frozen(connection, experiment.id, lock=True)
            own = Enrolment.study == self.study.id, Enrolment.experiment == experiment.id
            query = sa.select(sa.func.count()).where(*own, Enrolment.stratum == value)
            number = await connection.scalar(query) or 0
            count = (await self._held(connection, experiment.id))[value]
            values: dict[str, Any] = {"stratum": value}
            if count >= experiment.quota.most.get(value, count + 1):
                values["excluded"] = FULL
            elif experiment.allocation == "blocks":
                name = f"{experiment.id}|{value}"
                values["arm"], values["block"] = blocked(key, name, number, experiment.weights)
            unset = Enrolment.id == enrolled.id, Enrolment.stratum.is_(None)
            await connection.execute(sa.update(Enrolment).where(*unset).values(values))

    def _allocated(
        self, experiment: Experiment, unit: str, person: Person, row: Any
    ) -> dict[str, Any]:
        key, weights = self.study.needed_key(), experiment.weights
        if experiment.allocation == "blocks":
            arm, block = blocked(key, experiment.id, row.enrolled, weights)
        else:
            arm, block = simple(key, experiment.id, unit, weights), None
        return {
            "id": str(ULID()),
            "study": self.study.id,
            "experiment": experiment.id,
            "version_sha256": row.version_sha256,
            "unit": unit,
            "unit_kind": experiment.unit,
            "pseudonym": None if experiment.unit == "place" else person.pseudonym,
            "arm": arm,
            "block": block,
            "position": row.enrolled,
            "code": completion_code(key, experiment.id, unit)
            if experiment.completion_code
            else None,
            "at": self.database.clock(),
        }

    def _row(self, experiment: Experiment) -> dict[str, Any]:
        text, used = self._texts[experiment.id], {step.stimuli for step in experiment.steps} - {""}
        digests = "\n".join(f"{name} {self.pools[name]}" for name in sorted(used))
        return {
            "study": self.study.id,
            "id": experiment.id,
            "version_sha256": version_of(text),
            "file": text,
            "state": "open",
            "enrolled": 0,
            "frozen_at": self.database.clock(),
            "stimuli_sha256": version_of(digests) if used else None,
        }

    def _named(self, name: str) -> tuple[sa.ColumnElement[bool], ...]:
        return ExperimentRow.study == self.study.id, ExperimentRow.id == name

    async def _frozen(self, connection: AsyncConnection, name: str, *, lock: bool = False) -> Any:
        query = sa.select(ExperimentRow.__table__).where(*self._named(name))
        query = query.with_for_update() if lock else query
        return (await connection.execute(query)).one_or_none()

    async def _of_unit(
        self, connection: AsyncConnection, experiment: Experiment, unit: str
    ) -> Enrolled | None:
        of = {"study": self.study.id, "experiment": experiment.id, "unit": unit}
        rows = await connection.execute(sa.select(Enrolment.__table__).filter_by(**of))
        return next((_enrolled(experiment, row) for row in rows), None)

    async def by_enrolment(self, enrolment: str) -> tuple[Enrolled, str] | None:
        query = sa.select(Enrolment.__table__).where(Enrolment.id == enrolment)
        for row in await self.database.rows(query):
            if (experiment := self.named(row.experiment)) is not None:
                return _enrolled(experiment, row), row.pseudonym or ""
        return None

    async def completed(self, enrolled: Enrolled) -> None:
        now = self.database.clock()
        await self.database.change(set_once(Enrolment.completed_at, now, enrolled.id))

    async def exclude(self, enrolled: Enrolled, reason: str) -> None:
        """Mark a unit as one that the analysis leaves out; the first reason stands."""
        await self.database.change(set_once(Enrolment.excluded, reason, enrolled.id))

    @repeated
    async def stop(self, name: str, reason: str) -> bool:
        """Enrol and treat nobody from now on. False when it was stopped already."""
        self.text_of(name)
        async with self.database.writing() as connection:
            await add(connection, ExperimentRow, self._row(self._known[name]))
            row = await self._frozen(connection, name, lock=True)
            if row.state != "open":
                return False
            stopped = {"state": "stopped", "stop_reason": reason}
            mine = sa.update(ExperimentRow).where(*self._named(name))
            await connection.execute(mine.values(stopped_at=self.database.clock(), **stopped))
        return True


def _enrolled(experiment: Experiment, row: Any) -> Enrolled:
    return Enrolled(
        **{column: getattr(row, column) for column in ("id", "arm", "unit", "position")},
        experiment=experiment,
        code=row.code or "",
        completed=row.completed_at is not None,
        excluded=row.excluded or "",
    )

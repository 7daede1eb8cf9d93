"""Exposures: what was shown to somebody to be judged, and their votes on it.

made -> delivered -> voted, or void with its reason. Only what arrived can be voted on; a vote may be
changed until the reveal, and every one is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.transactions import add, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.tables import ExperimentRow, Exposure, Vote, choices
from engine.study.study import StudyService
from engine.study.tables import InteractionRow

TICK = 1e-3  # seconds that a later word is later at least
OPEN_SECONDS = 24 * 3600.0  # a vote is taken within these
PRACTICE = "practice"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExposure:
    id: str
    kind: str
    pseudonym: str
    experiment: str | None
    shown: list[dict[str, Any]]
    jobs: list[str]
    state: str
    age: float
    step: str = ""
    choice: str = ""
    reason: str = ""
    revealed: bool = False


class Exposures(StudyService):
    @repeated
    async def make(
        self,
        name: str,
        person: Person,
        kind: str,
        *,
        shown: list[dict[str, Any]],
        seed: int,
        experiment: Experiment | None = None,
        step: str = "",
        item: str | None = None,
        most: int | None = None,
    ) -> bool:
        """Write it down before it is shown; False for an item that they, or `most` others, have had."""
        mine = Exposure.pseudonym.in_(person.accounts)
        async with self._database.writing() as connection:
            if experiment is not None and most is not None:
                had = await self._had(connection, experiment, step, item)
                if had >= most:
                    return False
            if experiment is not None and kind != "single":
                await self._make_room(connection, mine, experiment, step)
            count = sa.select(sa.func.count()).where(mine, Exposure.kind == kind)
            values = {
                "id": name,
                "study": self._study.id,
                "experiment": experiment.id if experiment else None,
                "pseudonym": person.pseudonym,
                "kind": kind,
                "item": item,
                "step": step or None,
                "shown": shown,
                "seed": seed,
                "position": await connection.scalar(count) or 0,
                "state": "made",
                "made_at": self._database.clock(),
            }
            return await add(connection, Exposure, values)

    async def _had(
        self, connection: AsyncConnection, experiment: Experiment, step: str, item: str | None
    ) -> int:
        """Count who had an item; two who drew the same at one moment come after each other here."""
        locked = sa.select(ExperimentRow.id).filter_by(study=self._study.id, id=experiment.id)
        await connection.execute(locked.with_for_update())
        of = taken(self._study.id, experiment.id, step, self._database.clock())
        return len((await connection.execute(of.where(Exposure.item == item))).all())

    async def _make_room(
        self, connection: AsyncConnection, mine: Any, experiment: Experiment, step: str
    ) -> None:
        """Void the oldest that were passed over, lest more are judged than the experiment has."""
        row = Exposure
        of = row.study == self._study.id, row.experiment == experiment.id
        kept = *of, _step(row, step), sa.or_(row.state != "void", row.void_reason == PRACTICE)
        query = sa.select(row.id, row.state).where(mine, *kept).order_by(row.made_at, row.id)
        rows = (await connection.execute(query)).all()
        surplus = len(rows) + 1 - experiment.length(step)
        over = [one.id for one in rows if one.state in ("made", "delivered")][: max(0, surplus)]
        void = {"state": "void", "void_reason": "passed over"}
        await connection.execute(sa.update(row).where(row.id.in_(over)).values(void))

    async def compose(
        self, name: str, shown: list[dict[str, Any]], jobs: Sequence[str], visible: dict[str, Any]
    ) -> None:
        if not jobs:  # it was made ahead, and is on record as it was drawn
            await self._set(name, visible=visible)
            return
        found = await self._interactions(jobs)
        pairs = zip(shown, jobs, strict=True)
        whole = [{**one, "interaction": found.get(job)} for one, job in pairs]
        await self._set(name, shown=whole, visible=visible)

    async def delivered(self, name: str) -> None:
        now = self._database.clock()
        arrived = {"state": "delivered", "delivered_at": now, "latency": now - Exposure.made_at}
        await self._set(name, Exposure.state == "made", **arrived)

    async def of_answer(self, job: str) -> str | None:
        return (await self._interactions([job])).get(job)

    async def void(self, name: str, reason: str) -> None:
        """Leave it out of the scores; what was voted on already stays."""
        unjudged = Exposure.state.in_(("made", "delivered"))
        await self._set(name, unjudged, state="void", void_reason=reason)

    async def get(self, name: str) -> ShownExposure | None:
        async with self._database.reading() as connection:
            query = sa.select(Exposure.__table__).where(Exposure.id == name)
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            vote = await _last_vote(connection, name)
            jobs = await _jobs(connection, row.shown)
        same = ("id", "kind", "pseudonym", "experiment", "shown", "state")
        return ShownExposure(
            **{column: getattr(row, column) for column in same},
            jobs=jobs,
            step=row.step or "",
            age=self._database.clock() - row.made_at,
            choice=vote.choice if vote else "",
            reason=(vote.reason or "") if vote else "",
            revealed=row.revealed_at is not None,
        )

    @repeated
    async def vote(
        self,
        name: str,
        person: Person,
        choice: str,
        *,
        confidence: int | None = None,
        reason: str = "",
        unblinded: bool = False,
        reveal: bool = False,
        practice: bool = False,
    ) -> bool:
        """Write a vote down; False when it cannot be: not delivered, void, revealed, too old.

        The same again is no second vote. With `reveal` it is the last word, in the same transaction.
        `practice` becomes void, which leaves it out of everything that is scored.
        """
        now = self._database.clock()
        async with self._database.writing() as connection:
            query = sa.select(Exposure.__table__).where(Exposure.id == name).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None or not _is_open(row, person, now):
                return False
            last = await _last_vote(connection, name)
            said = {"choice": choice, "confidence": confidence, "reason": reason or None}
            if last is None or said != {column: getattr(last, column) for column in said}:
                values = said | {
                    "id": str(ULID()),
                    "study": self._study.id,
                    "exposure_id": name,
                    "pseudonym": person.pseudonym,
                    "unblinded": unblinded,
                    "seconds": max(0.0, now - row.delivered_at),
                    "at": max(now, last.at + TICK) if last else now,  # the clock may jump back
                }
                await connection.execute(sa.insert(Vote).values(values))
            judged = _judged(practice=practice) | ({"revealed_at": now} if reveal else {})
            await connection.execute(sa.update(Exposure).where(Exposure.id == name).values(judged))
        return True

    async def rated(self, name: str, *, practice: bool) -> None:
        """Note that all that was asked about an item is answered."""
        values = _judged(practice=practice) | {"revealed_at": self._database.clock()}
        await self._set(name, Exposure.state == "delivered", **values)

    async def _set(self, name: str, *where: Any, **values: Any) -> None:
        mine = sa.update(Exposure).where(Exposure.id == name, *where)
        await self._database.change(mine.values(values))

    def _of(self, person: Person, experiment: str | None) -> sa.ColumnElement[bool]:
        whose = Exposure.study == self._study.id, Exposure.pseudonym.in_(person.accounts)
        return sa.and_(*whose, Exposure.experiment == experiment)

    async def count(self, person: Person, experiment: str) -> int:
        """Count an experiment's exposures that the person answered, or saw where nothing is asked."""
        seen = sa.and_(Exposure.kind == "single", Exposure.state == "delivered")
        done = sa.or_(Exposure.state == "voted", seen)
        query = sa.select(sa.func.count()).where(self._of(person, experiment), done)
        return await self._database.scalar(query) or 0

    async def by_step(self, person: Person, experiment: str) -> dict[str, int]:
        """Count the same by step of a flow, practice too; "" outside of flows."""
        done = sa.or_(Exposure.state == "voted", Exposure.void_reason == PRACTICE)
        query = sa.select(Exposure.step, sa.func.count()).where(self._of(person, experiment), done)
        rows = await self._database.rows(query.group_by(Exposure.step))
        return {name or "": count for name, count in rows}

    async def number(
        self, person: Person, experiment: str | None, kind: str, step: str = ""
    ) -> int:
        """Count all that were made for the person, void ones too: the next one's place in an order."""
        mine = self._of(person, experiment), _step(Exposure, step), Exposure.kind == kind
        return await self._database.scalar(sa.select(sa.func.count()).where(*mine)) or 0

    async def open_one(self, person: Person, experiment: str, step: str) -> str | None:
        """Find what was shown in a step within a day and is not judged yet."""
        since = self._database.clock() - OPEN_SECONDS
        waiting = Exposure.state.in_(("made", "delivered")), Exposure.made_at > since
        query = sa.select(Exposure.id).where(self._of(person, experiment), *waiting)
        query = query.where(_step(Exposure, step)).order_by(Exposure.made_at.desc(), Exposure.id)
        found: str | None = await self._database.scalar(query.limit(1))
        return found

    async def shown_to(self, person: Person, experiment: str) -> Sequence[Any]:
        """List what the person judged in an experiment, in order: what it was, and the last choice."""
        mine = self._of(person, experiment), Exposure.state == "voted"
        last = {row.id: row for row in await self._database.rows(choices(*mine))}
        return list(last.values())

    async def votes_of(self, person: Person, experiment: str) -> Sequence[Any]:
        query = sa.select(Vote.seconds, Vote.unblinded).join(
            Exposure, Exposure.id == Vote.exposure_id
        )
        voted = self._of(person, experiment), Exposure.state == "voted"
        return await self._database.rows(query.where(*voted))

    async def _interactions(self, jobs: Sequence[str]) -> dict[str | None, str]:
        row = InteractionRow
        query = sa.select(row.job_id, row.id).where(row.job_id.in_(jobs))
        return {found.job_id: found.id for found in await self._database.rows(query)}


def taken(study: str, experiment: str, step: str, now: float) -> sa.Select[str | None]:
    """Find the items of a step, once for each who judged it, or may still."""
    waiting = Exposure.state.in_(("made", "delivered")), Exposure.made_at > now - OPEN_SECONDS
    judged = Exposure.state == "voted", Exposure.void_reason == PRACTICE, sa.and_(*waiting)
    of = Exposure.study == study, Exposure.experiment == experiment, Exposure.step == step
    return sa.select(Exposure.item).where(*of, sa.or_(*judged))


def _step(row: Any, step: str) -> Any:
    return row.step == step if step else row.step.is_(None)


def _is_open(row: Any, person: Person, now: float) -> bool:
    """Tell whether somebody may vote on an exposure: theirs, shown, not revealed, not too old."""
    late = row.revealed_at is not None or now - row.made_at > OPEN_SECONDS
    shown = row.state in ("delivered", "voted") or row.void_reason == PRACTICE
    return row.pseudonym in person.accounts and shown and not late


def _judged(*, practice: bool) -> dict[str, Any]:
    return {"state": "void", "void_reason": PRACTICE} if practice else {"state": "voted"}


async def _jobs(connection: AsyncConnection, shown: Sequence[dict[str, Any]]) -> list[str]:
    """Find the jobs of what was shown, in that order, as far as they are known still."""
    names = [one.get("interaction") for one in shown]
    query = sa.select(InteractionRow.id, InteractionRow.job_id).where(InteractionRow.id.in_(names))
    found = {row.id: row.job_id for row in await connection.execute(query)}
    return [job for name in names if (job := found.get(name)) is not None]


async def _last_vote(connection: AsyncConnection, exposure: str) -> Any:
    query = sa.select(Vote.__table__).where(Vote.exposure_id == exposure)
    query = query.order_by(Vote.at.desc(), Vote.id.desc()).limit(1)
    return (await connection.execute(query)).one_or_none()

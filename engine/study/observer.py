"""What the study keeps of a request, written in the ledger's own transactions.

A row is made when a request is accepted, and only while all of this holds at that moment: its asker's
consent, the place's, and the text of today; never later, never for --private. A request that goes on
from an answer outside the study stays outside, for it carries words from before consent, or of
somebody who never gave it. Names of other people (@name, <@123>) are taken out of what is kept.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.chat_tables import VerdictRow
from engine.ledger.observers import Rule
from engine.ledger.picture_cleanup import discard
from engine.ledger.rows import job_values, request_values
from engine.ledger.tables import JobRow, PictureRow
from engine.moderation import unspoken
from engine.plan.job import Job, Request, Treatment
from engine.plan.plan import Plan
from engine.plan.route import Route
from engine.study import erasure_rules, interactions
from engine.study import tables as t
from engine.study.consent.participants import Entitled, entitled
from engine.study.experiments.tables import ItemRow
from engine.study.interactions import unnamed, verdict_values
from engine.study.pseudonyms import SESSION_SECONDS
from engine.study.study import Study

CODES_SECONDS = 86400.0  # after a one-time code has expired
_FROM_JOB = (
    "state", "started_at", "first_token_at", "finished_at", "tokens_in", "tokens_out",
    "base_digest", "adapter_digest",
)  # fmt: skip
_FROM_PICTURE = ("number", "media", "width", "height", "seed")


class StudyObserver:
    """Observe the ledger and the chat, within their transactions; `study` is the one that runs here.

    Without one nothing new comes in, but existing rows are completed and erased: a worker's process may
    not know the study of the requests that it ends.
    """

    rules: Mapping[str, Rule] = erasure_rules.STUDY_RULES
    borrowed: tuple[Any, Sequence[str]] = (t.InteractionRow.pseudonym, t.BORROWED)
    pictures: Sequence[Any] = (t.StudyPictureRow.media, ItemRow.media)
    expiring: Sequence[tuple[str, Any, float]] = (
        ("codes", t.LinkCodeRow.expires_at, CODES_SECONDS),
    )
    beginnings: Sequence[Any] = (t.StudyRow.opened_at,)

    def __init__(self, study: Study | None) -> None:
        self.study = study

    async def accepted(
        self, connection: AsyncConnection, request: Request, route: Route, job: Job, now: float
    ) -> str | None:
        """Add an interaction, with the verdicts that came before it; return its name."""
        found = await self._entitled(connection, request)
        if found is None:
            return None
        parent = None
        if request.parent is not None:
            parent = await interactions.interaction_of_request(
                connection, self.study, request.parent
            )
            if parent is None:
                return None
        query = sa.select(VerdictRow.__table__).where(VerdictRow.job_id == job.id)
        before = (await connection.execute(query.order_by(VerdictRow.id))).mappings().all()
        made = job_values(job)
        values = await self._asked(connection, request, route, found, now) | {
            "job_id": job.id,
            "parent": parent,
            "state": "queued",
            "medium": job.medium,
            "plain": job.plain,
            "sampling": made["sampling"],
            "prompt": unnamed(job.prompt),
            "length": job.length,
            "seed": job.seed,
            "drawing": unnamed(made["drawing"]),
            "moderation": [
                verdict_values({**row, "reasons": json.loads(row["reasons"] or "{}")})
                for row in before
            ],
        }
        await connection.execute(sa.insert(t.InteractionRow).values(values))
        return str(values["id"])

    async def refused(
        self, connection: AsyncConnection, plan: Plan, judged: Sequence[dict[str, Any]], now: float
    ) -> None:
        """Keep a request that moderation stopped, for moderation is part of what is studied."""
        request = plan.request
        if unspoken(judged) or request.parent is not None:
            return
        found = await self._entitled(connection, request)
        if found is None:
            return
        values = await self._asked(connection, request, plan.route, found, now) | {
            "state": "refused",
            "medium": plan.job.medium,
            "plain": False,
            "sampling": {},
            "length": request.length,
            "seed": request.seed,
            "finished_at": now,
            "moderation": list(judged),
        }
        await connection.execute(sa.insert(t.InteractionRow).values(values))

    async def _entitled(self, connection: AsyncConnection, request: Request) -> Entitled | None:
        if self.study is None or request.private or request.borrowed:
            return None
        return await entitled(connection, self.study, request)

    async def _asked(
        self,
        connection: AsyncConnection,
        request: Request,
        route: Route,
        found: Entitled,
        now: float,
    ) -> dict[str, Any]:
        assert self.study is not None, "somebody takes part in it"
        row = request_values(request, route, "")
        treatment = request.treatment or Treatment()
        return {
            "id": str(ULID()),
            "study": self.study.id,
            "pseudonym": found.pseudonym,
            "consent_id": found.consent.id,
            "session": await _session(connection, found.pseudonym, now),
            "platform": request.platform,
            "place": found.place,
            "private": request.alone,
            "command": request.command,
            **{
                name: unnamed(row[name])
                for name in ("typed", "text", "beginning", "style", "route")
            },
            "rule": row["rule"],
            "router_version": row["router_version"],
            "expert": route.expert,
            "experiment": treatment.experiment or None,
            "arm": treatment.arm or None,
            "accepted_at": now,
        }

    async def finished(
        self, connection: AsyncConnection, job: str, text: str | None, notes: str | None
    ) -> None:
        """Copy outcome and pictures; after a withdrawal or a verdict, only that it ended."""
        found = await interactions.interaction_of(connection, job)
        if found is None:
            return
        query = sa.select(t.ConsentRow.action).where(t.ConsentRow.pseudonym == found.pseudonym)
        last = await connection.scalar(query.order_by(t.ConsentRow.id.desc()).limit(1))
        kept = last == "granted" and found.hidden_at is None
        query = sa.select(*(getattr(JobRow, name) for name in _FROM_JOB)).where(JobRow.id == job)
        row = (await connection.execute(query)).mappings().one()
        await connection.execute(
            sa.update(t.InteractionRow)
            .where(t.InteractionRow.id == found.id)
            .values(**row, output=(text or None) if kept else None, notes=notes if kept else None)
        )
        if kept:
            await _keep_pictures(connection, job, found)

    async def delivered(self, connection: AsyncConnection, job: str, now: float) -> None:
        """Note that it was shown; one that moderation kept back was not."""
        row = t.InteractionRow
        open_ones = row.job_id == job, row.delivered_at.is_(None), row.hidden_at.is_(None)
        await connection.execute(sa.update(row).where(*open_ones).values(delivered_at=now))

    async def erased(self, connection: AsyncConnection, jobs: Sequence[str]) -> None:
        mine = t.InteractionRow.job_id.in_(jobs)
        await connection.execute(sa.update(t.InteractionRow).where(mine).values(job_id=None))

    async def rated(
        self,
        connection: AsyncConnection,
        platform: str,
        rater: str,
        job: str,
        value: int,
        now: float,
    ) -> None:
        facts, by = {"value": value, "at": now}, (platform, rater)
        await interactions.add_to(connection, self.study, t.StudyRatingRow, job, by, facts)

    async def judged(
        self, connection: AsyncConnection, job: str, judged: Sequence[dict[str, Any]], now: float
    ) -> None:
        if files := await interactions.judged(connection, job, judged, now):
            await discard(connection, files, now)

    async def hidden(self, connection: AsyncConnection, job: str, now: float) -> None:
        await discard(connection, await interactions.hide(connection, job, now), now)

    async def forgotten(
        self, connection: AsyncConnection, lookup: str, pseudonyms: Sequence[str], now: float
    ) -> int:
        """Erase everything of the person, in all studies, the log of their consent too; or a study."""
        names = sorted({*pseudonyms, *await erasure_rules.pseudonyms_tied_to(connection, lookup)})
        await connection.execute(sa.delete(t.InvitationRow).where(t.InvitationRow.lookup == lookup))
        files = await erasure_rules.erase(connection, names, standing=True)
        files += await erasure_rules.erase_study(connection, lookup, now)
        return await discard(connection, files, now)


async def _session(connection: AsyncConnection, pseudonym: str, now: float) -> str:
    """Name the session that this moment belongs to: a longer silence begins a new one."""
    row = t.InteractionRow
    query = sa.select(row.session, row.accepted_at).filter_by(pseudonym=pseudonym)
    query = query.order_by(row.accepted_at.desc()).limit(1)
    last = (await connection.execute(query)).one_or_none()
    if last is None or now - last.accepted_at > SESSION_SECONDS:
        return str(ULID())
    return str(last.session)


async def _keep_pictures(connection: AsyncConnection, job: str, found: Any) -> None:
    drawn = sa.select(PictureRow.__table__).where(PictureRow.job_id == job)
    for picture in (await connection.execute(drawn.order_by(PictureRow.number))).all():
        same = {name: getattr(picture, name) for name in _FROM_PICTURE}
        of = {"study": found.study, "pseudonym": found.pseudonym, "interaction_id": found.id}
        values = {"id": str(ULID()), **of, **same}
        await connection.execute(sa.insert(t.StudyPictureRow).values(values))

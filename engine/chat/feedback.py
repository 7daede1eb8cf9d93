"""What people and checks say about answers: thumbs, reports, verdicts."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engine.ledger.chat_tables import BlockRow, Rating, Report, VerdictRow
from engine.ledger.erasure import blank_jobs, cut_off_requests
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import put, repeated
from engine.moderation import Judged, unspoken, verdict_row

STANDING_SECONDS = 86400.0  # whose first request is so old has a say in what is hidden


class Feedback:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @repeated
    async def rate(self, platform: str, rater: str, job: str, value: int) -> None:
        """Note a thumb: one a person and answer, the last one counts."""
        lookup = self._ledger.person(platform, rater)
        row = {"id": new_id(), "job_id": job, "rater": lookup, "value": value}
        async with self._ledger.writing(synced=False) as connection:
            now = self._ledger.clock()
            await put(connection, Rating, ("job_id", "rater"), {**row, "at": now})
            for observer in self._ledger.observers:
                await observer.rated(connection, platform, rater, job, value, now)

    async def ratings(self, job: str) -> list[int]:
        return await self._ledger.scalars(sa.select(Rating.value).where(Rating.job_id == job))

    @repeated
    async def report(self, platform: str, reporter: str, job: str | None, reason: str) -> int:
        """Note it; how many people who have a say have reported that answer."""
        lookup = self._ledger.person(platform, reporter)
        async with self._ledger.writing() as connection:
            if job is not None:  # one at a time, or of two at one moment neither counts the other
                one = sa.select(JobRow.id).where(JobRow.id == job)
                await connection.execute(one.with_for_update(key_share=True))
                before = Report.job_id == job, Report.reporter == lookup
                await connection.execute(sa.delete(Report).where(*before))
            row = {"id": new_id(), "job_id": job, "reporter": lookup, "reason": reason or None}
            await connection.execute(sa.insert(Report).values(**row, at=self._ledger.clock()))
            if job is None:
                return 0
            # accounts made for the occasion have asked for nothing a day ago
            old = Asker.created_at <= self._ledger.clock() - STANDING_SECONDS
            count = sa.select(sa.func.count(Report.reporter.distinct())).where(
                Report.job_id == job,
                Report.reporter.in_(sa.select(Asker.lookup).where(old)),
                Report.reporter.not_in(sa.select(BlockRow.lookup).where(BlockRow.action == "deny")),
            )
            return int(await connection.scalar(count) or 0)

    async def reports(self, most: int = 20) -> Sequence[sa.Row[str | None, str | None, float]]:
        query = sa.select(Report.job_id, Report.reason, Report.at)
        return await self._ledger.rows(query.order_by(Report.at.desc()).limit(most))

    async def judged(
        self, platform: str, asker: str, job: str | None, judged: Sequence[Judged]
    ) -> None:
        """Note verdicts; none of a moment in which somebody speaks of harming themselves."""
        who = {"job_id": job, "asker": self._ledger.person(platform, asker)}
        rows = [{**verdict_row(one), **who, "at": self._ledger.clock()} for one in judged]
        if rows:
            await self._note(job, rows)
        if any(one.verdict.stops for one in judged):
            await self._ledger.throw_away()  # pictures that an observer had

    @repeated
    async def _note(self, job: str | None, rows: list[dict[str, Any]]) -> None:
        sealed = [{**row, "id": new_id(), "reasons": json.dumps(row["reasons"])} for row in rows]
        async with self._ledger.writing(synced=False) as connection:
            if not unspoken(rows):
                await connection.execute(sa.insert(VerdictRow), sealed)
            for observer in self._ledger.observers if job is not None else ():
                await observer.judged(connection, str(job), rows, self._ledger.clock())

    async def hide(self, job: str) -> None:
        """Blank an answer, words and pictures, also where others have taken it up."""
        await self._blank(job)
        await self._ledger.throw_away()

    @repeated
    async def _blank(self, job: str) -> None:
        asked = sa.select(RequestRow.id, RequestRow.asker_id).join(JobRow)
        async with self._ledger.writing() as connection:
            mine = asked.where(JobRow.id == job).with_for_update()  # nobody takes it up meanwhile
            row = (await connection.execute(mine)).one_or_none()
            if row is not None:
                await cut_off_requests(connection, [row.id], but_of=row.asker_id)
            for observer in self._ledger.observers:
                await observer.hidden(connection, job, self._ledger.clock())
            await blank_jobs(self._ledger, connection, [job])

"""The one place that writes the record, and reads it back: rows in, plain values out.

A job's life is queued -> running -> finished | failed | cancelled | dead. Every write after
acceptance is fenced by attempt and by state, so a stale worker's word is refused and a job has at
most one final answer.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from ulid import ULID

from engine.errors import APOLOGY, KIND_SENTENCE, LedgerError
from engine.events import FINAL_STATES, Failed, Final, Finished
from engine.ledger.erasure import BORROWED, erase_private, stays, still_there
from engine.ledger.observers import Observer
from engine.ledger.picture_cleanup import PictureCleanup
from engine.ledger.rows import (
    SELECT_ANSWER,
    SELECT_FINAL,
    UnfinishedJob,
    answer_of,
    final_event,
    final_values,
    job_of,
    job_values,
    pictures_of,
    put_pictures,
    request_values,
)
from engine.ledger.tables import Asker, Delivery, JobRow, Output, PictureRow, RequestRow
from engine.ledger.transactions import add, lasting
from engine.media.store import PictureStore
from engine.plan.job import Answer, Job, Request
from engine.plan.route import Route

log = logging.getLogger(__name__)


def new_id() -> str:
    """Make 26 characters that sort by time."""
    return str(ULID())


# What a queue does in the ledger's own transaction; False: the job is not its own any more, and
# nothing is written.
Beside = Callable[[AsyncConnection], Awaitable[bool]]


OPEN = JobRow.state.not_in(FINAL_STATES)
# What makes a job wait again, and what its last worker still says of it too late.
AGAIN = {
    "state": "queued",
    "attempt": JobRow.attempt + 1,
    "started_at": None,
    "first_token_at": None,
}


async def _nothing(_connection: AsyncConnection) -> bool:
    return True


class Ledger(PictureCleanup):
    """Reads and writes the record; pictures go to the media store. `clock` gives UTC seconds."""

    def __init__(
        self,
        database: AsyncEngine,
        media: Path,
        clock: Callable[[], float] = time.time,
        observers: Sequence[Observer] = (),
    ) -> None:
        super().__init__(database, clock, observers)
        self.media = PictureStore(media, self.vault)

    @lasting
    async def accept(
        self, request: Request, route: Route, job: Job, beside: Beside = _nothing
    ) -> bool:
        """Write asker, request, job and the debt of an answer to disk; False for a job that is there."""
        now = self.clock()
        place = self.place(request.platform, request.place)
        row = request_values(request, route, job.request)
        debt = {
            "id": new_id(),
            "job_id": job.id,
            "address": request.address or request.place,
            "idempotency_key": job.id,
            "state": "owed",
            "created_at": now,
            "tries": 0,
        }
        async with self.writing() as connection:
            if await connection.scalar(sa.select(JobRow.id).where(JobRow.id == job.id)):
                return False
            if request.parent and await still_there(connection, request.parent) is None:
                # those were words of what was forgotten
                row |= {"parent": None} | dict.fromkeys(BORROWED, None)
            row |= {"asker_id": await self._asker(connection, request, now), "place_lookup": place}
            for table, values in ((RequestRow, row), (JobRow, job_values(job))):
                await connection.execute(sa.insert(table).values(**values, accepted_at=now))
            await connection.execute(sa.insert(Delivery).values(**debt))
            if row["parent"] == request.parent:
                for observer in self.observers:
                    await observer.accepted(connection, request, route, job, now)
            await beside(connection)
        return True

    async def _asker(self, connection: AsyncConnection, request: Request, now: float) -> str:
        lookup = self.person(request.platform, request.asker)
        query = sa.select(Asker.id).where(Asker.lookup == lookup)
        known = await connection.scalar(query)
        if known is not None:
            return str(known)
        asker = {"id": new_id(), "lookup": lookup, "platform": request.platform}
        hour = now - now % 3600  # an exact time would be that of a row of the study
        await add(connection, Asker, {**asker, "platform_id": request.asker, "created_at": hour})
        return str(await connection.scalar(query))  # another process may have been faster

    async def started(self, job: str, attempt: int, beside: Beside = _nothing) -> None:
        claimed = JobRow.id == job, JobRow.attempt == attempt, JobRow.state == "queued"
        values = {"state": "running", "started_at": self.clock()}
        await self._change_beside(sa.update(JobRow).where(*claimed).values(values), beside)

    async def requeued(self, job: Job, deaths_alone: int, beside: Beside = _nothing) -> None:
        """Put it back into the queue, under the job's new attempt number."""
        older = JobRow.id == job.id, JobRow.attempt < job.attempt, OPEN
        values = {"state": "queued", "attempt": job.attempt, "alone": job.alone}
        values |= {"deaths_alone": deaths_alone, "started_at": None, "first_token_at": None}
        await self._change_beside(sa.update(JobRow).where(*older).values(values), beside)

    @lasting
    async def _change_beside(self, change: sa.Update, beside: Beside) -> None:
        async with self.writing() as connection:
            if await beside(connection):
                await connection.execute(change)

    @lasting
    async def finish(self, event: Final, beside: Beside = _nothing) -> bool:
        """Write the final state and the output in one transaction; False if it came too late.

        Pictures are on disk before: a kill in between leaves a file that `sweep` finds. Of a request
        that was blanked while it ran only the state is kept.
        """
        now = self.clock()
        pictures = await asyncio.to_thread(put_pictures, event, self.media.put)
        text = "" if isinstance(event, Failed) else event.text
        notes = list(event.notes) if isinstance(event, Finished) else []
        told = json.dumps(notes, ensure_ascii=False) if notes else None
        async with self.writing() as connection:
            if not await beside(connection):
                return False
            ours = JobRow.id == event.job, JobRow.attempt == event.attempt, OPEN
            change = sa.update(JobRow).where(*ours).values(**final_values(event, now))
            if not (await connection.execute(change)).rowcount:
                return False
            media = [picture["media"] for picture in pictures]
            kept = await stays(connection, event.job, media, now)
            if not kept:
                text, told, pictures = "", None, []
            if text or pictures:
                output = {"id": new_id(), "job_id": event.job, "text": text or None, "notes": told}
                await connection.execute(sa.insert(Output).values(**output, created_at=now))
            if pictures:
                rows = [{**row, "id": new_id(), "created_at": now} for row in pictures]
                await connection.execute(sa.insert(PictureRow), rows)
            for observer in self.observers:
                await observer.finished(connection, event.job, text, told)
                if not kept:
                    await observer.erased(connection, [event.job])
        return True

    async def final(self, job: str) -> Final | None:
        """Read the final event as it is on record; None while the job is unfinished, or not there."""
        drawn = sa.select(PictureRow.__table__).where(PictureRow.job_id == job)
        async with self.reading() as connection:
            row = (await connection.execute(SELECT_FINAL.where(JobRow.id == job))).one_or_none()
            rows = (await connection.execute(drawn.order_by(PictureRow.number))).all()
        if row is None:
            return None
        pictures = await asyncio.to_thread(pictures_of, rows, self.media.get) if rows else ()
        return final_event(row, APOLOGY if row.state == "dead" else KIND_SENTENCE, pictures)

    async def unfinished(self, only: str = "") -> list[UnfinishedJob]:
        """Read all without a final state, oldest first, or `only` this; an unreadable row fails."""
        query = (
            sa.select(
                JobRow.id, JobRow.attempt, JobRow.deaths_alone, JobRow.accepted_at, Asker.lookup
            )
            .join(RequestRow, RequestRow.id == JobRow.request_id)
            .join(Asker)
            .where(OPEN, JobRow.id == only if only else sa.true())
            .order_by(JobRow.accepted_at, JobRow.id)
        )
        found = []
        for name, attempt, deaths_alone, accepted_at, asker in await self.rows(query):
            try:
                [row] = await self.rows(sa.select(JobRow.__table__).where(JobRow.id == name))
                found.append(UnfinishedJob(job_of(row._mapping), deaths_alone, accepted_at, asker))
            except (LedgerError, ValueError, TypeError) as error:
                log.exception("an unfinished job cannot be read", extra={"job": name})
                why = f"its row cannot be read: {type(error).__name__}"
                failed = Failed(job=name, attempt=attempt, message=KIND_SENTENCE, reason=why)
                await self.finish(failed)
        return found

    @lasting
    async def delivered(self, job: str) -> None:
        """Note that a client has shown the answer; of a private request nothing stays from now on."""
        async with self.writing() as connection:
            owed = sa.update(Delivery).where(Delivery.job_id == job, Delivery.state != "delivered")
            await connection.execute(owed.values(state="delivered", delivered_at=self.clock()))
            for observer in self.observers:
                await observer.delivered(connection, job, self.clock())
            private = await erase_private(self, connection, [job])
        if private:
            await self.throw_away()

    async def pictures(self, names: Iterable[str]) -> AsyncIterator[tuple[str, bytes]]:
        for name in names:
            data = await asyncio.to_thread(self.media.get, name)
            if data is not None:
                yield name, data

    async def fold_away(self) -> None:
        """Write the deletions through, so that the log beside the database holds nothing of them."""
        if self.dialect != "sqlite":
            return
        async with self.reading() as connection:
            raw = await connection.get_raw_connection()
            await raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    async def last_answer(self, platform: str, asker: str, place: str) -> Answer | None:
        return await self._answer(
            SELECT_ANSWER.where(
                Asker.lookup == self.person(platform, asker),
                RequestRow.place_lookup == self.place(platform, place),
            ).order_by(RequestRow.accepted_at.desc(), JobRow.id.desc())
        )

    async def answer(self, job: str) -> Answer | None:
        return await self._answer(SELECT_ANSWER.where(JobRow.id == job))

    async def _answer(self, query: sa.Select[Any]) -> Answer | None:
        rows = await self.rows(query.limit(1))
        return answer_of(dict(rows[0]._mapping)) if rows else None
